//! Whole sites over real sockets on loopback: a centre and a clinic in one process, each with its
//! own database, and a link that can be cut.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test says so what it expects")]

mod apart;
mod atomfeed;
mod audit;
mod below;
mod carried;
mod conflicts;
mod delivery;
mod enrolment;
mod entitlement;
mod epochs;
mod examples;
#[path = "../fhir_stand_in/mod.rs"]
mod fhir_stand_in;
mod foreign;
mod heard;
mod hostile;
mod lanes;
mod pauses;
mod policies;
mod reading;
mod replaced;
mod streams;
mod timeline;
mod transfer;
mod visitors;
mod ways;
mod why;
mod world;
