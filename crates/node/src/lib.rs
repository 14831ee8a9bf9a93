//! The program `tributary`: runs beside a record system and keeps its patients in step with the
//! other sites'.

pub mod config;
pub mod demo;
pub mod http;
pub mod ports;
pub mod site;
