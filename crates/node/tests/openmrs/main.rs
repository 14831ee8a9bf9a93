//! The adapter for OpenMRS against a stand-in with OpenMRS's habits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "these are tests")]

mod bad_input;
#[cfg(feature = "needs-mariadb")]
mod needs_mariadb;
mod noticing;
mod stand_in;
mod world;
mod writing;
