//! One JSON document into records: a single resource, or a Bundle of any type with its
//! references resolved.

use std::collections::BTreeMap;

use protocol::digest::Digest;
use protocol::error::Refusal;
use protocol::json::{self, Json};
use protocol::resource::references::{references, rewrite_references};
use protocol::resource::search::{Param, SearchValue};
use protocol::resource::{Record, with_id};
use protocol::{Limits, RecordRef, ResourceType};
use store::{Scope, SearchFilter, SearchQuery, SearchTest, Store};

/// What stands around a resource in a Bundle, in levels of nesting.
const BUNDLE_DEPTH: usize = 4;

/// What a document came to.
#[derive(Debug, Default)]
pub struct Found {
    /// The records, in the order of the document.
    pub records: Vec<Record>,
    /// Entries that are refused, and why.
    pub refused: Vec<(String, Refusal)>,
    /// Searches in references (`Practitioner?identifier=...`) that found nothing.
    pub unresolved: Vec<String>,
}

/// Finds the record that a conditional reference means.
pub struct Resolve<'a>(Option<&'a dyn Store>);

impl<'a> Resolve<'a> {
    /// Among the records of a store.
    pub fn in_store(store: &'a dyn Store) -> Self {
        Resolve(Some(store))
    }
    /// Nowhere.
    pub fn nowhere() -> Self {
        Resolve(None)
    }

    /// `Type?identifier=system|value`; `None` where it finds none or several.
    fn find(&self, reference: &str) -> Option<RecordRef> {
        let (kind, query) = reference.split_once('?')?;
        let kind: ResourceType = kind.parse().ok()?;
        let value = query.strip_prefix("identifier=").filter(|value| !value.contains('&'))?;
        let (system, code) = value.split_once('|')?;
        let token = SearchValue::Token { system: system.to_owned(), code: code.to_owned() };
        let filter = SearchFilter { param: Param::Identifier, any: vec![SearchTest::Is(token)] };
        let query = SearchQuery {
            kind: Some(kind),
            filters: vec![filter],
            limit: 2,
            ..SearchQuery::default()
        };
        let page = self.0?.record_search(&query, &Scope::Everything).ok()?;
        match page.records.as_slice() {
            [one] => Some(one.reference.clone()),
            _ => None,
        }
    }
}

/// One resource of a document before its references are resolved.
struct Entry<'a> {
    place: String,
    full_url: Option<String>,
    resource: Json<'a>,
    deleted: Option<RecordRef>,
}

/// Reads a document.
pub fn read(text: &[u8], limits: &Limits, resolve: &Resolve<'_>) -> Result<Found, Refusal> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let document = json::parse(text, limits.json_depth + BUNDLE_DEPTH)?;
    let mut found = Found::default();
    let mut entries = Vec::new();
    if document.str_at("resourceType").as_deref() == Some("Bundle") {
        let history = document.str_at("type").as_deref() == Some("history");
        for (index, entry) in
            document.get("entry").map(Json::items).unwrap_or(&[]).iter().enumerate()
        {
            let place = format!("entry {}", index + 1);
            match entry_of(place.clone(), entry) {
                Ok(Some(entry)) => entries.push(entry),
                Ok(None) => {}
                Err(refusal) => found.refused.push((place, refusal)),
            }
        }
        if history {
            keep_newest(&mut entries);
        }
    } else {
        let resource = named(&document, None)?;
        let place = "resource".to_owned();
        entries.push(Entry { place, full_url: None, resource, deleted: None });
    }
    resolve_all(entries, limits, resolve, &mut found);
    Ok(found)
}

/// A resource with an id: its own, that of its `urn:uuid`, or one made of its content, so that
/// reading the same file twice changes nothing.
fn named<'a>(resource: &Json<'a>, full_url: Option<&str>) -> Result<Json<'a>, Refusal> {
    if resource.get("id").is_some() {
        return Ok(resource.clone());
    }
    if let Some(uuid) = full_url.and_then(|url| url.strip_prefix("urn:uuid:")) {
        return with_id(resource, uuid);
    }
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&Digest::of(resource).0[..16]);
    with_id(resource, &uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
}

