//! A server that gives ids of its own (`ids = "map"`): what is made here is posted, and stands
//! there under another id; what is made there gets an id here that no other server gives. A tag in
//! the records that we post says which of ours each is, so that one whose answer was lost is known.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use protocol::json::{self, Json, Object, Text};
use protocol::resource::Record;
use protocol::{Digest, Limits, RecordRef, ResourceType};
use store::EmrId;

use super::load::is_of_records;
use super::{FhirEmr, plain};
use crate::config::FhirIds;
use crate::emr::ids::{Names, named_in, renamed};
use crate::fhir_server::{Found, Page, Read};
use crate::ports::{EmrError, Shown};

/// The system of the tag.
const TAG: &str = "urn:tributary:record";
/// Without tags, one whose answer was lost is not known again.
const DROPS_TAGS: &str = "this server drops tags (meta.tag): with `ids = \"map\"` nothing new is \
    made there; let it keep them, and start this site again";
const NOT_BY_TAGS: &str = "this server does not search by tags (_tag): with `ids = \"map\"` \
    nothing new is made there";

impl FhirEmr {
    fn maps(&self) -> bool {
        self.mode == FhirIds::Map
    }

    /// After a loss, or at another address, a server gives ids a second time: a stranger would be
    /// taken for one of ours. A person says that they are what they were.
    pub(super) async fn ids_hold(&self) -> Result<(), EmrError> {
        if !self.maps() || self.same_ids {
            return Ok(());
        }
        match self.ids.ask(|store| store.emr_ids_doubt()).await? {
            None => Ok(()),
            Some(why) => Err(EmrError::away(format!(
                "its ids may be those of other records now ({why}): nothing is read or written \
                 until a person has looked. If they are what they were, set `same_ids = true` in \
                 [emr.fhir]; docs/emr-fhir.md says what else to do"
            ))),
        }
    }

    /// Whether what stands there is still what was posted for this record: it has our tag then.
    pub(super) async fn is_still(&self, ours: &RecordRef, there: &Record) -> Result<(), EmrError> {
        if !self.maps() || there.reference == *ours {
            return Ok(());
        }
        let site = self.ids.ask(|store| store.site()).await?.site;
        let tag = there.body.as_deref().and_then(|body| tag_in(ours.kind, body));
        if tag.as_ref() == Some(ours) || own_name(site.as_str(), &there.reference) == *ours {
            return Ok(());
        }
        let place = &there.reference;
        Err(EmrError::Refused(format!(
            "{place} there has not the tag {TAG}|{} with which it was made: it is another record, \
             or its tags were dropped; put the tag back where it is the same",
            ours.id()
        )))
    }

    /// Under which name a record of ours stands there, or would; none where it can have none yet.
    pub(super) async fn place_of(&self, record: &RecordRef) -> Result<Option<RecordRef>, EmrError> {
        if !self.maps() {
            return Ok(Some(record.clone()));
        }
        let one = BTreeSet::from([record.clone()]);
        match self.ids.there(one.clone()).await?.remove(record) {
            Some(EmrId::Other(there)) => return Ok(Some(there)),
            Some(EmrId::Same) => return Ok(Some(record.clone())),
            _ => {}
        }
        // It may have been made there, and not been read until now.
        let is_anothers = matches!(self.ids.here(one).await?.remove(record), Some(EmrId::Other(_)));
        Ok((is_unique(record.id()) && !is_anothers).then(|| record.clone()))
    }

    /// A page under our names. Names that are new get one here, which is kept.
    pub(super) async fn page_as_ours(&self, mut page: Page) -> Result<Page, EmrError> {
        if !self.maps() {
            return Ok(page);
        }
        page.found.retain(|one| one.record.as_ref().is_none_or(|r| is_of_records(r.kind)));
        let named = page.found.iter().filter_map(|one| one.record.clone()).collect();
        let known = self.ids.here(named).await?;
        let mut new = Vec::new();
        for one in &mut page.found {
            let Some(there) = one.record.clone() else { continue };
            let id = known.get(&there).cloned().unwrap_or(EmrId::Unknown);
            let is_new = id == EmrId::Unknown;
            let here = self.name_here(&there, id, tag_of(one)).await?;
            // Of what is deleted nothing more is to be known.
            if is_new && here != there && one.body.is_some() {
                new.push((here.clone(), there));
            }
            one.record = Some(here);
        }
        new.sort();
        new.dedup();
        if !new.is_empty() {
            self.ids.keep(new).await?;
        }
        Ok(page)
    }

    /// What a record is called here. A tag that somebody has copied to another record says nothing.
    async fn name_here(
        &self,
        there: &RecordRef,
        id: EmrId,
        tag: Option<RecordRef>,
    ) -> Result<RecordRef, EmrError> {
        match id {
            EmrId::Other(here) => return Ok(here),
            EmrId::Same => return Ok(there.clone()),
            EmrId::Due | EmrId::Unknown => {}
        }
        if let Some(tag) = tag.filter(|tag| tag.kind == there.kind) {
            let one = BTreeSet::from([tag.clone()]);
            let taken = self.ids.there(one).await?.remove(&tag);
            if !matches!(taken, Some(EmrId::Other(_) | EmrId::Same)) {
                return Ok(tag);
            }
        }
        let site = self.ids.ask(|store| store.site()).await?.site;
        Ok(own_name(site.as_str(), there))
    }

