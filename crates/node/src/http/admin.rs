//! `/admin`: what the command line shows and does, for programs of administrators. Implements
//! `docs/operations.md`, "By HTTP". No answer has anything of what a record says.

pub mod audit;
pub mod emr;
pub mod links;
pub mod queue;
pub mod rounds;
pub mod status;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::request::Parts;
use protocol::{RecordRef, ResourceType};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize as _, Deserializer};
use serde_json::Value;
use store::{Alert, AuditEntry, AuditWho, EmrInfo, EmrStatus, QueueDone};

use crate::http::api::{Api, Doc, Who, shapes};
use crate::http::auth::Caller;
use crate::http::body;
use crate::http::error::Failure;
use crate::jobs::rounds::RoundsState;
use crate::links::LinkTold;
use crate::queue::Listing;
use crate::site::Site;
use crate::told::Told;

/// The most that a body may come to, in bytes.
const BODY_BYTES: usize = 1 << 20;

/// The routes below `/admin`.
pub(super) fn api() -> Api {
    let says = |summary| Doc::of(Who::Administrators, summary);
    let link = |summary| says(summary).gives::<shapes::Paused>();
    let act = |summary| says(summary).takes::<queue::Act>().gives::<QueueDone>();
    let api = Api::default()
        .get("/status", status::status, says("How the site stands").gives::<Told>())
        .get(
            "/alerts",
            status::alerts,
            says("Alerts that are raised").query::<status::Which>().gives::<Vec<Alert>>(),
        )
        .get(
            "/conflicts",
            status::conflicts,
            says("Conflicts, without values").query::<status::Asked>().gives::<shapes::Conflicts>(),
        )
        .get(
            "/audit",
            audit::search,
            says("Rows of the audit").query::<audit::Asked>().gives::<Vec<AuditEntry>>(),
        )
        .get(
            "/audit/who",
            audit::who,
            says("Who has seen a patient's records").query::<audit::Whom>().gives::<AuditWho>(),
        );
    api.get("/links", links::list, says("All links").gives::<Vec<LinkTold>>())
        .post("/links/{link}/pause", links::pause, link("Pauses a link").takes::<links::Asked>())
        .post("/links/{link}/resume", links::resume, link("Ends a pause"))
        .get("/rounds", rounds::state, says("How rounds go").gives::<RoundsState>())
        .post(
            "/rounds",
            rounds::ask,
            says("Asks for a round with the parent").gives::<shapes::RoundAsked>().with(&[202]),
        )
        .get(
            "/queue",
            queue::list,
            says("What waits and what is stuck").query::<queue::Asked>().gives::<Listing>(),
        )
        .get("/queue/{id}", queue::show, says("One of it, with all attempts").gives::<Value>())
        .post("/queue/retry", queue::retry, act("It goes now"))
        .post("/queue/park", queue::park, act("It is set aside"))
        .post("/queue/unpark", queue::unpark, act("It is back in the queue"))
        .post("/queue/drop", queue::give_up, act("It is given up"))
        .below("/emr", beside())
}

/// The routes below `/admin/emr`: the record system beside the site.
fn beside() -> Api {
    let says = |summary| Doc::of(Who::Administrators, summary);
    let act = |summary| says(summary).takes::<emr::Act>().gives::<emr::Acted>();
    Api::default()
        .get("/", emr::status, says("How the record system stands").gives::<EmrStatus>())
        .get(
            "/records",
            emr::list,
            says("What is on its way there or from there, and why it waits")
                .query::<emr::Asked>()
                .gives::<Vec<EmrInfo>>(),
        )
        .get(
            "/records/{type}/{id}",
            emr::show,
            says("One of it, with its reason").gives::<EmrInfo>(),
        )
        .post("/retry", emr::retry, act("They are tried again now"))
        .post("/park", emr::park, act("They are set aside, with their patients"))
        .post("/drop", emr::give_up, act("These states are not written there"))
}

/// A patient in a query: by the id, or by the whole reference.
fn patient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RecordRef>, D::Error> {
    let named = Option::<String>::deserialize(from)?;
    let named = named.map(|text| {
        let id = text.strip_prefix("Patient/").unwrap_or(&text);
        RecordRef::new(ResourceType::PATIENT, id).map_err(D::Error::custom)
    });
    named.transpose()
}

/// Who asks, as the audit names them.
async fn administrator(parts: &Parts, site: &Site) -> Result<String, Failure> {
    Caller::administrator(parts, site).await
}

/// The JSON of a request; nothing at all counts as `{}`.
async fn read<T: DeserializeOwned>(
    site: &Site,
    headers: &HeaderMap,
    payload: Body,
) -> Result<T, Failure> {
    let bytes = body::read(site, headers, payload, BODY_BYTES).await?;
    let text = if bytes.is_empty() { &b"{}"[..] } else { &bytes[..] };
    serde_json::from_slice(text)
        .map_err(|error| Failure::bad_request(format!("the body cannot be understood: {error}")))
}
