//! How fast rows of the database come into the store of a site that is a process of its own.
//! Figures are printed and never asserted; that everything came is. `docs/performance.md` says how
//! they are taken (`TRIBUTARY_MEASURE` makes them long, `TRIBUTARY` names an optimised build).

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::http::Uri;
use axum::response::{IntoResponse as _, Response};
use node::ports::Clock as _;
use node::ports::system::SystemClock;
use protocol::{Limits, RecordRef};
use serde_json::{Value, json};
use store::sqlite::SqliteStore;
use store::{EmrStore as _, OpenOptions, Scope, Store as _};

use crate::stand_in::maria::{Server, Sql};

/// Rows of one transaction: an encounter, and observations of it.
const ROWS: usize = 20;
/// Rows that are there when the site begins to read, and rows that come while it reads, one each
/// 20 ms: with and without `TRIBUTARY_MEASURE`.
const BACKLOG: [usize; 2] = [60_000, 1_000];
const COMING: [usize; 2] = [3_000, 50];

fn record(kind: &str, id: &str) -> Value {
    json!({
        "resourceType": kind, "id": id, "status": "final", "code": { "text": "weight" },
        "subject": { "reference": "Patient/p1" }, "valueQuantity": { "value": 61.5 },
    })
}

/// What OpenMRS's FHIR API says: each record is there that is asked for by its id.
async fn fhir2(uri: Uri) -> Response {
    let ids = uri.query().unwrap_or_default().split('&').find_map(|one| one.strip_prefix("_id="));
    let path = uri.path().strip_prefix("/openmrs/ws/").unwrap_or_default();
    let body = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["fhir2", "R4", "metadata"] => {
            let kinds = ["Encounter", "Observation"].map(|kind| {
                let able = ["read", "search-type"].map(|code| json!({ "code": code }));
                json!({ "type": kind, "interaction": able })
            });
            json!({ "resourceType": "CapabilityStatement", "fhirVersion": "4.0.1",
                "rest": [{ "mode": "server", "resource": kinds }] })
        }
        ["fhir2", "R4", kind, id] => record(kind, id),
        ["fhir2", "R4", kind] => {
            let entries = ids.iter().flat_map(|ids| ids.split(','));
            let entries = entries.map(|id| json!({ "resource": record(kind, id) }));
            let entries = entries.collect::<Vec<_>>();
            json!({ "resourceType": "Bundle", "type": "searchset", "entry": entries })
        }
        ["rest", "v1", "session"] => json!({ "authenticated": true, "user": {} }),
        _ => json!({ "results": [] }),
    };
    ([("content-type", "application/fhir+json")], body.to_string()).into_response()
}

/// A site beside it, in a folder of its own.
struct Site {
    folder: tempfile::TempDir,
    program: String,
}

/// A running one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Running {
    /// The most memory that it ever had, in MB; where that is not told, 0.
    fn megabytes(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()));
        let text = text.unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kilobytes = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok());
        kilobytes.unwrap_or(0.0) / 1_000.0
    }
}

impl Site {
    fn make(url: &str, database: &str) -> Site {
        let program = std::env::var("TRIBUTARY");
        // A path is from the project's folder; a test begins in that of its crate.
        let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let program = program.map(|path| project.join(path).to_string_lossy().into_owned());
        let program = program.unwrap_or_else(|_| env!("CARGO_BIN_EXE_tributary").to_owned());
        let site = Site { folder: tempfile::tempdir().unwrap(), program };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let made = Command::new(&site.program)
            .args(["init", "--site", "clinic", "--listen", &port.to_string(), "--dir"])
            .arg(site.dir())
            .args(["--emr", "openmrs", "--emr-url", url, "--emr-user", "sync"])
            .args(["--emr-mode", "capture-only", "--emr-database", database])
            .env("TRIBUTARY_EMR_PASSWORD", "secret")
            .env("TRIBUTARY_EMR_DATABASE_PASSWORD", "secret")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success(), "{told}{}", String::from_utf8_lossy(&made.stderr));
        let settings = site.dir().join("tributary.toml");
        let text = std::fs::read_to_string(&settings).unwrap();
        let quick = "records_per_second = 1000000";
        std::fs::write(settings, text.replace("records_per_second = 500", quick)).unwrap();
        site
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn serve(&self) -> Running {
        let mut child = Command::new(&self.program)
            .arg("serve")
            .arg("--dir")
            .arg(self.dir())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("listens on"), "{line}");
        Running(child)
    }

    fn store(&self) -> SqliteStore {
        let options = OpenOptions {
            limits: Limits::default(),
            merge: Default::default(),
            urgent: Default::default(),
            cache_bytes: 4 << 20,
            readers: 2,
            wal_pages: OpenOptions::WAL_PAGES,
        };
        SqliteStore::open(Path::new(&self.dir().join("tributary.db")), options).unwrap()
    }
}