    /// What is shown there, under our names and without our tag.
    pub(super) async fn as_ours(
        &self,
        ours: &RecordRef,
        there: Record,
    ) -> Result<Record, EmrError> {
        if !self.maps() {
            return Ok(there);
        }
        let own = there.reference.clone();
        let known = self.ids.here(named_in(&there)).await?;
        let mut names = Names::new();
        for (name, id) in known {
            let here =
                if name == own { ours.clone() } else { self.name_here(&name, id, None).await? };
            if here != name {
                names.insert(name, here);
            }
        }
        let there = with_tag(&there, None, &self.limits)?;
        renamed(&there, &names, &self.limits)
    }

    /// What is to be written, under the names there; with a tag, where its own is another. Waits
    /// for what it refers to and is not there yet.
    pub(super) async fn as_theirs(
        &self,
        wanted: &Record,
        place: Option<&RecordRef>,
    ) -> Result<Record, EmrError> {
        if !self.maps() {
            return Ok(wanted.clone());
        }
        let own = &wanted.reference;
        let mut names = Names::new();
        for (name, id) in self.ids.there(named_in(wanted)).await? {
            match id {
                _ if name == *own => {}
                EmrId::Other(there) => drop(names.insert(name, there)),
                EmrId::Due => return Err(EmrError::Waits(name)),
                // Another record may have that id there, or get it.
                EmrId::Unknown if !is_unique(name.id()) => return Err(EmrError::Waits(name)),
                EmrId::Same | EmrId::Unknown => {}
            }
        }
        names.extend(place.filter(|place| *place != own).map(|place| (own.clone(), place.clone())));
        let tag = (place != Some(own)).then_some(own);
        let wanted = with_tag(wanted, tag, &self.limits)?;
        renamed(&wanted, &names, &self.limits)
    }

    /// Makes a record there, under an id of the server's own. One that was made before, and of
    /// which the answer was lost, is read first.
    pub(super) async fn make(&self, wanted: &Record) -> Result<(), EmrError> {
        let ours = &wanted.reference;
        if let Some(there) = self.made_before(ours).await? {
            self.ids.keep(vec![(ours.clone(), there)]).await?;
            return Err(EmrError::Changed);
        }
        if self.drops_tags.load(Ordering::Relaxed) {
            return Err(EmrError::Refused(DROPS_TAGS.to_owned()));
        }
        let theirs = self.as_theirs(wanted, None).await?;
        let body = theirs.body.as_deref().unwrap_or_default();
        let made = self.server.post(ours, &without_id(body)?).await.map_err(plain)?;
        self.ids.keep(vec![(ours.clone(), made.clone())]).await?;
        if let Read::Body(body, _) = self.server.read(&made).await.map_err(plain)? {
            let tag = std::str::from_utf8(&body).ok().and_then(|body| tag_in(ours.kind, body));
            if tag.as_ref() != Some(ours) {
                self.drops_tags.store(true, Ordering::Relaxed);
                return Err(EmrError::Refused(DROPS_TAGS.to_owned()));
            }
        }
        Ok(())
    }

    /// The record there that has our tag.
    async fn made_before(&self, ours: &RecordRef) -> Result<Option<RecordRef>, EmrError> {
        let kind = ours.kind;
        let code = ours.id();
        let path = format!("{kind}?_tag={TAG}%7C{code}&_elements=id,meta&_count=10");
        let page = self.server.pages(&path)?.next().await.map_err(plain)?;
        let found = page.map(|page| page.found).unwrap_or_default();
        let of_kind = |one: &Found| one.record.as_ref().is_some_and(|record| record.kind == kind);
        let mut found = found.into_iter().filter(of_kind).peekable();
        let first = found.peek().and_then(|one| one.record.clone());
        // Of a server that shows any, ours may stand on a later page, or be hidden among others.
        match found.all(|one| tag_of(&one).as_ref() == Some(ours)) {
            true => Ok(first),
            false => Err(EmrError::Refused(NOT_BY_TAGS.to_owned())),
        }
    }

    /// Whether what is there is what was shown before, or was never there.
    pub(super) fn is_as_before(image: Option<&Shown>, shown: &Shown) -> bool {
        match (image, shown) {
            (Some(Shown::Body(image)), Shown::Body(there)) => image.digest == there.digest,
            (None | Some(Shown::Gone | Shown::Absent), Shown::Gone | Shown::Absent) => true,
            _ => false,
        }
    }
}

