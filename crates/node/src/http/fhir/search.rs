//! Searches, and the paging that histories and `$everything` share with them.

use axum::http::StatusCode;
use protocol::{Limits, Refusal, ResourceType};
use serde_json::json;
use store::{Disclosure, SearchOrder, SearchQuery, StoreError};

use super::answer::{Answer, BundleText, shown};
use super::params::{self, not_supported};
use super::{Call, query};
use crate::disclosure;
use crate::http::error::Failure;

/// What is said of pages; the rest of the parameters is about what to find.
#[derive(Debug)]
pub(super) struct Paging {
    /// Most entries of the page.
    pub(super) count: u32,
    /// Where the page before ended.
    pub(super) page: Option<String>,
    /// All other parameters.
    pub(super) rest: Vec<(String, String)>,
}

impl Paging {
    /// Takes `_count` and `_page` out of the parameters.
    pub(super) fn of(call: &Call<'_>) -> Result<Paging, Failure> {
        let limits = &call.site.config().limits;
        check_values(&call.query, limits)?;
        let mut paging = Paging { count: limits.search_page, page: None, rest: Vec::new() };
        for (name, value) in &call.query {
            match name.as_str() {
                "_count" => {
                    let count: u32 = value.parse().map_err(|_| {
                        Failure::bad_request("_count must be a whole number from 0")
                    })?;
                    // FHIR lets a server give less than was asked for, and a client expects that.
                    paging.count = count.min(limits.search_page_max);
                }
                "_page" => paging.page = Some(value.clone()),
                _ => paging.rest.push((name.clone(), value.clone())),
            }
        }
        Ok(paging)
    }
}

/// A search may not be longer than its answer is worth.
fn check_values(pairs: &[(String, String)], limits: &Limits) -> Result<(), Failure> {
    let values: usize = pairs.iter().map(|(_, value)| query::alternatives(value).len()).sum();
    match values > limits.search_values {
        true => Err(Refusal::over_limit("search_values", limits.search_values).into()),
        false => Ok(()),
    }
}

/// `GET Type?...`, `POST Type/_search`
pub(super) async fn search(call: &Call<'_>, kind: ResourceType) -> Result<Answer, Failure> {
    let mut paging = Paging::of(call)?;
    let mut query = SearchQuery { kind: Some(kind), ..SearchQuery::default() };
    for (name, value) in std::mem::take(&mut paging.rest) {
        let known = control(&mut query, &mut paging, &name, &value)?
            || params::add(&mut query, kind, &name, &value)?;
        if known {
            continue;
        }
        check_supported(&name)?;
        if !call.prefer.lenient {
            return Err(params::unknown(&name, &format!("a search of {kind}")));
        }
    }
    give(call, query, &paging, kind.name()).await
}

/// Applies `_sort`, `_total` and `_summary`. `Ok(false)`: it is none of these.
fn control(
    query: &mut SearchQuery,
    paging: &mut Paging,
    name: &str,
    value: &str,
) -> Result<bool, Failure> {
    match (name, value) {
        ("_sort", "_lastUpdated") => query.order = SearchOrder::Updated,
        ("_sort", "-_lastUpdated") => query.order = SearchOrder::UpdatedDescending,
        ("_sort", _) => {
            return Err(not_supported("_sort can be _lastUpdated or -_lastUpdated only"));
        }
        ("_total", "accurate") => query.total = true,
        ("_total", "none" | "estimate") | ("_summary", "false") => {}
        ("_total", _) => return Err(not_supported("_total can be accurate, estimate or none")),
        ("_summary", "count") => paging.count = 0,
        ("_summary", _) => return Err(not_supported("_summary can be count or false only")),
        _ => return Ok(false),
    }
    Ok(true)
}

/// What changes results and is not implemented is refused even where the caller is lenient.
fn check_supported(name: &str) -> Result<(), Failure> {
    let plain = name.split(':').next().unwrap_or(name);
    match plain {
        "_include" | "_revinclude" | "_has" | "_filter" | "_contained" | "_elements" | "_query" => {
            Err(not_supported(format!("`{plain}` is not supported in a search")))
        }
        _ => Ok(()),
    }
}

