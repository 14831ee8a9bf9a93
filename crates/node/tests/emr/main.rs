//! A site beside a record system: the jobs that capture and apply, over a record system in memory
//! with faults (`crates/sim/src/emr.rs`).

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../harness/mod.rs"]
mod harness;
mod jobs;
mod lists;
mod lossless;
#[path = "../../../sim/src/emr.rs"]
#[allow(dead_code, unreachable_pub, reason = "it is a part of the simulator, which uses the rest")]
mod memory;
mod waits;
mod worlds;
