//! Who has seen a patient's records: readings are noted, and come up to the parent.

use protocol::{Limits, SiteId};
use serde_json::json;
use store::{AuditFilter, AuditWho, TokenDraft, TokenScope};

use crate::world::{World, ask, http, observation, patient, reference};

fn seen(who: &AuditWho) -> Vec<String> {
    who.seen.iter().map(|one| format!("{} {} {}", one.site, one.actor, one.how)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_at_a_clinic_is_known_at_the_centre_with_who_was_sent_it() {
    let world = World::pair_with(Limits { audit_seconds: 0, ..Limits::default() }).await;
    let clinic = world.clinic();
    clinic
        .record("nurse", &[patient("amina", "Otieno"), patient("baraka", "Mwangi")])
        .await
        .unwrap();
    clinic.record("nurse", &[observation("pulse", "amina", "37.1")]).await.unwrap();
    for path in ["/fhir/Observation/pulse", "/fhir/Observation?code=8310-5", "/fhir/Patient/baraka"]
    {
        assert_eq!(http(clinic, "GET", path, &[], Vec::new()).await.0, 200);
    }
    let history = http(&world.centre, "GET", "/fhir/Patient/amina/_history", &[], Vec::new()).await;
    assert_eq!(history.0, 404, "it has not come yet");
    world.settle().await;
    let everything =
        http(&world.centre, "GET", "/fhir/Patient/amina/$everything", &[], vec![]).await;
    assert_eq!(everything.0, 200);
    world.settle().await;
    let centre = world.centre.site().store();
    let who = centre.audit_who(&reference("Patient/amina")).unwrap();
    let told = seen(&who);
    for expected in [
        "centre child:clinic sent",
        "centre program:local search",
        "clinic nurse wrote",
        "clinic program:local read",
        "clinic program:local search",
    ] {
        assert!(told.contains(&expected.to_owned()), "{expected} is not in {told:?}");
    }
    let baraka = seen(&centre.audit_who(&reference("Patient/baraka")).unwrap());
    assert!(!baraka.contains(&"clinic program:local search".to_owned()), "{baraka:?}");
    let id: SiteId = "clinic".parse().unwrap();
    let proof = centre.audit_verify_copy(&id).unwrap().unwrap();
    let own = clinic.site().store().audit_verify().unwrap();
    assert_eq!((proof.rows, proof.last, proof.broken), (own.rows, own.last, None));
    // What was searched for is not in the audit, only its type.
    let filter = AuditFilter { action: Some("search".into()), limit: 9, ..AuditFilter::default() };
    let rows = clinic.site().store().audit_list(&filter).unwrap();
    assert_eq!((rows.len(), rows[0].detail.as_str()), (1, "Observation: 1 records"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_brings_its_own_rows_only_and_odd_ones_are_refused() {
    let mut world = World::pair().await;
    world.add_clinic("other", protocol::cohort::Definition::All {}, Limits::default()).await;
    let zeros = "0".repeat(64);
    let place = |hash: &str| json!({"key": 0, "hash": hash});
    let head =
        |site: &str, hash: &str| json!({"site": site, "after": place(&zeros), "end": place(hash)});
    for (body, status) in [
        (head("other", &zeros).to_string(), 403),
        (head("centre", &zeros).to_string(), 403),
        (head("clinic", &"1".repeat(64)).to_string(), 422),
        ("{}".to_owned(), 400),
        (String::new(), 400),
    ] {
        let (got, text) = ask(&world, world.clinic(), "POST", "/sync/audit", body.as_bytes()).await;
        assert_eq!(got, status, "{body}: {}", String::from_utf8_lossy(&text));
    }
    let draft = TokenDraft {
        name: "emr".to_owned(),
        scope: TokenScope::FhirWrite,
        children: Vec::new(),
        hash: node::http::auth::credential_hash("secret"),
        expires: None,
    };
    let centre = world.centre.site();
    centre.store().token_add(&draft, centre.now()).unwrap();
    let as_program = [("authorization", "Bearer secret")];
    assert_eq!(http(&world.centre, "POST", "/sync/audit", &as_program, Vec::new()).await.0, 403);
}
