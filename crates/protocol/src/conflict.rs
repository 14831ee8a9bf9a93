//! A conflict as a record: a FHIR `Basic` that holds what the two sides of a merge had, what
//! stands for the time being, and what a person decided. Being a record, it travels, joins,
//! leaves, is purged and compared as any other. Implements `docs/protocol.md` §7.
//!
//! Both ends of a link make the same bytes for the same merge: nothing in the open form comes
//! from a clock, and its name is worked out from the two states that met.

mod compare;
mod decide;
mod meet;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use sha2::{Digest as _, Sha256};

pub use self::compare::{Compared, compare};
pub use self::decide::{Choice, Decided, close, reopen};
pub use self::meet::meet;
pub use self::read::read;
use crate::change::Author;
use crate::digest::{Digest, ShortDigest};
use crate::id::{RecordRef, ResourceType, SiteId};
use crate::json::Json;
use crate::resource::compartment;
use crate::time::Timestamp;

/// The system of the code that says what a `Basic` of ours is.
pub const SYSTEM: &str = "urn:tributary";
/// The code of a conflict.
pub const CODE: &str = "conflict";
/// How the URL of each of a conflict's extensions begins.
pub(crate) const URL: &str = "urn:tributary:conflict:";
/// The extension that names a patient of the record, from the second one on.
pub(crate) const PATIENT: &str = "urn:tributary:conflict:patient";
/// How the id of a conflict begins.
const PREFIX: &str = "conflict-";
/// The same for a conflict about a record of a reference type. It goes where those go, and a
/// store must be able to tell that by the name alone, of a deleted one too.
pub(crate) const REFERENCE_PREFIX: &str = "reference-conflict-";
/// What the decided version is called beside `base`, `parent`, `child` and `result`.
pub const DECIDED: &str = "decided";
/// Most characters of the reason that a person gives.
pub const WHY_CHARS: usize = 1_000;

/// Two states of one record that did not go together.
#[derive(Debug, Clone, PartialEq)]
pub struct Conflict {
    /// The record that it is about.
    pub record: RecordRef,
    /// The site at the parent's end of the link on which they met.
    pub parent_site: SiteId,
    /// The one at the child's end.
    pub child_site: SiteId,
    /// What both sides had agreed on last, where that was known.
    pub base: Option<Version>,
    /// The parent's state.
    pub parent: Version,
    /// The child's state.
    pub child: Version,
    /// What the merge came to: it stands for the time being.
    pub result: Version,
    /// The elements that both sides had changed, sorted by path.
    pub elements: Vec<Contested>,
    /// Whose record it is: of those patients the conflict is, too.
    pub patients: BTreeSet<RecordRef>,
    /// How many times it was opened again.
    pub round: u32,
    /// Where it stands.
    pub state: State,
    /// Extensions of later programs, each as JSON: they are carried along.
    pub others: Vec<String>,
}

/// An element that both sides changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Contested {
    /// Its path, as `reconcile` names it.
    pub path: String,
    /// The rule or policy that decided what stands for the time being.
    pub rule: String,
}

/// One state of the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The beginning of its digest, by which histories name it.
    pub digest: ShortDigest,
    /// Its JSON.
    pub body: Body,
}

/// The JSON of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Here it is.
    Whole(String),
    /// The record was deleted in this state.
    Deleted,
    /// It is too long to be carried, or of a patient whose the record is no longer; sites that
    /// had this version find it in the record's history.
    LeftOut,
}

impl Body {
    /// The body, `Some(None)` for a deletion, `None` where it is not here.
    pub fn text(&self) -> Option<Option<&str>> {
        match self {
            Body::Whole(text) => Some(Some(text)),
            Body::Deleted => Some(None),
            Body::LeftOut => None,
        }
    }
}

impl Version {
    /// A state, with its body as it is.
    pub fn new(digest: Digest, body: Option<String>) -> Version {
        Version { digest: digest.short(), body: body.map_or(Body::Deleted, Body::Whole) }
    }
}

/// Where a conflict stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// Nobody has decided; with who opened it again, where somebody did.
    Open(Option<Mark>),
    /// Somebody has looked and left the record as it is.
    Confirmed(Mark),
    /// Somebody has decided.
    Decided(Decision),
}

/// Who did something, where, when, and why.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Mark {
    /// The person, as the site says.
    #[serde(serialize_with = "author")]
    pub by: Author,
    /// The site at which it was done.
    pub site: SiteId,
    /// By that site's clock.
    pub at: Timestamp,
    /// Why, in the person's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

fn author<S: serde::Serializer>(author: &Author, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(author.as_str())
}

