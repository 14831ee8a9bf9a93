//! The 383 example resources of the FHIR R4 specification, through two sites and back.

use std::path::PathBuf;

use protocol::resource::Record;
use protocol::{Limits, digest, json};

use crate::world::*;

/// Examples that are refused, with what the refusal says.
const REFUSED: [(&str, &str); 1] = [(
    // Its id has 67 characters, and FHIR allows 64.
    "questionnaireresponse-extensions-QuestionnaireResponse-item-subject.json",
    "must be 1 to 64 letters, digits, '-' and '.'",
)];

fn examples() -> Vec<(String, Vec<u8>)> {
    let Ok(data) = std::env::var("TRIBUTARY_TEST_DATA") else { return Vec::new() };
    let folder = PathBuf::from(data).join("hl7-r4-examples");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let named = |file: PathBuf| {
        (file.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(&file).unwrap())
    };
    files.into_iter().map(named).collect()
}

/// Without `TRIBUTARY_TEST_DATA` there is nothing to send and nothing to compare.
#[tokio::test(flavor = "multi_thread")]
async fn all_examples_of_fhir_r4_arrive_as_they_were_sent_if_the_test_data_is_there() {
    let world = World::pair().await;
    let limits = Limits::default();
    let mut sent = Vec::new();
    for (name, text) in examples() {
        let refused = REFUSED.iter().find(|(file, _)| *file == name);
        match (Record::parse(&text, &limits), refused) {
            (Ok(record), None) => {
                let reference = record.reference.to_string();
                world.clinic().record_all("import", vec![record]).await.unwrap();
                sent.retain(|(known, _)| *known != reference);
                sent.push((reference, text));
            }
            (Err(refusal), Some((_, reason))) => {
                assert!(refusal.to_string().contains(reason), "{name}: {refusal}");
            }
            (result, _) => panic!("{name}: {result:?}"),
        }
    }
    world.settle().await;
    world.assert_in_step().await;
    for (reference, text_sent) in sent {
        let arrived = text(&world.centre, &reference).unwrap();
        let canonical = |bytes: &[u8]| digest::canonical(&json::parse(bytes, 64).unwrap());
        assert_eq!(canonical(arrived.as_bytes()), canonical(&text_sent), "{reference}");
    }
}
