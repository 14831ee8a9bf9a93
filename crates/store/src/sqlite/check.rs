//! Looks through the whole store for damage and for broken rules between its tables. Reads one
//! snapshot, so it can run beside everything else; takes minutes where there are millions of
//! records.

use protocol::Digest;
use protocol::json;
use rusqlite::{Connection, Params};

use super::records::body_text;
use super::*;
use super::{audit, conflicts, emr, rows};

/// Findings of one kind that are named; more are only counted.
const NAMED: usize = 20;
/// Versions between two words of progress.
const PROGRESS: u64 = 20_000;
/// As deep as any limit ever allowed.
const DEPTH: usize = 1_000;

pub(super) fn site_check(
    store: &SqliteStore,
    progress: &mut dyn FnMut(&str),
) -> Result<Vec<String>> {
    store.read("check itself", |conn| {
        let mut findings = Findings::default();
        progress("the file");
        file(conn, &mut findings)?;
        progress("references between tables");
        foreign_keys(conn, &mut findings)?;
        progress("the audit");
        audit_chain(conn, &mut findings)?;
        progress("sequences");
        sequences(conn, &mut findings)?;
        progress("feeds");
        feeds(conn, &mut findings)?;
        visitors(conn, &mut findings)?;
        progress("records and their versions");
        records(conn, &mut findings)?;
        former(conn, &mut findings)?;
        outbox(conn, &mut findings)?;
        emr::findings(conn, &mut findings)?;
        progress("conflicts");
        conflicts::check(conn, &mut findings)?;
        bodies(conn, &mut findings, progress)?;
        Ok(findings.sentences)
    })
}

#[derive(Default)]
pub(super) struct Findings {
    sentences: Vec<String>,
}

impl Findings {
    /// Adds a sentence for each row of a query, which gives it as its only column.
    pub(super) fn query(
        &mut self,
        conn: &Connection,
        sql: &str,
        values: impl Params,
    ) -> Result<()> {
        let mut statement = conn.prepare(sql)?;
        let mut kind = Kind::default();
        for sentence in statement.query_map(values, |row| row.get::<_, String>(0))? {
            kind.add(self, sentence?);
        }
        kind.end(self);
        Ok(())
    }
}

/// Findings of one kind.
#[derive(Default)]
pub(super) struct Kind {
    count: usize,
}

impl Kind {
    pub(super) fn add(&mut self, findings: &mut Findings, sentence: String) {
        self.count += 1;
        if self.count <= NAMED {
            findings.sentences.push(sentence);
        }
    }

    pub(super) fn end(self, findings: &mut Findings) {
        if self.count > NAMED {
            findings.sentences.push(format!("and {} more like this", self.count - NAMED));
        }
    }
}

fn file(conn: &Connection, findings: &mut Findings) -> Result<()> {
    let mut statement = conn.prepare("PRAGMA integrity_check(20)")?;
    for word in statement.query_map([], |row| row.get::<_, String>(0))? {
        let word = word?;
        if word != "ok" {
            findings.sentences.push(format!("the file is damaged: {}", word.replace('\n', " ")));
        }
    }
    Ok(())
}

fn foreign_keys(conn: &Connection, findings: &mut Findings) -> Result<()> {
    let mut statement = conn.prepare("PRAGMA foreign_key_check")?;
    let mut kind = Kind::default();
    let found = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Option<i64>>(1)?, row.get::<_, String>(2)?))
    })?;
    for row in found {
        let (table, key, parent) = row?;
        let key = key.map_or_else(String::new, |key| format!(" {key}"));
        kind.add(findings, format!("row{key} of {table} refers to a row of {parent} that is gone"));
    }
    kind.end(findings);
    Ok(())
}

fn audit_chain(conn: &Connection, findings: &mut Findings) -> Result<()> {
    let mut kind = Kind::default();
    audit::walk(conn, |finding| kind.add(findings, finding))?;
    kind.end(findings);
    let mut kind = Kind::default();
    audit::walk_copies(conn, |finding| kind.add(findings, finding))?;
    kind.end(findings);
    Ok(())
}