/// Runs a query and gives its page as a searchset.
pub(super) async fn give(
    call: &Call<'_>,
    mut query: SearchQuery,
    paging: &Paging,
    path: &str,
) -> Result<Answer, Failure> {
    let counting = paging.count == 0;
    query.limit = paging.count.max(1);
    query.total |= counting;
    query.after = paging.page.clone();
    let first = query.after.is_none();
    let scope = call.scope();
    let page = call.site.read(move |store| store.record_search(&query, &scope)).await;
    let page = page.map_err(bad_page)?;
    // A first page that is the last as well has counted them all.
    let whole = first && page.next.is_none();
    let total = page.total.or_else(|| whole.then_some(page.records.len() as u64));
    let names = page.records.iter().filter(|_| !counting).map(|version| &version.reference);
    let records = disclosure::records(names);
    // What was asked for may say something of a patient: only the type is noted.
    let detail = format!("{path}: {} records", records.len());
    let searched = disclosure::by(call.caller, "search", detail);
    disclosure::note(call.site, Disclosure { records, ..searched }).await?;
    let next = if counting { None } else { page.next.as_deref() };
    let links = links(call, path, next);
    let mut bundle = BundleText::new("searchset", call.site.now(), total).links(&links);
    let base = call.base();
    for version in page.records.iter().filter(|_| !counting) {
        let url = format!("{base}/{}", version.reference);
        let mode = [("search", json!({"mode": "match"}))];
        bundle.entry(Some(&url), shown(version).as_deref(), &mode);
    }
    Ok(Answer::of(bundle.finish()))
}

/// What a store refuses of a search is in its URL: the place to go on from.
pub(super) fn bad_page(error: StoreError) -> Failure {
    match error {
        StoreError::Refused(refusal) => Failure::bad_request(format!("_page: {refusal}")),
        other => other.into(),
    }
}

/// The links of a page: itself, and the next. Made of the public URL, never of what a request
/// says of its host.
pub(super) fn links(
    call: &Call<'_>,
    path: &str,
    next: Option<&str>,
) -> Vec<(&'static str, String)> {
    let base = call.base();
    let url = |pairs: String| match pairs.as_str() {
        "" => format!("{base}/{path}"),
        pairs => format!("{base}/{path}?{pairs}"),
    };
    let pairs = || call.query.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let mut links = vec![("self", url(query::text(pairs())))];
    if let Some(next) = next {
        let others = pairs().filter(|(name, _)| *name != "_page");
        links.push(("next", url(query::text(others.chain([("_page", next)])))));
    }
    links
}

/// The criteria of `If-None-Exist` or of a conditional reference, as a query that finds at most
/// two: enough to know whether there is none, one, or more.
pub(super) fn criteria(
    kind: ResourceType,
    text: &str,
    limits: &Limits,
) -> Result<SearchQuery, Failure> {
    let text = text.trim_start_matches('?');
    // Some clients write the type before the criteria.
    let text = text.strip_prefix(kind.name()).and_then(|t| t.strip_prefix('?')).unwrap_or(text);
    conditional(kind, &query::pairs(text)?, limits)
}

/// The same for criteria that were decoded already: those of a conditional update or delete.
pub(super) fn conditional(
    kind: ResourceType,
    pairs: &[(String, String)],
    limits: &Limits,
) -> Result<SearchQuery, Failure> {
    check_values(pairs, limits)?;
    let mut query = SearchQuery { kind: Some(kind), limit: 2, ..SearchQuery::default() };
    for (name, value) in pairs {
        check_supported(name)?;
        // An unknown parameter left out would match far too much.
        if !params::add(&mut query, kind, name, value)? {
            return Err(params::unknown(name, &format!("a condition on {kind}")));
        }
    }
    let criteria = query.filters.len()
        + usize::from(query.ids.is_some())
        + usize::from(query.patients.is_some());
    if criteria == 0 {
        return Err(Failure::new(
            StatusCode::PRECONDITION_FAILED,
            "required",
            "a conditional request needs at least one search parameter that says what to match",
        ));
    }
    Ok(query)
}
