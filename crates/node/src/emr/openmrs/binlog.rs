//! The binary log of OpenMRS's database (MariaDB or MySQL): sees everything, what a module or a
//! person writes by SQL too. Rows of one transaction are one group. Only read, never written to:
//! every statement here is a SELECT or a SHOW, and the user needs no other right.
//!
//! The place is a file and a position in it, with the id of the server that wrote them. Where that
//! file was purged, or the server is another, everything is to be compared (`CursorLost`): unless
//! the settings say that replicas take over with the same GTIDs (MariaDB), of which the place has
//! one that is not after it.

mod error;
mod names;
mod tables;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::StreamExt as _;
use mysql_async::binlog::EventType;
use mysql_async::binlog::events::{
    EventData, QueryEvent, RotateEvent, RowsEventData, TableMapEvent,
};
use mysql_async::binlog::value::BinlogValue;
use mysql_async::prelude::Queryable as _;
use mysql_async::{
    BinlogStream, BinlogStreamRequest, Conn, Opts, OptsBuilder, Row, SslOpts, Value,
};
use protocol::RecordRef;
use serde::{Deserialize, Serialize};

use self::error::{away, lost_or_away, words};
use self::names::{Named, records, winner};
use self::tables::{Cell, MORE_TABLES, Part, TABLES, parts};
use crate::config::OpenmrsConfig;
use crate::ports::EmrError;

/// Groups that are given in one portion, and parts of groups that are looked up at once.
const GROUPS: usize = 200;
/// Seconds that connecting, and waiting for the next event, may take.
const SECONDS: u64 = 30;
/// From here on are the numbers of our streams among the replicas of the server: the number of the
/// connection is added, since a server cuts off a stream when another of its number begins.
const SERVER_IDS: u32 = 0x5400_0000;

/// Events with rows.
const ROWS: [EventType; 7] = [
    EventType::WRITE_ROWS_EVENT_V1,
    EventType::UPDATE_ROWS_EVENT_V1,
    EventType::DELETE_ROWS_EVENT_V1,
    EventType::WRITE_ROWS_EVENT,
    EventType::UPDATE_ROWS_EVENT,
    EventType::DELETE_ROWS_EVENT,
    EventType::PARTIAL_UPDATE_ROWS_EVENT,
];
/// The table of an event that only ends a statement.
const NO_TABLE: u64 = 0x00FF_FFFF;
/// Statements that change rows.
const CHANGES_ROWS: [&str; 6] = ["INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH"];
/// Statements that empty or replace tables as a whole, without a row in the log.
const EMPTIES: [&str; 3] = ["TRUNCATE", "DROP", "RENAME"];
/// What is said of an event that is damaged, or of a kind that is not known: it is not passed over.
const UNREAD: &str = "an event of the binary log cannot be read";

/// A place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Place {
    /// Which server wrote it.
    server: String,
    /// The file.
    file: String,
    /// The position in it, between two transactions.
    position: u64,
    /// The GTIDs of a place that is not after this one, where replicas take over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gtid: Option<String>,
}

impl Place {
    fn is_at(&self, other: &Place) -> bool {
        (&self.server, &self.file, self.position) == (&other.server, &other.file, other.position)
    }
}
/// What was read from a place on.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Records by transaction.
    pub groups: Vec<Vec<RecordRef>>,
    /// Those that are obs and no later versions of others.
    pub first: BTreeSet<RecordRef>,
    /// Where to go on.
    pub place: Option<Place>,
    /// Whether there is more.
    pub more: bool,
}

/// The log of one database.
pub(super) struct Binlog {
    opts: Opts,
    database: String,
    gtid: bool,
}

/// Columns of the tables, in their order.
type Columns = BTreeMap<String, Vec<String>>;