/// Whether no other server gives this id: a UUID.
fn is_unique(id: &str) -> bool {
    let lengths = [8, 4, 4, 4, 12];
    let parts = id.split('-').collect::<Vec<_>>();
    parts.len() == lengths.len()
        && parts.iter().zip(lengths).all(|(part, length)| {
            part.len() == length && part.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
}

/// The id here of a record that was made there: its own, where no other server gives the same, and
/// else one that always comes out the same.
fn own_name(site: &str, there: &RecordRef) -> RecordRef {
    if is_unique(there.id()) {
        return there.clone();
    }
    let digest = Digest::of(&Json::string(format!("{site} {there}"))).to_string();
    let hex = digest.chars().filter(char::is_ascii_hexdigit).take(30).collect::<String>();
    // As a UUID of version 8, whose bits are one's own.
    let id = format!(
        "{}-{}-8{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..15],
        &hex[15..18],
        &hex[18..30]
    );
    RecordRef::new(there.kind, &id).unwrap_or_else(|_| there.clone())
}

/// The record of ours that a record there says to be.
fn tag_of(found: &Found) -> Option<RecordRef> {
    tag_in(found.record.as_ref()?.kind, found.body.as_deref()?)
}

fn tag_in(kind: ResourceType, body: &str) -> Option<RecordRef> {
    let body = json::parse(body.as_bytes(), json::DEPTH_MAX).ok()?;
    let tags = body.get("meta")?.get("tag")?;
    let tag = tags.items().iter().find(|tag| tag.str_at("system").as_deref() == Some(TAG))?;
    RecordRef::new(kind, &tag.str_at("code")?).ok()
}

/// A record with our tag in place of what it has of that.
fn with_tag(record: &Record, tag: Option<&RecordRef>, limits: &Limits) -> Result<Record, EmrError> {
    let odd = |why: String| EmrError::Refused(format!("its tags cannot be read: {why}"));
    let Some(body) = record.body.as_deref() else { return Ok(record.clone()) };
    if tag.is_none() && !body.contains(TAG) {
        return Ok(record.clone());
    }
    let parsed = json::parse(body.as_bytes(), json::DEPTH_MAX);
    let Json::Object(mut resource) = parsed.map_err(|refusal| odd(refusal.reason))? else {
        return Err(odd("it is no object".to_owned()));
    };
    let mut meta = resource.get("meta").and_then(Json::as_object).cloned().unwrap_or_default();
    let others = meta.get("tag").map(Json::items).unwrap_or_default().iter();
    let others = others.filter(|tag| tag.str_at("system").as_deref() != Some(TAG));
    let mut tags = others.cloned().collect::<Vec<_>>();
    tags.extend(tag.map(|tag| {
        let member =
            |key: &'static str, value: &str| (Text::plain(key), Json::string(value.to_owned()));
        Json::Object(Object::from_members(vec![member("system", TAG), member("code", tag.id())]))
    }));
    match tags.is_empty() {
        true => drop(meta.remove("tag")),
        false => meta.set("tag", Json::Array(tags)),
    }
    match meta.is_empty() {
        true => drop(resource.remove("meta")),
        false => resource.set("meta", Json::Object(meta)),
    }
    let text = Json::Object(resource).to_text();
    Record::parse(text.as_bytes(), limits).map_err(|refusal| odd(refusal.reason))
}

fn without_id(body: &str) -> Result<String, EmrError> {
    let odd = |why: String| EmrError::Refused(format!("it cannot be posted: {why}"));
    match json::parse(body.as_bytes(), json::DEPTH_MAX).map_err(|refusal| odd(refusal.reason))? {
        Json::Object(mut resource) => {
            resource.remove("id");
            Ok(Json::Object(resource).to_text())
        }
        _ => Err(odd("it is no object".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_there_has_an_id_here_that_no_other_site_gives() {
        let name = |text: &str| text.parse::<RecordRef>().unwrap();
        let unique = name("Patient/0b6f5e0c-93a4-4c0e-8d7a-000000000001");
        assert_eq!(own_name("clinic", &unique), unique);
        let (one, other) = (own_name("clinic", &name("Patient/17")), name("Patient/17"));
        assert!(is_unique(one.id()), "{one}");
        assert_eq!(one, own_name("clinic", &other));
        assert_ne!(one, own_name("hospital", &other));
        assert_ne!(one.id(), own_name("clinic", &name("Observation/17")).id());
    }

    #[test]
    fn the_tag_comes_and_goes_and_leaves_everything_else() {
        let limits = Limits::default();
        let parse = |text: &str| Record::parse(text.as_bytes(), &limits).unwrap();
        for text in [
            r#"{"resourceType":"Patient","id":"a","gender":"female"}"#,
            r#"{"resourceType":"Patient","id":"a","meta":{"profile":["x"],"tag":[{"code":"y"}]}}"#,
        ] {
            let plain = parse(text);
            let tagged = with_tag(&plain, Some(&plain.reference), &limits).unwrap();
            assert!(tagged.body.as_ref().unwrap().contains(r#""code":"a""#), "{tagged:?}");
            let found = Found {
                record: Some("Patient/7".parse().unwrap()),
                body: tagged.body.clone(),
                changed: None,
                version: None,
            };
            assert_eq!(tag_of(&found), Some(plain.reference.clone()));
            assert_eq!(with_tag(&tagged, None, &limits).unwrap().digest, plain.digest);
        }
        let posted = without_id(r#"{"resourceType":"Patient","id":"a"}"#).unwrap();
        assert_eq!(posted, r#"{"resourceType":"Patient"}"#);
    }
}
