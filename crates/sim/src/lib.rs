//! A world in a box: many sites in one process on one thread, with the code that runs in
//! production. Only the ports are replaced: time passes when nothing else can happen, chance
//! comes from a seed, and another site is reached by calling its routes over a link that loses,
//! delays, doubles and cuts.
//!
//! [`plan::draw`] draws a list of steps from a seed, [`run::run`] plays it, brings the world to
//! rest and lets every checker look at it, [`shrink::shrink`] shortens a list that went wrong.

mod chance;
mod check;
pub mod cli;
pub mod emr;
#[cfg(feature = "planted-faults")]
mod faults;
mod life;
mod net;
pub mod op;
mod oracle;
mod place;
pub mod plan;
pub mod profile;
mod reach;
mod records;
pub mod run;
pub mod shrink;
mod template;
mod time;
mod world;

pub use world::Violation;
