//! `Patient/id/$everything`: the records in a patient's compartment, page by page.

use protocol::RecordRef;
use store::SearchQuery;

use super::answer::Answer;
use super::search::{Paging, give};
use super::{Call, params, read};
use crate::http::error::Failure;

/// `GET Patient/id/$everything`
pub(super) async fn everything(call: &Call<'_>, patient: &RecordRef) -> Result<Answer, Failure> {
    // A patient of whom only other records have come yet is not there; a deleted one is, as far
    // as its records go.
    read::fetch(call, patient, None).await?;
    let paging = Paging::of(call)?;
    let mut query = SearchQuery { patients: Some(vec![patient.clone()]), ..SearchQuery::default() };
    for (name, value) in &paging.rest {
        match name.as_str() {
            "_since" => params::add_updated(&mut query.updated, &format!("ge{value}"))?,
            _ if call.prefer.lenient => {}
            _ => return Err(params::unknown(name, "$everything")),
        }
    }
    give(call, query, &paging, &format!("{patient}/$everything")).await
}