impl Binlog {
    /// Of `mysql://user@host:port/database`, with the password from its file.
    pub(super) fn of(
        url: &str,
        password: Option<&str>,
        config: &OpenmrsConfig,
    ) -> anyhow::Result<Binlog> {
        let opts = Opts::from_url(url).map_err(|_| {
            anyhow::anyhow!("database must be of the form mysql://user@host/openmrs")
        })?;
        let database = opts.db_name().unwrap_or("openmrs").to_owned();
        let opts = OptsBuilder::from_opts(opts).db_name(Some(database.clone()));
        let opts = match password {
            Some(password) => opts.pass(Some(password)),
            None => opts,
        };
        let opts = opts.ssl_opts(config.database_tls.then(SslOpts::default));
        Ok(Binlog { opts: opts.into(), database, gtid: config.database_gtid })
    }

    /// Encrypted, and vouched for by this authority alone.
    pub(super) fn trusting(self, authority: &[u8]) -> Binlog {
        let authority = authority.to_owned();
        let tls = SslOpts::default().with_root_certs(vec![authority.into()]);
        let tls = tls.with_disable_built_in_roots(true);
        let opts = OptsBuilder::from_opts(self.opts).ssl_opts(Some(tls));
        Binlog { opts: opts.into(), ..self }
    }

    /// What stands in the way of reading the log, a sentence each.
    pub(super) async fn missing(&self) -> Result<Vec<String>, EmrError> {
        let mut conn = self.connect().await?;
        let mut missing = Vec::new();
        let settings = "SELECT @@log_bin, @@binlog_format, @@binlog_row_image";
        let found: Option<(i64, String, String)> =
            conn.query_first(settings).await.map_err(away)?;
        let (on, format, image) = found.unwrap_or_default();
        if on == 0 {
            missing
                .push("the database writes no binary log: set log_bin and restart it".to_owned());
        }
        if format != "ROW" {
            missing.push(format!("binlog_format is {format}: set it to ROW"));
        }
        if image != "FULL" {
            missing.push(format!("binlog_row_image is {image}: set it to FULL"));
        }
        if on != 0
            && let Err(error) = head(&mut conn, false).await
        {
            missing.push(format!(
                "the database does not show its log ({error}): GRANT REPLICATION SLAVE, \
                 REPLICATION CLIENT (MariaDB: BINLOG MONITOR) ON *.* to its user"
            ));
        }
        drop(conn);
        Ok(missing)
    }

    /// The end of the log, from which a full load begins to be followed.
    pub(super) async fn head(&self) -> Result<Place, EmrError> {
        let missing = self.missing().await?;
        if !missing.is_empty() {
            return Err(EmrError::away(missing.join("; ")));
        }
        let mut conn = self.connect().await?;
        head(&mut conn, self.gtid).await.map_err(EmrError::away)
    }

    /// The uuid of the patient into whom the one with this uuid was merged.
    pub(super) async fn winner(&self, loser: &str) -> Result<Option<String>, EmrError> {
        let mut conn = self.connect().await?;
        winner(&mut conn, loser).await.map_err(away)
    }

    /// What stands in the log after a place, one portion.
    pub(super) async fn read(&self, place: &Place) -> Result<Read, EmrError> {
        let mut conn = self.connect().await?;
        let here = head(&mut conn, self.gtid).await.map_err(EmrError::away)?;
        let from = match here.server == place.server {
            true => place.clone(),
            false => taken_over(place, &here)?,
        };
        if here.is_at(&from) {
            return Ok(Read { place: Some(here), ..Read::default() });
        }
        let columns = self.columns(&mut conn).await?;
        let (found, mut place, more) = self.walk(&from, &columns).await?;
        if !more {
            // As much as was there before it was read, and perhaps more.
            place.gtid = here.gtid;
        }
        let Named { groups, first } = records(&mut conn, found).await.map_err(away)?;
        Ok(Read { groups, first, place: Some(place), more })
    }

    async fn connect(&self) -> Result<Conn, EmrError> {
        let late = || EmrError::away("the database of OpenMRS does not answer");
        tokio::time::timeout(Duration::from_secs(SECONDS), Conn::new(self.opts.clone()))
            .await
            .map_err(|_| late())?
            .map_err(away)
    }