fn sequences(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT 'change ' || sequence || ' does not follow change ' || before
         FROM (SELECT sequence, lag(sequence, 1, 0) OVER (ORDER BY sequence) AS before FROM change)
         WHERE sequence <> before + 1",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'the newest change is ' || newest || ' and the site counts ' || sequence
         FROM site, (SELECT coalesce(max(sequence), 0) AS newest FROM change)
         WHERE sequence <> newest",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'a version is of change ' || sequence || ', which does not exist'
         FROM version WHERE sequence NOT IN (SELECT sequence FROM change)",
        [],
    )
}

fn feeds(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT 'position ' || e.position || ' of the feed ' || f.name
                || ' does not follow position ' || e.before
         FROM (SELECT feed, position,
                lag(position, 1, 0) OVER (PARTITION BY feed ORDER BY position) AS before
               FROM feed_entry) AS e
         JOIN feed AS f ON f.key = e.feed WHERE e.position <> e.before + 1",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'position ' || e.position || ' of the feed ' || f.name
                || ' is older than the one before it'
         FROM (SELECT feed, position, sequence,
                lag(sequence, 1, 0) OVER (PARTITION BY feed ORDER BY position) AS before
               FROM feed_entry) AS e
         JOIN feed AS f ON f.key = e.feed WHERE e.sequence < e.before
            AND NOT (f.kind = 'outgoing' AND EXISTS (SELECT 1 FROM feed_entry AS first
                WHERE first.feed = e.feed AND first.sequence = e.sequence
                    AND first.position < e.position))",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'the head of the feed ' || f.name || ' is ' || f.head || ' (joins: '
                || f.head_join || ') and its newest entry ' || e.head || ' (' || e.head_join || ')'
         FROM feed AS f
         JOIN (SELECT k.key,
                coalesce((SELECT max(position) FROM feed_entry WHERE feed = k.key), 0) AS head,
                coalesce((SELECT max(position) FROM feed_entry
                    WHERE feed = k.key AND kind = 1), 0) AS head_join
              FROM feed AS k) AS e ON e.key = f.key
         WHERE f.head <> e.head OR f.head_join <> e.head_join",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'Patient/' || p.id || ' is in the feed ' || f.name
                || ' without the entry that says so'
         FROM cohort_patient AS m JOIN feed AS f ON f.key = m.feed
         JOIN patient AS p ON p.key = m.patient
         LEFT JOIN feed_entry AS e ON e.feed = m.feed AND e.position =
            (SELECT max(position) FROM feed_entry
             WHERE patient = m.patient AND feed = m.feed AND kind <> 0)
         WHERE e.position IS NOT max(m.joined, coalesce(m.\"left\", 0))
            OR e.kind <> CASE WHEN m.\"left\" IS NULL THEN 1 ELSE 2 END",
        [],
    )
}

fn visitors(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT 'Patient/' || p.id || ' visits ' || f.site
                || ' and is not in the cohort of its visitors'
         FROM visitor AS v JOIN visitor_feed AS f ON f.feed = v.feed
         JOIN patient AS p ON p.key = v.patient
         WHERE p.placed = 1 AND NOT EXISTS (SELECT 1 FROM cohort_patient AS m
            WHERE m.feed = v.feed AND m.patient = v.patient AND m.\"left\" IS NULL)",
        [],
    )?;
    findings.query(
        conn,
        "SELECT 'Patient/' || p.id || ' is in the cohort of the visitors of ' || f.site
                || ' without a visit'
         FROM visitor_feed AS f JOIN cohort_patient AS m ON m.feed = f.feed
         JOIN patient AS p ON p.key = m.patient
         WHERE m.\"left\" IS NULL AND NOT EXISTS
            (SELECT 1 FROM visitor AS v WHERE v.feed = m.feed AND v.patient = m.patient)
            AND NOT EXISTS
            (SELECT 1 FROM replaced AS b WHERE b.loser = m.patient OR b.winner = m.patient)",
        [],
    )
}

fn records(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT r.type || '/' || r.id || ' is not in the state of its newest version'
         FROM record AS r LEFT JOIN version AS v ON v.record = r.key AND v.sequence =
            (SELECT max(sequence) FROM version WHERE record = r.key)
         WHERE v.sequence IS NOT r.sequence OR v.digest IS NOT r.digest
            OR (v.body IS NULL) <> r.deleted",
        [],
    )?;
    findings.query(
        conn,
        "SELECT r.type || '/' || r.id || ', version ' || w.sequence
                || ', does not follow the version before it'
         FROM (SELECT record, sequence, previous,
                lag(sequence) OVER (PARTITION BY record ORDER BY sequence) AS before
               FROM version) AS w
         JOIN record AS r ON r.key = w.record
         WHERE w.before IS NOT NULL AND w.previous IS NOT w.before",
        [],
    )
}

