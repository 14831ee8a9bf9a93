//! Databases that are not on this machine, or not one: an encrypted connection, and a replica that
//! takes over.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use node::config::EmrConfig;
use node::ports::{Emr as _, EmrError};

use super::{groups, none, with_log};
use crate::live::{Place, records_are_written_edited_and_deleted, what_is_edited_there_is_noticed};
use crate::noticing::notice;
use crate::stand_in::StandIn;
use crate::stand_in::maria::Server;
use crate::world::*;

/// A certificate for this machine, and that of the authority that vouches for it.
fn certificates(folder: &Path) {
    let openssl = |line: &str| {
        let words = line.split_whitespace();
        let made = Command::new("openssl").args(words).current_dir(folder).output();
        let made = made.expect("openssl is not installed");
        assert!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    };
    std::fs::write(folder.join("names"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    for name in ["authority", "stranger"] {
        openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN={name} -keyout {name}.key \
             -out {name}.pem"
        ));
    }
    openssl("req -newkey rsa:2048 -nodes -subj /CN=db -keyout server.key -out server.csr");
    openssl(
        "x509 -req -days 2 -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
         -extfile names -out server.pem",
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn the_way_to_the_database_is_encrypted_where_the_settings_say_so_and_else_said_not_to_be() {
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let file = |name: &str| folder.path().join(name);
    let own = ["cert", "key"].map(|kind| {
        let name = if kind == "cert" { "server.pem" } else { "server.key" };
        format!("--ssl-{kind}={}", file(name).display())
    });
    let with_tls = ["--log-bin=log", "--binlog-format=ROW", "--server-id=7", &own[0], &own[1]];
    let mut server = Server::start(&with_tls);
    server.sql().run("ALTER USER reader@'%' REQUIRE SSL");
    let stand_in = StandIn::over(server.tables()).await;
    let plain = with_log(&stand_in, &server, "reader");
    let public = |config: &EmrConfig| {
        let mut config = config.clone();
        config.openmrs.database_tls = true;
        config
    };
    let trusting =
        |name: &str| adapter(&plain, Some("secret")).trusting(&std::fs::read(file(name)).unwrap());
    assert_eq!(trusting("authority.pem").capabilities().await.unwrap().missing, [""; 0]);
    let emr = trusting("authority.pem");
    write(&emr, &[location()]).await;
    let (_, mut cursor) = notice(&emr, None).await;
    stand_in.edit("location/loc-1", Some(serde_json::json!({ "name": "another" })));
    assert_eq!(groups(&emr, &mut cursor).await, [["Location/loc-1"]], "the log is read so too");
    for (emr, words) in [
        (adapter(&plain, Some("secret")), "takes that user by TLS only"),
        (trusting("stranger.pem"), "its certificate is not one that is trusted"),
        (trusting("names"), "its certificate is not one that is trusted"),
        (adapter(&public(&plain), Some("secret")), "its certificate is not one that is trusted"),
    ] {
        let told = emr.changes_since(None).await;
        assert!(matches!(&told, Err(EmrError::Away(e)) if e.0.contains(words)), "{told:?}");
    }
    server.down();
    server.up(&["--log-bin=log", "--binlog-format=ROW", "--server-id=7", "--skip-ssl"]);
    let told = trusting("authority.pem").changes_since(None).await;
    let words = "it offers no TLS";
    assert!(matches!(&told, Err(EmrError::Away(e)) if e.0.contains(words)), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn a_replica_that_takes_over_is_followed_from_the_same_transaction_on() {
    let mut first = Server::start(&[]);
    let stand_in = StandIn::over(first.tables()).await;
    let gtids = |server: &Server| {
        let mut config = with_log(&stand_in, server, "reader");
        config.openmrs.database_gtid = true;
        config
    };
    let emr = adapter(&gtids(&first), Some("secret"));
    write(&emr, &[location(), practitioner(), patient("p1")]).await;
    let (_, mut cursor) = notice(&emr, None).await;
    stand_in.edit("person/p1", Some(serde_json::json!({ "gender": "O" })));
    assert_eq!(groups(&emr, &mut cursor).await, [["Patient/p1"]]);

    let options =
        ["--log-bin=other", "--binlog-format=ROW", "--server-id=8", "--log-slave-updates"];
    let second = Server::bare(&options);
    let mut sql = second.sql();
    sql.run(&first.leads());
    sql.run("START SLAVE");
    let mut old = first.sql();
    // Of this nothing was read before the first one failed.
    old.run("UPDATE openmrs.location SET name = 'by the first'");
    let position = old.one("SELECT @@gtid_binlog_pos");
    let caught_up = || second.sql().one("SELECT @@gtid_slave_pos") == position;
    for _ in 0..100 {
        if caught_up() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(caught_up(), "the replica does not catch up");
    first.down();
    sql.run("STOP SLAVE");
    sql.run("UPDATE openmrs.provider SET identifier = 'by the second'");

    let unaware = adapter(&with_log(&stand_in, &second, "reader"), Some("secret"));
    let lost = unaware.changes_since(Some(&cursor)).await;
    assert!(matches!(lost, Err(EmrError::CursorLost(_))), "{lost:?}");
    let emr = adapter(&gtids(&second), Some("secret"));
    let expected = [["Location/loc-1"], ["Practitioner/prov-1"]];
    assert_eq!(groups(&emr, &mut cursor).await, expected);
    assert_eq!(groups(&emr, &mut cursor).await, none());
    sql.run("UPDATE openmrs.location SET name = 'by the second'");
    assert_eq!(groups(&emr, &mut cursor).await, [["Location/loc-1"]]);

    // One that was never a replica of it does not have what was read there.
    let stranger = Server::start(&["--log-bin=third", "--binlog-format=ROW", "--server-id=9"]);
    let lost = adapter(&gtids(&stranger), Some("secret")).changes_since(Some(&cursor)).await;
    assert!(matches!(lost, Err(EmrError::CursorLost(_))), "{lost:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
async fn the_stand_in_with_a_database_passes_as_live() {
    let server = Server::start(&[]);
    let stand_in = StandIn::over(server.tables()).await;
    let database = Some((server.database("reader"), "secret".to_owned()));
    let place = Place::of(&stand_in, database);
    records_are_written_edited_and_deleted(&place).await;
    what_is_edited_there_is_noticed(&place).await;
}
