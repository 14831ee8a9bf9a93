//! Records that stand in the record system under other ids than here: names and bodies from one
//! side to the other. The store keeps which is which.

use std::collections::{BTreeMap, BTreeSet};

use protocol::json::{self, Json};
use protocol::resource::Record;
use protocol::resource::references::{record_named, references, rewrite_references};
use protocol::{Limits, RecordRef};
use store::{EmrId, SharedStore, StoreError};

use crate::ports::EmrError;

/// Names of one side by those of the other. What is not in it has the same name on both sides.
pub(super) type Names = BTreeMap<RecordRef, RecordRef>;

/// Which of our records stands there under which id.
pub(super) struct Ids {
    store: SharedStore,
}

impl Ids {
    pub(super) fn new(store: SharedStore) -> Ids {
        Ids { store }
    }

    /// What is known of records of ours: under which name each stands there.
    pub(super) async fn there(
        &self,
        ours: BTreeSet<RecordRef>,
    ) -> Result<BTreeMap<RecordRef, EmrId>, EmrError> {
        let ours = ours.into_iter().collect::<Vec<_>>();
        self.ask(move |store| Ok(ours.iter().cloned().zip(store.emr_there(&ours)?).collect())).await
    }

    /// What is known of names of theirs: which record of ours each is.
    pub(super) async fn here(
        &self,
        theirs: BTreeSet<RecordRef>,
    ) -> Result<BTreeMap<RecordRef, EmrId>, EmrError> {
        let theirs = theirs.into_iter().collect::<Vec<_>>();
        let ask = move |store: &SharedStore| {
            Ok(theirs.iter().cloned().zip(store.emr_here(&theirs)?).collect())
        };
        self.ask(ask).await
    }

    /// Keeps under which names records stand there.
    pub(super) async fn keep(&self, names: Vec<(RecordRef, RecordRef)>) -> Result<(), EmrError> {
        self.ask(move |store| store.emr_name(&names)).await
    }

    /// Anything else that is asked of the store, where that may wait.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(&SharedStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, EmrError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|error| EmrError::away(error.to_string()))?;
        done.map_err(|error| EmrError::away(format!("this site's own store failed: {error}")))
    }
}

/// Those that have another name on the other side.
pub(super) fn others(known: BTreeMap<RecordRef, EmrId>) -> Names {
    let other = |(name, id)| match id {
        EmrId::Other(other) => Some((name, other)),
        EmrId::Same | EmrId::Due | EmrId::Unknown => None,
    };
    known.into_iter().filter_map(other).collect()
}

/// The name of a record on the other side.
pub(super) fn on_other_side(names: &Names, record: &RecordRef) -> RecordRef {
    names.get(record).unwrap_or(record).clone()
}

/// The records that a record names: itself, and those that it refers to.
pub(super) fn named_in(record: &Record) -> BTreeSet<RecordRef> {
    let mut named = BTreeSet::from([record.reference.clone()]);
    let body = record.body.as_deref().unwrap_or("null");
    if let Ok(resource) = json::parse(body.as_bytes(), json::DEPTH_MAX) {
        let found = references(&resource);
        named.extend(found.into_iter().filter_map(|(_, text)| record_named(&text.decode())));
    }
    named
}

/// A record as it is on the other side: its id and its references under the names there.
pub(super) fn renamed(record: &Record, names: &Names, limits: &Limits) -> Result<Record, EmrError> {
    let (Some(body), false) = (&record.body, names.is_empty()) else { return Ok(record.clone()) };
    let odd = |why: String| EmrError::Refused(format!("its ids cannot be rewritten: {why}"));
    let resource = json::parse(body.as_bytes(), json::DEPTH_MAX);
    let resource = resource.map_err(|refusal| odd(refusal.reason))?;
    let mut resource = rewrite_references(&resource, &mut |text| {
        let named = record_named(text)?;
        let unversioned = text.rsplit_once("/_history/").map_or(text, |(before, _)| before);
        let server = unversioned.strip_suffix(&named.to_string())?;
        Some(format!("{server}{}", names.get(&named)?))
    });
    if let (Some(own), Json::Object(members)) = (names.get(&record.reference), &mut resource) {
        members.set("id", Json::string(own.id().to_owned()));
    }
    let body = resource.to_text();
    Record::parse(body.as_bytes(), limits).map_err(|refusal| odd(refusal.reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_renamed_with_all_that_it_refers_to_and_nothing_else() {
        let limits = Limits::default();
        let parse = |text: &str| Record::parse(text.as_bytes(), &limits).unwrap();
        let name = |text: &str| text.parse::<RecordRef>().unwrap();
        let pairs = [("Observation/a", "Observation/9"), ("Patient/p", "Patient/7")];
        let names = pairs.map(|(here, there)| (name(here), name(there))).into();
        let text = concat!(
            r#"{"resourceType":"Observation","id":"a","status":"final","#,
            r#""subject":{"reference":"Patient/p","display":"Patient/p"},"#,
            r#""hasMember":[{"reference":"http://x/fhir/Observation/a"},"#,
            r#"{"reference":"Observation/b"}],"valueString":"Patient/p","#,
            r#""valueQuantity":{"value":1.50}}"#
        );
        let shown = renamed(&parse(text), &names, &limits).unwrap();
        let expected = text
            .replace(r#""id":"a""#, r#""id":"9""#)
            .replace(r#""reference":"Patient/p""#, r#""reference":"Patient/7""#)
            .replace("fhir/Observation/a", "fhir/Observation/9");
        assert_eq!(shown.body.as_deref(), Some(expected.as_str()));
        assert_eq!(shown.reference, name("Observation/9"));
        let back = names.into_iter().map(|(here, there)| (there, here)).collect();
        assert_eq!(renamed(&shown, &back, &limits).unwrap(), parse(text));
        let named = named_in(&parse(text)).iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(named.join(" "), "Observation/a Observation/b Patient/p");
        assert_eq!(renamed(&parse(text), &Names::new(), &limits).unwrap(), parse(text));
    }
}
