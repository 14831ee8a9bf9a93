//! The adapter for OpenMRS against a stand-in with OpenMRS's habits.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used, reason = "these are tests")]

mod bad_input;
mod live;
mod needs_mariadb;
mod noticing;
#[path = "../sync/world.rs"]
#[allow(dead_code, reason = "the other half is for the tests of two sites alone")]
mod pair;
mod stand_in;
mod two_sites;
mod versions;
mod world;
mod writing;
