//! A world in a box: many sites in one process on one thread, with the code that runs in
//! production. Only the ports are replaced ([`ports`]): time passes when nothing else can happen,
//! chance comes from a seed, and another site is reached by calling its routes.
//!
//! This is the beginning. [`World`] makes sites, joins them and lets them step, one after the
//! other, over a link that always works. The next step fills it: a list of operations drawn from
//! the seed (edits, moves of patients, restores), a link that loses, delays, doubles and cuts,
//! crashes at any point, clocks that are wrong, and one checker a file for what has to hold.

pub mod ports;
pub mod time;
pub mod world;

pub use world::World;
