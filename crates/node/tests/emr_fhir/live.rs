//! The same against a server that was not written here: `TRIBUTARY_FHIR_URL` names one, and
//! `docs/emr-fhir.md` says which it was tried on.

use node::ports::{Emr as _, EmrError, EmrWrite, Shown};
use protocol::RecordRef;

use super::{Beside, beside_at, name, observation, patient, record, to_write};

async fn by_somebody(url: &str, method: &str, record: &RecordRef, body: String) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client.request(method.parse().unwrap(), format!("{url}/{record}"));
    let request = request.header("content-type", "application/fhir+json").body(body);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{method} {record}: {}", answer.status());
}

/// Portions until a record is named, or there is no more.
async fn names(beside: &Beside, cursor: &mut String, wanted: &RecordRef) -> bool {
    let mut named = false;
    for _ in 0..1_000 {
        let noticed = beside.emr.changes_since(Some(cursor)).await.unwrap();
        named |= noticed.groups.iter().flatten().any(|record| record == wanted);
        *cursor = noticed.cursor;
        if !noticed.more {
            break;
        }
    }
    named
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_created_edited_and_deleted_on_either_side_is_so_on_the_other() {
    let Ok(url) = std::env::var("TRIBUTARY_FHIR_URL") else {
        super::skipped("TRIBUTARY_FHIR_URL is not set");
        return;
    };
    let beside = beside_at(&url, fhir_server_of_nobody().await);
    let (_, mut cursor) = beside.all(None).await;
    let id = format!("t-{}", std::process::id());
    let (here, there) = (patient(&id, "Auma"), patient(&format!("{id}-there"), "Otieno"));
    let other = name(&format!("Patient/{id}-there"));
    // Created here, and there.
    let writes = vec![to_write(&here, None), to_write(&observation(&id, &id), None)];
    let done = beside.write(writes).await;
    let images = done.into_iter().map(Result::unwrap).collect::<Vec<_>>();
    assert_eq!(images[0].digest(), Some(record(&here).digest), "it is shown as it was written");
    by_somebody(&url, "PUT", &other, there.clone()).await;
    assert!(names(&beside, &mut cursor, &other).await);
    let shown = beside.emr.read(&other).await.unwrap();
    assert_eq!(shown.digest(), Some(record(&there).digest));
    // Edited there: nothing is overwritten by who does not know it; and then edited here.
    let own = name(&format!("Patient/{id}"));
    by_somebody(&url, "PUT", &own, patient(&id, "Akinyi")).await;
    assert!(names(&beside, &mut cursor, &own).await);
    let edit = patient(&id, "Wanjiku");
    let done = beside.write(vec![to_write(&edit, Some(images[0].clone()))]).await;
    assert!(matches!(done[0], Err(EmrError::Changed)), "{done:?}");
    let seen = beside.emr.read(&own).await.unwrap();
    let done = beside.write(vec![to_write(&edit, Some(seen))]).await.remove(0).unwrap();
    assert_eq!(done.digest(), Some(record(&edit).digest));
    // Deleted here, and there.
    let gone = EmrWrite {
        record: name(&format!("Observation/{id}")),
        wanted: None,
        image: Some(images[1].clone()),
    };
    let done = beside.write(vec![gone]).await.remove(0).unwrap();
    assert!(matches!(done, Shown::Gone | Shown::Absent), "{done:?}");
    by_somebody(&url, "DELETE", &other, String::new()).await;
    let shown = beside.emr.read(&other).await.unwrap();
    assert!(matches!(shown, Shown::Gone | Shown::Absent), "{shown:?}");
    if beside.has_history().await {
        assert!(names(&beside, &mut cursor, &other).await, "a deletion is noticed");
    }
    by_somebody(&url, "DELETE", &own, String::new()).await;
}

/// A stand-in that nobody asks.
async fn fhir_server_of_nobody() -> super::Shared {
    super::fhir_stand_in::start().await
}