    async fn columns(&self, conn: &mut Conn) -> Result<Columns, EmrError> {
        let names = TABLES.iter().chain(&MORE_TABLES).map(|table| format!("'{table}'"));
        let query = format!(
            "SELECT table_name, column_name FROM information_schema.columns \
             WHERE table_schema = ? AND table_name IN ({}) ORDER BY table_name, ordinal_position",
            names.collect::<Vec<_>>().join(", ")
        );
        let rows = conn.exec::<(String, String), _, _>(query, (&self.database,)).await;
        let mut columns = Columns::new();
        for (table, column) in rows.map_err(away)? {
            columns.entry(table.to_lowercase()).or_default().push(column.to_lowercase());
        }
        Ok(columns)
    }

    /// The events from a place on, and what is known of them so far.
    async fn events(&self, from: &Place) -> Result<(BinlogStream, Walked), EmrError> {
        let (mut conn, mut walked) = (self.connect().await?, Walked::at(from));
        let request = BinlogStreamRequest::new(SERVER_IDS | (conn.id() & 0x00ff_ffff))
            .with_non_blocking()
            .with_filename(from.file.as_bytes())
            .with_pos(from.position);
        if from.file.is_empty() {
            let gtid = from.gtid.as_deref().unwrap_or_default();
            conn.exec_drop("SET @slave_connect_state = ?", (gtid,)).await.map_err(away)?;
            let files = conn.query::<Row, _>("SHOW BINARY LOGS").await.map_err(away)?;
            walked.files = files.iter().filter_map(|row| row.get::<String, _>(0)).collect();
        }
        let stream = conn.get_binlog_stream(request).await.map_err(lost_or_away)?;
        Ok((stream, walked))
    }

    /// Reads events from a place on to the end of the log, or of a portion.
    async fn walk(
        &self,
        from: &Place,
        columns: &Columns,
    ) -> Result<(Vec<BTreeSet<Part>>, Place, bool), EmrError> {
        let ((mut stream, mut walked), mut more) = (self.events(from).await?, false);
        loop {
            let next = tokio::time::timeout(Duration::from_secs(SECONDS), stream.next()).await;
            let Ok(next) = next else {
                return Err(EmrError::away("the database stopped in the middle of its log"));
            };
            let Some(event) = next else { break };
            let event = event.map_err(lost_or_away)?;
            let header = event.header();
            let end = u64::from(header.log_pos());
            let odd = |_| EmrError::away(UNREAD);
            match header.event_type() {
                Ok(EventType::ROTATE_EVENT) => {
                    let rotate = event.read_event::<RotateEvent<'_>>().map_err(odd)?;
                    walked.rotate(&rotate.name(), rotate.position());
                }
                Ok(EventType::XID_EVENT) => walked.commit(end),
                Ok(EventType::QUERY_EVENT) => {
                    let query = event.read_event::<QueryEvent<'_>>().map_err(odd)?;
                    walked.query(query.query().trim(), end)?;
                }
                // `LOAD DATA` that was written as a statement.
                Ok(EventType::EXECUTE_LOAD_QUERY_EVENT) => return Err(no_rows()),
                _ if (166..=171).contains(&header.event_type_raw()) => return Err(compressed()),
                Ok(kind) if ROWS.contains(&kind) => {
                    let Ok(Some(EventData::RowsEvent(rows))) = event.read_data() else {
                        return Err(EmrError::away(UNREAD));
                    };
                    if rows.table_id() == NO_TABLE {
                        continue;
                    }
                    let map = stream.get_tme(rows.table_id());
                    walked.rows(
                        &rows,
                        map.ok_or_else(|| EmrError::away(UNREAD))?,
                        &self.database,
                        columns,
                    )?;
                }
                // What says nothing of rows; events of MariaDB's own among them.
                Ok(_) | Err(_) => {}
            }
            if walked.groups.len() >= GROUPS && walked.open.is_empty() {
                more = true;
                break;
            }
        }
        // A reader that is still there keeps the server from purging; one that is cut is gone too.
        let closing = tokio::time::timeout(Duration::from_secs(SECONDS), stream.close());
        if let Ok(Err(error)) = closing.await {
            tracing::debug!(error = words(&error), "a reader of the binary log was cut");
        }
        if walked.place.file.is_empty() {
            return Err(EmrError::away(UNREAD));
        }
        Ok((walked.groups, walked.place, more))
    }
}