fn former(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT DISTINCT r.type || '/' || r.id || ' was other patients'' up to version ' || f.upto
                || ', which is none of its older versions'
         FROM former_patient AS f JOIN record AS r ON r.key = f.record
         WHERE f.upto >= r.sequence OR NOT EXISTS
            (SELECT 1 FROM version AS v WHERE v.record = f.record AND v.sequence = f.upto)",
        [],
    )
}

fn outbox(conn: &Connection, findings: &mut Findings) -> Result<()> {
    findings.query(
        conn,
        "SELECT 'delivery ' || d.sequence || ' is away, and no message that is away has it'
         FROM delivery AS d LEFT JOIN message AS m ON m.key = d.message
         WHERE d.away <> CASE m.state WHEN 'leased' THEN 1 WHEN 'handed-over' THEN 2 ELSE 0 END
            AND d.state <> 'done' AND (d.away <> 0 OR m.state IN ('leased', 'handed-over'))",
        [],
    )?;
    findings.query(
        conn,
        "SELECT DISTINCT 'delivery ' || sequence
                || ' is more urgent than one before it of the same patient'
         FROM (SELECT d.sequence, d.lane, max(d.lane) OVER (PARTITION BY s.patient
                    ORDER BY d.sequence ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
             FROM delivery AS d INDEXED BY delivery_open
             CROSS JOIN change_patient AS s ON s.sequence = d.sequence
             WHERE d.target = 'parent' AND d.state <> 'done')
         WHERE before > lane",
        [],
    )
}

/// Every version's digest, worked out anew from its body.
fn bodies(
    conn: &Connection,
    findings: &mut Findings,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    let all: u64 = conn.query_row("SELECT count(*) FROM version", [], |row| row.get(0))?;
    let mut statement = conn.prepare(
        "SELECT r.type, r.id, v.sequence, v.digest, v.body
         FROM version AS v CROSS JOIN record AS r ON r.key = v.record ORDER BY v.key",
    )?;
    let mut rows = statement.query([])?;
    let mut kind = Kind::default();
    let mut done: u64 = 0;
    while let Some(row) = rows.next()? {
        if done.is_multiple_of(PROGRESS) {
            progress(&format!("bodies: {done} of {all}"));
        }
        done += 1;
        let reference = rows::record_ref(row, 0)?;
        let found = match body_text(row, 4) {
            Ok(Some(body)) => {
                json::parse(body.as_bytes(), DEPTH).ok().map(|json| Digest::of(&json))
            }
            Ok(None) => Some(Digest::of_deletion(&reference)),
            Err(_) => None,
        };
        let sequence: u64 = row.get(2)?;
        let what = match found {
            Some(digest) if digest == rows::digest(row, 3)? => continue,
            Some(_) => "is not what its digest says",
            None => "cannot be read",
        };
        kind.add(findings, format!("{reference}, version {sequence}, {what}"));
    }
    kind.end(findings);
    Ok(())
}

#[cfg(test)]
mod tests;
