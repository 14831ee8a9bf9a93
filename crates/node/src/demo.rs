//! The demo: a centre and its clinics in one process on loopback, each with its own database,
//! living through a story. All of it is production code but the links, which can be cut.

pub mod apart;
mod decision;
pub mod edit;
pub mod generator;
pub mod link;
pub mod patients;
pub mod report;
pub mod site;
pub mod story;

pub use story::{Options, run};
