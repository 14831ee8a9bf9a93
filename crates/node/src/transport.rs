//! The ways to another site.

pub mod http;
