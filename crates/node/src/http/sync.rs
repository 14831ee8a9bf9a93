//! What sites say to each other. Implements `docs/protocol.md` §2 and §5.

pub mod audit;
pub mod changes;
pub mod conflicts;
pub mod digests;
pub mod join;
pub mod outgoing;
pub mod patients;
pub mod push;
pub mod receipts;
pub mod status;
pub mod timeline;
pub mod why;

use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use protocol::stream::PROTOCOL_VERSION;
use serde_json::Value;
use store::{ConflictDone, Scope};

use crate::http::api::{Api, Doc, Who, shapes};
use crate::http::auth::{Caller, PROTOCOL_HEADER};
use crate::http::error::Failure;
use crate::site::Site;

/// The most that a body which is not a push may come to, in bytes.
const SMALL_BODY: usize = 64 << 10;

/// What streams of changes are: a line each, in JSON.
const LINES: &str = "application/x-ndjson";

/// The routes below `/sync`.
pub(super) fn api() -> Api {
    let api = Api::default()
        .post(
            "/join",
            join::redeem,
            Doc::of(Who::Anybody, "Exchanges a one-time code for a credential")
                .takes::<join::JoinRequest>()
                .gives::<join::JoinAnswer>(),
        )
        .below("/feeds/outgoing", outgoing_api());
    both_api(children_api(api))
}

/// For the parent that reads this site.
fn outgoing_api() -> Api {
    use outgoing::itself;
    let says = |summary| Doc::of(Who::Reader, summary).gives_media(&[LINES]);
    let changes = says("What goes up and was not read").query::<outgoing::ReadQuery>();
    let digests = says("Digests of what is here").query::<digests::DigestQuery>();
    let settle = says("What became of changes").takes::<shapes::Words>();
    let report = Doc::of(Who::Reader, "How this site is");
    let audit = Doc::of(Who::Reader, "Rows of the audit that the parent lacks, or places of it")
        .gives_media(&[LINES, "application/json"])
        .with(&[200, 204]);
    Api::default()
        .get("/changes", outgoing::read, changes)
        .get("/digests", outgoing::list, digests)
        .post("/fetch", outgoing::fetch, says("Whole records").takes::<digests::FetchBody>())
        .post("/receipts", outgoing::settle, settle.gives::<shapes::Settled>())
        .get("/report", itself::report, report.gives::<status::ChildReport>())
        .post("/audit", itself::audit, audit.takes::<itself::AuditWord>())
}

/// For children.
fn children_api(api: Api) -> Api {
    let says = |summary| Doc::of(Who::Children, summary);
    let lines = |summary| says(summary).gives_media(&[LINES]);
    let changes = lines("What comes after a marker").query::<changes::StreamQuery>();
    let digests = lines("Digests of a feed's records").query::<digests::DigestQuery>();
    let summary = says("All digests of a feed in one");
    let patients = lines("Whole patients of a feed").takes::<patients::PatientsBody>();
    let push = lines("Takes changes, and answers with an outcome for each");
    let audit = says("Takes rows of an audit").takes_as::<Vec<Value>>(LINES).gives::<audit::Held>();
    let place = says("Where two audits part").takes::<audit::Places>().gives::<audit::Held>();
    let receipts = says("What became of messages").takes::<receipts::Asked>();
    let status = says("Two sites tell each other how they are").takes::<status::ChildReport>();
    let poll = says("Waits for news").query::<status::PollQuery>().with(&[200, 204]);
    let find = says("Looks for a patient").takes::<shapes::Find>().gives::<Value>();
    api.get("/feeds/{feed}/changes", changes::stream, changes)
        .get("/feeds/{feed}/digests", digests::list, digests)
        .get("/feeds/{feed}/summary", digests::summary, summary.gives::<digests::Summary>())
        .post(
            "/feeds/{feed}/fetch",
            digests::fetch,
            lines("Whole records of a feed").takes::<digests::FetchBody>(),
        )
        .post("/feeds/{feed}/patients", patients::of_feed, patients)
        .post("/patients/find", patients::find, find)
        .post(
            "/patients/fetch",
            patients::fetch,
            says("Makes a patient a visitor").takes::<shapes::Fetch>().gives::<Value>(),
        )
        .post("/changes", push::receive, push.takes_as::<Vec<Value>>(LINES))
        .post("/audit", audit::receive, audit)
        .post("/audit/place", audit::place, place)
        .post("/receipts", receipts::tell, receipts.gives::<shapes::Receipts>())
        .post("/status", status::exchange, status.gives::<status::ParentView>())
        .get("/poll", status::poll, poll.gives::<status::ParentView>())
}

/// For children and for programs that read records.
fn both_api(api: Api) -> Api {
    let says = |summary| Doc::of(Who::Both, summary);
    let decide = |summary| says(summary).takes::<conflicts::Order>().gives::<ConflictDone>();
    let timeline = says("What happened to a patient").query::<timeline::Asked>();
    let list = says("Conflicts, newest first").query::<conflicts::Asked>();
    let why = says("Where a record is on its way").query::<why::Asked>();
    api.get("/patients/{id}/timeline", timeline::timeline, timeline.gives::<Value>())
        .get("/why", why::why, why.gives::<Value>())
        .get("/conflicts", conflicts::list, list.gives::<conflicts::Listed>())
        .get("/conflicts/{id}", conflicts::show, says("One conflict, whole").gives::<Value>())
        .post("/conflicts/{id}/resolve", conflicts::resolve, decide("Decides a conflict"))
        .post("/conflicts/{id}/confirm", conflicts::confirm, decide("Confirms what stands"))
        .post("/conflicts/{id}/reopen", conflicts::reopen, decide("Takes a decision back"))
}

/// Checks the protocol version and says who asks.
async fn caller_of(parts: &Parts, site: &Site) -> Result<Caller, Failure> {
    check_version(&parts.headers)?;
    Caller::of(parts, site).await
}

/// The child that asks, with its scope; programs have no business on these routes.
async fn child_of(parts: &Parts, site: &Site) -> Result<(Caller, Scope), Failure> {
    let caller = caller_of(parts, site).await?;
    match &caller {
        Caller::Child { epoch: Some(_), .. } => {
            let scope = caller.scope();
            Ok((caller, scope))
        }
        Caller::Child { .. } => Err(Failure::bad_request("the header Tributary-Epoch is missing")),
        Caller::Program { .. } => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this is for sites that have joined; a program uses /fhir and /feeds",
        )),
    }
}

fn check_version(headers: &HeaderMap) -> Result<(), Failure> {
    let said = headers.get(PROTOCOL_HEADER).and_then(|value| value.to_str().ok());
    match said.map(str::parse::<u32>) {
        None | Some(Ok(PROTOCOL_VERSION)) => Ok(()),
        Some(_) => Err(Failure::new(
            StatusCode::BAD_REQUEST,
            "not-supported",
            format!("this site speaks Tributary-Protocol {PROTOCOL_VERSION} only"),
        )),
    }
}

/// The text of a header.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
