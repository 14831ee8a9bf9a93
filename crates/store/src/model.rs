//! What goes into a [`crate::Store`] and comes out of it.

mod access;
mod alert;
mod audit;
mod change;
mod conflict;
mod copies;
mod delivery;
mod emr;
mod feed;
mod outbox;
mod pause;
mod record;
mod site;
mod source;
mod timeline;
mod visitor;
mod why;

pub use access::*;
pub use alert::*;
pub use audit::*;
pub use change::*;
pub use conflict::*;
pub use copies::*;
pub use delivery::*;
pub use emr::*;
pub use feed::*;
pub use outbox::*;
pub use pause::*;
pub use record::*;
pub use site::*;
pub use source::*;
pub use timeline::*;
pub use visitor::*;
pub use why::*;