/// How far a walk has come.
struct Walked {
    place: Place,
    groups: Vec<BTreeSet<Part>>,
    open: BTreeSet<Part>,
    /// The files of the log, where the one in which it begins is not known.
    files: Vec<String>,
}

impl Walked {
    fn at(place: &Place) -> Walked {
        let (groups, open, files) = Default::default();
        Walked { place: place.clone(), groups, open, files }
    }

    fn rotate(&mut self, name: &str, position: u64) {
        if self.place.file.is_empty() {
            let begun = self.files.iter().filter(|file| name.starts_with(file.as_str()));
            if let Some(file) = begun.max_by_key(|file| file.len()) {
                self.place = Place { file: file.clone(), position, ..self.place.clone() };
            }
            return;
        }
        // The first of a stream names the file that it begins in, and ends in a checksum that is no
        // part of the name, and may begin with a digit. No file's name begins with the name of the
        // one before it.
        if name.starts_with(&self.place.file) {
            return;
        }
        let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let name = name.chars().take_while(good).collect::<String>();
        let name = match name.rsplit_once('.') {
            Some((stem, number)) => {
                let digits = number.chars().take_while(char::is_ascii_digit).collect::<String>();
                format!("{stem}.{digits}")
            }
            None => name,
        };
        if name.len() >= self.place.file.len() {
            self.place = Place { file: name, position, ..self.place.clone() };
        }
    }

    fn commit(&mut self, end: u64) {
        let group = std::mem::take(&mut self.open);
        if !group.is_empty() {
            self.groups.push(group);
        }
        if end > 0 {
            self.place.position = end;
        }
    }

    /// The parts that rows of a table are of.
    fn rows(
        &mut self,
        rows: &RowsEventData<'_>,
        map: &TableMapEvent<'_>,
        database: &str,
        columns: &Columns,
    ) -> Result<(), EmrError> {
        let table = map.table_name().to_lowercase();
        let Some(names) = columns.get(&table).filter(|_| map.database_name() == database) else {
            return Ok(());
        };
        for row in rows.rows(map) {
            let (before, after) = row.map_err(|_| EmrError::away(UNREAD))?;
            for row in [before, after].into_iter().flatten() {
                let cell = |name: &str| {
                    let at = names.iter().position(|one| one == name)?;
                    cell(row.as_ref(at)?)
                };
                self.open.extend(parts(&table, &cell));
            }
        }
        Ok(())
    }

    /// What was written as a statement. Fails where that changed rows, which it does not show.
    fn query(&mut self, query: &str, end: u64) -> Result<(), EmrError> {
        let upper = query.to_ascii_uppercase();
        // MariaDB sends a comment in place of an event that an old replica would not know.
        let says_nothing = ["BEGIN", "#", "SAVEPOINT", "ROLLBACK TO", "RELEASE"];
        if says_nothing.iter().any(|begins| upper.starts_with(begins)) {
            return Ok(());
        }
        // A server that starts says so that tables in memory are empty.
        let by_server = upper.ends_with("/* GENERATED BY SERVER */");
        if CHANGES_ROWS.contains(&verb(&upper)) && !by_server {
            return Err(no_rows());
        }
        if EMPTIES.contains(&verb(&upper)) && !by_server && names_a_table(&upper) {
            let why = "the binary log has a statement that empties or replaces a whole table";
            return Err(EmrError::CursorLost(why.to_owned()));
        }
        if upper == "ROLLBACK" {
            self.open.clear();
        }
        self.commit(end);
        Ok(())
    }
}

