//! What Tributary sites agree on and decide.
//!
//! This crate is pure: it does no I/O, reads no clock, draws no random number and iterates no
//! hash map. The same input gives the same output on every site, which is why two sites that
//! merge the same three versions hold the same bytes afterwards.

pub mod change;
pub mod cohort;
pub mod conflict;
pub mod delivery;
pub mod diff;
pub mod digest;
pub mod error;
pub mod feed;
pub mod id;
pub mod json;
pub mod limits;
pub mod message;
pub mod pace;
pub mod plain;
pub mod planted;
pub mod reconcile;
pub mod resource;
pub mod stream;
pub mod time;
pub mod urgency;
pub mod visit;

pub use change::{Author, ChangeId, Via};
pub use digest::Digest;
pub use error::Refusal;
pub use id::{CohortName, Epoch, FeedId, RecordRef, ResourceType, SiteId};
pub use limits::Limits;
pub use time::Timestamp;
pub use urgency::Urgency;
