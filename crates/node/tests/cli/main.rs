//! The program as people run it: real `tributary` processes, their words and their exit codes.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test says what it expects and may fail with a panic"
)]

mod admin;
mod alerts;
mod audit;
mod beside;
mod conflict;
mod courier;
mod damage;
mod folder;
mod full_disk;
mod health;
mod help;
mod import;
mod merge;
mod pair;
mod patient;
mod reader;
#[path = "../openmrs/stand_in/mod.rs"]
#[allow(dead_code, reason = "the rest is for the tests of the adapter")]
mod stand_in;
mod status;
mod verbs;
mod why;
