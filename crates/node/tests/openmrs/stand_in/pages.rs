//! Searches of fhir2 and pages of the atomfeed module, in the stand-in.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::{State, fhir, fhir_answer, outcome};

/// GET of fhir2.
pub(crate) fn read(state: &mut State, path: &str, query: &str) -> Response {
    let hidden = |kind: &str| state.quirks.older_fhir2 && kind == "EpisodeOfCare";
    if path == "metadata" {
        let mut types = fhir::TYPES.iter().map(|(kind, _)| *kind).collect::<Vec<_>>();
        types.dedup();
        types.retain(|kind| !hidden(kind));
        let types = types.iter().map(|kind| {
            json!({ "type": kind, "interaction": [{ "code": "read" }, { "code": "search-type" }] })
        });
        let rest = json!([{ "mode": "server", "resource": types.collect::<Vec<_>>() }]);
        let metadata = json!({ "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
            "software": { "name": "OpenMRS FHIR" }, "rest": rest });
        return fhir_answer(StatusCode::OK, &metadata);
    }
    match path.split_once('/') {
        Some((kind, _)) if hidden(kind) => fhir_answer(StatusCode::NOT_FOUND, &outcome()),
        Some((kind, uuid)) => match fhir::read(state, kind, uuid) {
            Ok(Some(record)) => fhir_answer(StatusCode::OK, &record),
            Ok(None) => fhir_answer(StatusCode::GONE, &outcome()),
            Err(()) => fhir_answer(StatusCode::NOT_FOUND, &outcome()),
        },
        None => search(state, path, query),
    }
}

/// A search: visits before encounters, whole seconds, at most a hundred a page.
fn search(state: &mut State, kind: &str, query: &str) -> Response {
    let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    let asked = url.query_pairs().into_owned().collect::<BTreeMap<String, String>>();
    let offset = asked.get("_getpagesoffset").map_or(0, |text| text.parse().unwrap());
    if offset > 0 {
        match &mut state.quirks.pages {
            Some(0) => return fhir_answer(StatusCode::GONE, &outcome()),
            Some(left) => *left -= 1,
            None => {}
        }
    }
    let mut found = Vec::new();
    for (_, name) in fhir::TYPES.iter().filter(|(one, _)| *one == kind) {
        let filtered = match (asked.get("_tag"), asked.get("category")) {
            (Some(tag), _) => !tag.ends_with(name),
            (_, Some(category)) => (category == "problem-list-item") != (*name == "conditions"),
            _ => false,
        };
        if !filtered {
            found.extend(fhir::all(state, kind, name));
        }
    }
    if let Some(value) = asked.get("identifier") {
        found.retain(|(_, record)| {
            record["identifier"].as_array().into_iter().flatten().any(|one| one["value"] == **value)
        });
    }
    if let Some(ids) = asked.get("_id").filter(|_| !state.quirks.ignores_ids) {
        let ids = ids.split(',').collect::<Vec<_>>();
        found.retain(|(_, record)| ids.contains(&record["id"].as_str().unwrap()));
        if state.quirks.narrates {
            found.iter_mut().for_each(|(_, record)| record["language"] = json!("en"));
        }
    }
    if let Some(since) = asked.get("_lastUpdated") {
        let since = since.trim_start_matches("ge")[..19].replace('T', " ");
        found.retain(|(changed, _)| *changed >= since);
    }
    if asked.get("_sort").is_some_and(|sort| sort == "_lastUpdated") {
        found.sort_by(|one, other| one.0.cmp(&other.0));
    }
    let count = asked.get("_count").map_or(10, |text| text.parse().unwrap()).min(100);
    let entries = found.iter().skip(offset).take(count);
    let entries = entries.map(|(_, record)| json!({ "resource": record })).collect::<Vec<_>>();
    let mut link = Vec::new();
    if offset + count < found.len() {
        let rest = query.split('&').filter(|part| !part.starts_with("_getpagesoffset"));
        let rest = rest.collect::<Vec<_>>().join("&");
        // As it knows itself, which is not how it was asked.
        let next = format!(
            "http://localhost:8080/openmrs/ws/fhir2/R4/{kind}?{rest}&_getpagesoffset={}",
            offset + count
        );
        link.push(json!({ "relation": "next", "url": next }));
    }
    let bundle = json!({ "resourceType": "Bundle", "type": "searchset", "link": link,
        "entry": entries });
    fhir_answer(StatusCode::OK, &bundle)
}

/// A page of the atomfeed module: five entries, oldest first, no login.
pub(crate) fn feed(state: &State, path: &str) -> Response {
    const PAGE: usize = 5;
    let mut parts = path.split('/').skip(2);
    let (category, page) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let empty = Vec::new();
    let entries = state.feeds.get(category).unwrap_or(&empty);
    let last = entries.len().div_ceil(PAGE).max(1);
    let number = if page == "recent" { last } else { page.parse().unwrap_or(0) };
    if !(1..=last).contains(&number) {
        return page_not_there();
    }
    let link = |rel: &str, number: usize| {
        format!(
            "<link rel=\"{rel}\" type=\"application/atom+xml\" \
                 href=\"/openmrs/ws/atomfeed/{category}/{number}\"/>"
        )
    };
    let mut xml = format!(
        "<?xml version=\"1.0\"?><feed xmlns=\"http://www.w3.org/2005/Atom\"><title>{category}\
         </title><id>feed-{category}</id><updated>2026-01-01T00:00:00Z</updated>{}",
        link("via", number)
    );
    if number > 1 {
        xml += &link("prev-archive", number - 1);
    }
    if number < last {
        xml += &link("next-archive", number + 1);
    }
    for (at, content) in entries.iter().enumerate().skip((number - 1) * PAGE).take(PAGE) {
        xml += &format!(
            "<entry><title>{category}</title><id>tag:{category}:{at}</id>\
             <updated>2026-01-01T00:00:00Z</updated>\
             <content type=\"application/vnd.atomfeed+xml\"><![CDATA[{content}]]></content></entry>"
        );
    }
    xml += "</feed>";
    (StatusCode::OK, [("content-type", "application/atom+xml")], xml).into_response()
}

fn page_not_there() -> Response {
    (StatusCode::NOT_FOUND, [("content-type", "text/plain")], "no such page").into_response()
}
