//! What those see who watch over a site.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod credentials;
#[path = "../harness/mod.rs"]
mod harness;
mod health;
mod metrics;
mod openapi;
