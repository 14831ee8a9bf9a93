//! The ways to another site.

pub mod answer;
pub mod http;
