//! OpenMRS beside a site: reads by its FHIR module (fhir2), writes by webservices.rest, which
//! keeps our ids. No write ever goes to its database.
//!
//! What is written is planned by pure functions (`plan.rs`, a file or a function a resource): they
//! give the fewest calls that lead from what OpenMRS shows to what is wanted, and ask for what they
//! have to know (`known.rs`). docs/openmrs.md has the table of elements against columns.

mod allergy;
mod condition;
pub mod element;
mod encounter;
pub mod known;
mod observation;
mod order;
mod other;
mod patient;
mod person;
pub mod plan;
pub mod shape;
#[cfg(test)]
mod tests;