fn entry_of<'a>(place: String, entry: &Json<'a>) -> Result<Option<Entry<'a>>, Refusal> {
    let full_url = entry.str_at("fullUrl").map(std::borrow::Cow::into_owned);
    let request = entry.get("request");
    let method = request.and_then(|request| request.str_at("method"));
    if method.as_deref() == Some("DELETE") {
        let url = request.and_then(|request| request.str_at("url"));
        let deleted = url.as_deref().and_then(protocol::resource::references::record_named);
        let deleted =
            deleted.ok_or_else(|| Refusal::invalid("a deletion by a search cannot be imported"))?;
        return Ok(Some(Entry { place, full_url, resource: Json::Null, deleted: Some(deleted) }));
    }
    let Some(resource) = entry.get("resource") else { return Ok(None) };
    let resource = named(resource, full_url.as_deref())?;
    Ok(Some(Entry { place, full_url, resource, deleted: None }))
}

fn reference_of(entry: &Entry<'_>) -> Option<RecordRef> {
    let kind: ResourceType = entry.resource.str_at("resourceType")?.parse().ok()?;
    RecordRef::new(kind, &entry.resource.str_at("id")?).ok()
}

/// A history has the newest version of a record first; older ones are not news.
fn keep_newest(entries: &mut Vec<Entry<'_>>) {
    let mut seen = std::collections::BTreeSet::new();
    entries.retain(|entry| match entry.deleted.clone().or_else(|| reference_of(entry)) {
        Some(reference) => seen.insert(reference),
        None => true,
    });
}

fn resolve_all(entries: Vec<Entry<'_>>, limits: &Limits, resolve: &Resolve<'_>, found: &mut Found) {
    let mut urls: BTreeMap<String, String> = BTreeMap::new();
    for entry in &entries {
        if let (Some(url), Some(reference)) = (&entry.full_url, reference_of(entry)) {
            urls.insert(url.clone(), reference.to_string());
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    for entry in entries {
        if let Some(deleted) = entry.deleted {
            found.records.push(Record::deleted(deleted));
            continue;
        }
        match record_of(&entry.resource, &urls, limits, resolve, &mut found.unresolved) {
            Ok(record) if seen.insert(record.reference.clone()) => found.records.push(record),
            Ok(record) => {
                let reason = format!("{} stands twice in this Bundle", record.reference);
                found.refused.push((entry.place, Refusal::invalid(reason)));
            }
            Err(refusal) => found.refused.push((entry.place, refusal)),
        }
    }
}

fn record_of(
    resource: &Json<'_>,
    urls: &BTreeMap<String, String>,
    limits: &Limits,
    resolve: &Resolve<'_>,
    unresolved: &mut Vec<String>,
) -> Result<Record, Refusal> {
    let needs_work =
        |text: &str| text.starts_with("urn:") || text.contains('?') || urls.contains_key(text);
    if !urls.is_empty() || references(resource).iter().any(|(_, text)| needs_work(&text.decode())) {
        let mut dangling = None;
        let resolved = rewrite_references(resource, &mut |text| {
            if let Some(target) = urls.get(text) {
                return Some(target.clone());
            }
            if text.starts_with("urn:uuid:") && dangling.is_none() {
                dangling = Some(text.to_owned());
            }
            if !text.starts_with("urn:") && text.contains('?') {
                let target = resolve.find(text);
                if target.is_none() {
                    unresolved.push(text.to_owned());
                }
                return target.map(|target| target.to_string());
            }
            None
        });
        if let Some(text) = dangling {
            return Err(Refusal::invalid(format!(
                "it refers to {text}, which is not in its Bundle"
            )));
        }
        return Record::from_json(&resolved, limits);
    }
    Record::from_json(resource, limits)
}
