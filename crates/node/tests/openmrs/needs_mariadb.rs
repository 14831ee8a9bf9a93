//! The binary log, read from a MariaDB that the test starts (`mariadb-server` has to be installed):
//! `cargo test --workspace --test openmrs -- --ignored needs_mariadb`.

mod figures;
mod servers;

use std::collections::BTreeSet;

use node::config::{EmrConfig, NoticeWay};
use node::emr::openmrs::OpenMrs;
use node::ports::{Emr as _, EmrError};
use serde_json::json;

use crate::noticing::notice;
use crate::stand_in::StandIn;
use crate::stand_in::maria::Server;
use crate::world::*;

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn with_log(stand_in: &StandIn, server: &Server, user: &str) -> EmrConfig {
    let mut config = settings(stand_in);
    config.openmrs.notice = vec![NoticeWay::LastUpdated, NoticeWay::Binlog];
    config.openmrs.database = Some(server.database(user));
    config
}

fn none() -> Vec<Vec<String>> {
    Vec::new()
}

/// One look; gives its groups.
async fn groups(emr: &OpenMrs, cursor: &mut String) -> Vec<Vec<String>> {
    let mut groups = Vec::new();
    loop {
        let noticed = emr.changes_since(Some(cursor)).await.unwrap();
        let named = noticed.groups.iter();
        groups.extend(named.map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>()));
        *cursor = noticed.cursor;
        if !noticed.more {
            return groups;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn defect_05_the_log_shows_each_transaction_as_one_group_and_direct_sql_too() {
    let server = Server::start(&[]);
    let stand_in = StandIn::over(server.tables()).await;
    let emr = adapter(&with_log(&stand_in, &server, "reader"), Some("secret"));
    let capabilities = emr.capabilities().await.unwrap();
    assert_eq!(capabilities.missing, [""; 0]);
    write(&emr, &[location(), practitioner(), patient("p1")]).await;
    let (named, mut cursor) = notice(&emr, None).await;
    assert_eq!(named, set(&["Location/loc-1", "Practitioner/prov-1", "Patient/p1"]));

    // A whole encounter is one group.
    let all = [visit("v1", "p1"), encounter("e1", "p1"), weight("w1", "p1", "e1", 60.0)];
    assert_eq!(told(&write(&emr, &all).await), ["there"; 3]);
    let expected = [vec!["Encounter/v1"], vec!["Encounter/e1", "Observation/w1"]];
    assert_eq!(groups(&emr, &mut cursor).await, expected);
    assert_eq!(groups(&emr, &mut cursor).await, none(), "defect 34: reading makes no noise");

    // What `_lastUpdated` never shows: names, voids, providers, and SQL by hand.
    stand_in.edit("person/p1/name/p1-name", Some(json!({ "familyName": "Odhiambo" })));
    assert_eq!(groups(&emr, &mut cursor).await, [["Patient/p1"]]);
    stand_in.edit("encounter/e1", None);
    assert_eq!(groups(&emr, &mut cursor).await, [["Encounter/e1", "Observation/w1"]]);
    assert!(matches!(emr.read(&name("Encounter/e1")).await.unwrap(), node::ports::Shown::Gone));
    let mut sql = server.sql();
    for (statement, expected) in [
        ("UPDATE openmrs.person_address SET city_village = 'Siaya'", vec![vec!["Patient/p1"]]),
        ("UPDATE openmrs.provider SET identifier = 'N-2'", vec![vec!["Practitioner/prov-1"]]),
        (
            "UPDATE openmrs.person_name SET family_name = 'Akoth' WHERE person_id = \
          (SELECT person_id FROM openmrs.provider)",
            vec![vec!["Practitioner/prov-1"]],
        ),
        ("INSERT INTO openmrs.of_some_module VALUES (1, 'x')", vec![]),
        ("CREATE TABLE openmrs.another (id INT)", vec![]),
        (
            "INSERT INTO openmrs.person_merge_log (uuid, winner_person_id, loser_person_id) \
          SELECT 'm-1', patient_id, patient_id FROM openmrs.patient",
            vec![vec!["Patient/p1"]],
        ),
        ("DELETE FROM openmrs.encounter_provider", vec![vec!["Encounter/e1"]]),
    ] {
        sql.run(statement);
        assert_eq!(groups(&emr, &mut cursor).await, expected, "{statement}");
    }
}

/// A server with a location, a visit and a patient, all of it read.
async fn followed() -> (Server, StandIn, OpenMrs, String) {
    let server = Server::start(&[]);
    let stand_in = StandIn::over(server.tables()).await;
    let emr = adapter(&with_log(&stand_in, &server, "reader"), Some("secret"));
    write(&emr, &[location(), patient("p1"), visit("v1", "p1")]).await;
    let (_, cursor) = notice(&emr, None).await;
    (server, stand_in, emr, cursor)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn defect_01_transactions_are_whole_and_in_the_order_of_their_commits() {
    let (server, _stand_in, emr, mut cursor) = followed().await;
    let mut sql = server.sql();
    // What is rolled back never was.
    for statement in ["START TRANSACTION", "UPDATE openmrs.location SET name = 'x'", "ROLLBACK"] {
        sql.run(statement);
    }
    assert_eq!(groups(&emr, &mut cursor).await, none());
    // Two transactions at once, each whole, in the order of their commits.
    let mut other = server.sql();
    for (first, statement) in [
        (true, "START TRANSACTION"),
        (false, "START TRANSACTION"),
        (true, "UPDATE openmrs.location SET name = 'one'"),
        (false, "UPDATE openmrs.visit SET date_stopped = '2026-03-01 10:00:00'"),
        (false, "COMMIT"),
        (true, "COMMIT"),
    ] {
        if first { sql.run(statement) } else { other.run(statement) }
    }
    assert_eq!(groups(&emr, &mut cursor).await, [["Encounter/v1"], ["Location/loc-1"]]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn defect_06_it_goes_on_after_a_restart_and_says_when_the_log_was_purged() {
    let (mut server, stand_in, emr, mut cursor) = followed().await;
    // Another log file begins when the database starts.
    stand_in.edit("person/p1", Some(json!({ "gender": "O" })));
    server.down();
    server.up(&[]);
    assert_eq!(groups(&emr, &mut cursor).await, [["Patient/p1"]]);
    let mut sql = server.sql();
    for number in 0..3 {
        sql.run(&format!("UPDATE openmrs.location SET name = 'n{number}'"));
        sql.run("FLUSH BINARY LOGS");
    }
    assert_eq!(groups(&emr, &mut cursor).await, [["Location/loc-1"]; 3]);

    // What was purged is said aloud, and a full compare begins anew.
    let before = cursor.clone();
    sql.run("UPDATE openmrs.location SET name = 'lost'");
    for _ in 0..2 {
        sql.run("FLUSH BINARY LOGS");
    }
    // A server keeps what is as old as this very second, and what a reader had open just now.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    sql.run("PURGE BINARY LOGS BEFORE NOW()");
    match emr.changes_since(Some(&before)).await {
        Err(EmrError::CursorLost(why)) => assert!(why.contains("purged"), "{why}"),
        other => panic!("{other:?}"),
    }
    let (named, _) = notice(&emr, None).await;
    assert!(named.contains("Location/loc-1"), "{named:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn a_statement_in_the_log_in_place_of_rows_means_that_all_is_compared() {
    let (server, _stand_in, emr, mut cursor) = followed().await;
    // Whatever the checksum of the first event of a stream is, the place stays good.
    let mut sql = server.sql();
    for number in 0..60 {
        sql.run(&format!("UPDATE openmrs.location SET name = 'n{number}'"));
        assert_eq!(groups(&emr, &mut cursor).await, [["Location/loc-1"]], "{number}");
    }
    sql.run("SET SESSION binlog_format = 'STATEMENT'");
    sql.run("UPDATE openmrs.location SET name = 'by a statement'");
    match emr.changes_since(Some(&cursor)).await {
        Err(EmrError::CursorLost(why)) => assert!(why.contains("is not ROW"), "{why}"),
        other => panic!("{other:?}"),
    }
    let (named, cursor) = notice(&emr, None).await;
    assert!(named.contains("Location/loc-1"), "{named:?}");
    assert!(emr.changes_since(Some(&cursor)).await.is_ok());
    // A table that is emptied as a whole stands in the log without its rows.
    let (_, cursor) = notice(&emr, None).await;
    let mut sql = server.sql();
    sql.run("TRUNCATE TABLE openmrs.of_some_module");
    assert!(emr.changes_since(Some(&cursor)).await.is_ok());
    sql.run("TRUNCATE TABLE openmrs.visit");
    match emr.changes_since(Some(&cursor)).await {
        Err(EmrError::CursorLost(why)) => assert!(why.contains("whole table"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn two_that_follow_one_database_do_not_cut_each_other_off() {
    // A server ends the stream of a replica when another of the same number comes.
    let (server, stand_in, _emr, cursor) = followed().await;
    let mut sql = server.sql();
    for number in 0..2000 {
        sql.run(&format!("UPDATE openmrs.location SET name = 'n{number}'"));
    }
    let looks = (0..4).map(|_| {
        let emr = adapter(&with_log(&stand_in, &server, "reader"), Some("secret"));
        let start = cursor.clone();
        tokio::spawn(async move {
            for _ in 0..10 {
                let mut cursor = start.clone();
                assert_eq!(groups(&emr, &mut cursor).await.len(), 2000);
            }
        })
    });
    for look in looks.collect::<Vec<_>>() {
        look.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn a_database_that_cannot_be_followed_says_why() {
    let mut server = Server::start(&[]);
    let stand_in = StandIn::over(server.tables()).await;
    for (user, password, words) in [
        ("reader", "wrong", "refuses the user or the password"),
        ("stranger", "secret", "lacks a right"),
    ] {
        let emr = adapter(&with_log(&stand_in, &server, user), Some(password));
        let told = match (emr.changes_since(None).await, emr.capabilities().await) {
            (Err(EmrError::Away(error)), Ok(found)) => {
                assert!(found.missing.join("; ").contains(words), "{found:?}");
                error.to_string()
            }
            (Err(EmrError::Away(error)), Err(_)) => error.to_string(),
            other => panic!("{user}: {other:?}"),
        };
        assert!(told.contains(words), "{user}: {told}");
    }
    for (options, words) in [
        (&["--skip-log-bin"][..], "writes no binary log"),
        (&["--log-bin=log", "--binlog-format=STATEMENT"][..], "binlog_format is STATEMENT"),
        (
            &["--log-bin=log", "--binlog-format=ROW", "--binlog-row-image=MINIMAL"][..],
            "binlog_row_image is MINIMAL",
        ),
    ] {
        server.down();
        server.up(options);
        let emr = adapter(&with_log(&stand_in, &server, "reader"), Some("secret"));
        let missing = emr.capabilities().await;
        let missing = missing.map(|found| found.missing.join("; "));
        match missing {
            Ok(missing) => assert!(missing.contains(words), "{missing}"),
            Err(error) => panic!("{error}"),
        }
        match emr.changes_since(None).await {
            Err(EmrError::Away(error)) => assert!(error.0.contains(words), "{error}"),
            other => panic!("{other:?}"),
        }
    }
}