/// One transaction: an encounter and its observations; gives the record that is last in it.
fn enter(sql: &mut Sql, number: usize, rows: usize) -> RecordRef {
    sql.run("START TRANSACTION");
    let key = number + 1;
    if rows > 1 {
        sql.run(&format!(
            "INSERT INTO encounter (encounter_id, uuid, patient_id) VALUES ({key}, 'e-{key}', 1)"
        ));
    }
    for row in 1..rows.max(2) {
        sql.run(&format!(
            "INSERT INTO obs (uuid, person_id, concept_id, encounter_id, value_numeric) \
             VALUES ('o-{key}-{row}', 1, 1, {key}, 61.5)"
        ));
    }
    sql.run("COMMIT");
    format!("Observation/o-{key}-{}", rows.max(2) - 1).parse().unwrap()
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(600), "it took too long until {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs MariaDB; `.ci/run` runs it"]
#[allow(clippy::print_stderr, reason = "these are figures")]
async fn a_backlog_of_rows_and_rows_that_come_are_captured_and_how_fast() {
    let at = usize::from(std::env::var("TRIBUTARY_MEASURE").is_err());
    let server = Server::start(&[
        "--log-bin=log",
        "--binlog-format=ROW",
        "--server-id=7",
        "--max-binlog-size=1G",
        "--innodb-buffer-pool-size=64M",
    ]);
    let mut sql = server.sql();
    for statement in [
        "USE openmrs",
        "CREATE UNIQUE INDEX obs_uuid ON obs (uuid)",
        "INSERT INTO concept (concept_id, uuid) VALUES (1, 'concept-1')",
    ] {
        sql.run(statement);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/openmrs", listener.local_addr().unwrap());
    let app = axum::Router::new().fallback(fhir2);
    tokio::spawn(async move { axum::serve(listener, app).await });
    let site = Site::make(&url, &server.database("reader"));
    let store = site.store();
    let running = site.serve();
    let is_loaded = || store.emr_status().unwrap().is_some_and(|status| !status.loading);
    wait_for("nothing was loaded", is_loaded).await;
    drop(running);

    // What was changed while the site was away.
    let transactions = BACKLOG[at] / ROWS;
    (0..transactions).for_each(|number| drop(enter(&mut sql, number, ROWS)));
    let records = || store.site_status(SystemClock.now()).unwrap().records;
    let begun = Instant::now();
    let running = site.serve();
    wait_for("all are there", || records() == BACKLOG[at] as u64).await;
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("emr_binlog_rate {:.0} rows/s ({} rows)", BACKLOG[at] as f64 / seconds, BACKLOG[at]);

    // What is changed while it runs: from its commit to the time at which it was recorded.
    let mut entered = Vec::new();
    for number in transactions..transactions + COMING[at] {
        let next = tokio::time::Instant::now() + Duration::from_millis(20);
        let record = enter(&mut sql, number, 1);
        entered.push((record, SystemClock.now()));
        tokio::time::sleep_until(next).await;
    }
    let all = (BACKLOG[at] + COMING[at]) as u64;
    wait_for("all that came are there", || records() == all).await;
    let mut millis = Vec::new();
    for (record, committed) in entered {
        let version = store.record_get(&record, None, &Scope::Everything).unwrap().unwrap();
        millis.push(version.recorded.since(committed));
    }
    millis.sort_unstable();
    let p99 = millis[millis.len() * 99 / 100];
    eprintln!("emr_binlog_p99 {p99} ms ({} rows, one each 20 ms)", millis.len());
    eprintln!("emr_binlog_rss {:.0} MB", running.megabytes());
}