/// What a person decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// Who, where, when, why.
    pub mark: Mark,
    /// What was taken: `parent`, `child`, `edit`, `keep`, `delete`, or elements with their sides.
    pub how: String,
    /// The merge as it was decided to be: what would have stood from the beginning.
    pub version: Version,
}

impl State {
    /// `open`, `confirmed` or `decided`.
    pub fn name(&self) -> &'static str {
        match self {
            State::Open(_) => "open",
            State::Confirmed(_) => "confirmed",
            State::Decided(_) => "decided",
        }
    }
    /// Who closed it or opened it again.
    pub fn mark(&self) -> Option<&Mark> {
        match self {
            State::Open(mark) => mark.as_ref(),
            State::Confirmed(mark) => Some(mark),
            State::Decided(decision) => Some(&decision.mark),
        }
    }
}

impl Conflict {
    /// The name of the conflict's own record, given the digests of the two states that met.
    pub fn name(
        record: &RecordRef,
        one: Digest,
        other: Digest,
    ) -> Result<RecordRef, crate::Refusal> {
        let mut hasher = Sha256::new();
        hasher.update(format!("conflict {record} "));
        hasher.update(one.min(other).0);
        hasher.update(one.max(other).0);
        let hash: [u8; 32] = hasher.finalize().into();
        let prefix = if record.kind.is_reference() { REFERENCE_PREFIX } else { PREFIX };
        let hex = hash[..20].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        RecordRef::new(ResourceType::BASIC, &format!("{prefix}{hex}"))
    }

    /// All four states, and the decided one, by the names that people know them by.
    pub fn versions(&self) -> impl Iterator<Item = (&'static str, &Version)> {
        let decided = match &self.state {
            State::Decided(decision) => Some((DECIDED, &decision.version)),
            _ => None,
        };
        let base = self.base.as_ref().map(|base| ("base", base));
        base.into_iter()
            .chain([("parent", &self.parent), ("child", &self.child), ("result", &self.result)])
            .chain(decided)
    }

    /// The same, to be filled in or emptied.
    pub fn versions_mut(&mut self) -> impl Iterator<Item = &mut Version> {
        let decided = match &mut self.state {
            State::Decided(decision) => Some(&mut decision.version),
            _ => None,
        };
        let rest = [&mut self.parent, &mut self.child, &mut self.result];
        self.base.iter_mut().chain(rest).chain(decided)
    }

    /// Makes it a conflict of these patients. A state that was not each one's is left out: whoever
    /// may see one of them may see the conflict, and may not see what the record said when it was
    /// only others'.
    pub fn set_patients(&mut self, patients: BTreeSet<RecordRef>) {
        let record = self.record.clone();
        for version in self.versions_mut() {
            let Body::Whole(text) = &version.body else { continue };
            let theirs = match crate::json::parse(text.as_bytes(), crate::json::DEPTH_MAX) {
                Ok(json) => compartment::patients(&record, &json),
                Err(_) => BTreeSet::new(),
            };
            let is_nobodys_now = patients.is_empty() && !theirs.is_empty();
            if is_nobodys_now || !theirs.is_superset(&patients) {
                version.body = Body::LeftOut;
            }
        }
        self.patients = patients;
    }

    /// Leaves out the longest bodies until the others come to at most `bytes` together.
    pub fn fit(&mut self, bytes: usize) {
        // Versions that are the same share a body.
        let mut sizes = BTreeMap::new();
        for (_, version) in self.versions() {
            if let Body::Whole(text) = &version.body {
                sizes.insert(version.digest, text.len());
            }
        }
        while sizes.values().sum::<usize>() > bytes {
            let longest = sizes.values().copied().max().unwrap_or_default();
            // All of that length, so that it does not matter which comes first.
            sizes.retain(|_, size| *size < longest);
        }
        for version in self.versions_mut().filter(|one| matches!(one.body, Body::Whole(_))) {
            if !sizes.contains_key(&version.digest) {
                version.body = Body::LeftOut;
            }
        }
    }
}

/// Whether a record is named as conflicts are.
pub fn is_name(record: &RecordRef) -> bool {
    let id = record.id();
    record.kind == ResourceType::BASIC
        && (id.starts_with(PREFIX) || id.starts_with(REFERENCE_PREFIX))
}

/// The patients that a `Basic` names in extensions of ours.
pub(crate) fn each_patient<'t, 'a>(basic: &'t Json<'a>, visit: &mut dyn FnMut(&'t Json<'a>)) {
    let extensions = basic.get("extension").map_or(&[][..], Json::items);
    let ours = extensions.iter().filter(|one| one.str_at("url").as_deref() == Some(PATIENT));
    ours.filter_map(|one| one.get("valueReference")).for_each(visit);
}
