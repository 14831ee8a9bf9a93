//! From an entry to the records that it is about. Pure.

use protocol::RecordRef;
use protocol::feed::atom::AtomEntry;
use reqwest::Url;

use crate::ports::LinkError;

/// The media type of links to FHIR records.
const FHIR_TYPE: &str = "application/fhir+json";

/// The records that an entry names: by its FHIR links, or by its content, which is a URL or JSON
/// with one. None where it names what is no record here. Refuses what is on another host.
pub(super) fn records_of(entry: &AtomEntry, base: &Url) -> Result<Vec<RecordRef>, LinkError> {
    let links = entry.links.iter().filter(|link| link.media.as_deref() == Some(FHIR_TYPE));
    let mut named = links.map(|link| link.href.clone()).collect::<Vec<_>>();
    if named.is_empty() {
        named.extend(entry.content.as_deref().and_then(url_in));
    }
    let mut records = Vec::new();
    for url in named {
        records.extend(record_at(&here(&url, base)?));
    }
    Ok(records)
}

/// The URL in an entry's content: of JSON the member `fhir`, or else `rest`.
fn url_in(content: &str) -> Option<String> {
    let content = content.trim();
    if !content.starts_with('{') {
        return (!content.is_empty()).then(|| content.to_owned());
    }
    let json: serde_json::Value = serde_json::from_str(content).ok()?;
    let member = |name: &str| json.get(name).and_then(|url| url.as_str().map(str::to_owned));
    member("fhir").or_else(|| member("rest"))
}

/// A URL as it stands in a feed, made whole. Refuses one that leads to another host: what we have
/// to show for ourselves is for this one only.
pub(super) fn here(text: &str, base: &Url) -> Result<Url, LinkError> {
    let odd = || LinkError("it names something that is no URL".to_owned());
    let url = base.join(text.trim()).map_err(|_| odd())?;
    if url.origin() != base.origin() || !matches!(url.scheme(), "http" | "https") {
        let host = url.host_str().unwrap_or("nowhere");
        return Err(LinkError(format!(
            "it names URLs of another host ({host}), which are not fetched: `url` has to be the \
             address under which it knows itself"
        )));
    }
    Ok(url)
}

/// The record that a URL is about: `.../Type/id` of any FHIR API, the retired one of OpenMRS
/// included, or what OpenMRS's own API calls it.
fn record_at(url: &Url) -> Option<RecordRef> {
    let parts = url.path_segments()?.filter(|part| !part.is_empty()).collect::<Vec<_>>();
    let fhir = parts.windows(2).rev().find_map(|pair| {
        let kind = pair[0].parse().ok()?;
        RecordRef::new(kind, pair[1]).ok()
    });
    if fhir.is_some() {
        return fhir;
    }
    let rest = parts.windows(2).position(|pair| pair == ["rest", "v1"])? + 2;
    let (kind, id) = match &parts[rest..] {
        ["patient", _, "allergy", id, ..] => ("AllergyIntolerance", id),
        ["patient" | "person", id, ..] => ("Patient", id),
        ["encounter" | "visit", id, ..] | ["bahmnicore", "bahmniencounter", id, ..] => {
            ("Encounter", id)
        }
        ["obs", id, ..] => ("Observation", id),
        ["location", id, ..] => ("Location", id),
        ["provider", id, ..] => ("Practitioner", id),
        _ => return None,
    };
    RecordRef::new(kind.parse().ok()?, id).ok()
}