/// Whether a statement (in capitals) names one of the tables that records are in. To take one too
/// many for it costs a comparison.
fn names_a_table(statement: &str) -> bool {
    let words = statement.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut words = words.filter(|word| !word.is_empty());
    words.any(|word| {
        word == "DATABASE" || TABLES.iter().any(|table| table.eq_ignore_ascii_case(word))
    })
}

/// The first word of a statement, after the comments before it.
fn verb(statement: &str) -> &str {
    let mut rest = statement.trim_start();
    while let Some(comment) = rest.strip_prefix("/*") {
        rest = match comment.strip_prefix('!') {
            // It is carried out.
            Some(inside) => {
                inside.trim_start_matches(|c: char| c == 'M' || c == '!' || c.is_ascii_digit())
            }
            None => comment.split_once("*/").map_or("", |(_, rest)| rest),
        };
        rest = rest.trim_start();
    }
    rest.split(|c: char| !c.is_ascii_alphabetic()).next().unwrap_or_default()
}

fn no_rows() -> EmrError {
    EmrError::CursorLost(
        "the binary log has a statement in place of its rows: binlog_format is not ROW".to_owned(),
    )
}

fn compressed() -> EmrError {
    EmrError::away("the log is compressed: set log_bin_compress = OFF")
}

fn cell(value: &BinlogValue<'_>) -> Option<Cell> {
    match value {
        BinlogValue::Value(Value::Int(number)) => Some(Cell::Number(*number)),
        BinlogValue::Value(Value::UInt(number)) => i64::try_from(*number).ok().map(Cell::Number),
        BinlogValue::Value(Value::Bytes(bytes)) => {
            let text = std::str::from_utf8(bytes).ok()?;
            Some(Cell::Text(text.trim_end_matches(['\0', ' ']).to_owned()))
        }
        _ => None,
    }
}

/// Where to begin on a server that has taken over from the one of a place.
fn taken_over(place: &Place, here: &Place) -> Result<Place, EmrError> {
    let why = "the database is another server than the one whose log was read";
    let lost = || EmrError::CursorLost(why.to_owned());
    let (Some(gtid), Some(_)) = (&place.gtid, &here.gtid) else { return Err(lost()) };
    let (server, gtid) = (here.server.clone(), Some(gtid.clone()));
    Ok(Place { server, file: String::new(), position: 4, gtid })
}

/// The end of the log, with its GTIDs where these are wanted and there are any.
async fn head(conn: &mut Conn, gtid: bool) -> Result<Place, String> {
    // Before the place, so that it is none that comes after it.
    let gtid = match gtid {
        true => conn.query_first::<String, _>("SELECT @@gtid_binlog_pos").await.unwrap_or(None),
        false => None,
    };
    let gtid = gtid.filter(|gtid| !gtid.is_empty());
    let plain = |error: mysql_async::Error| words(&error);
    // MariaDB has no server_uuid; its number and where its data are tell it from others.
    let server = match conn.query_first::<String, _>("SELECT @@server_uuid").await {
        Ok(Some(uuid)) => uuid,
        _ => {
            let own = "SELECT CONCAT(@@server_id, ' ', @@hostname, ' ', @@datadir)";
            let own = conn.query_first::<String, _>(own).await.map_err(plain)?;
            own.unwrap_or_default()
        }
    };
    let row = match conn.query_first::<Row, _>("SHOW MASTER STATUS").await {
        Ok(row) => row,
        // Newer ones of MySQL know it by another name, all others know none but the first.
        Err(first) => match conn.query_first::<Row, _>("SHOW BINARY LOG STATUS").await {
            Ok(row) => row,
            Err(_) => return Err(plain(first)),
        },
    };
    let row = row.ok_or("it writes no log")?;
    let (file, position) = (row.get::<String, _>(0), row.get::<u64, _>(1));
    match (file, position) {
        (Some(file), Some(position)) => Ok(Place { server, file, position, gtid }),
        _ => Err("it does not say where its log is".to_owned()),
    }
}
