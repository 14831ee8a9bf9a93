//! The demo: a centre and its clinics in one process, living through a story.

pub mod generator;
