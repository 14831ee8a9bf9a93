//! The program `tributary`: runs beside a record system and keeps its patients in step with the
//! other sites'.

pub mod alerts;
pub mod bench;
pub mod cli;
pub mod config;
pub mod conflicts;
pub mod courier;
pub mod demo;
pub mod disclosure;
pub mod disk;
pub mod emr;
pub mod fhir_server;
pub mod http;
pub mod import;
pub mod jobs;
pub mod links;
pub mod metrics;
pub mod pause;
pub mod ports;
pub mod progress;
pub mod queue;
pub mod server;
pub mod site;
pub mod telemetry;
pub mod told;
pub mod transport;
pub mod who;
mod why;
pub mod wire;
