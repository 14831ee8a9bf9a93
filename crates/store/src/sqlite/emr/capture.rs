//! What was noticed in the record system: each record compared with its image, reconciled with ours
//! and written, a group a change, the cursor with them.

use std::collections::{BTreeMap, BTreeSet};

use protocol::conflict;
use protocol::json;
use protocol::planted::{Fault, planted};
use protocol::reconcile::{self, Contested, Plan, Policies, Side, through_image};
use protocol::resource::Record;
use protocol::resource::replaced::with_link;
use protocol::{Author, Digest, RecordRef, Timestamp, Urgency};
use rusqlite::{Connection, params};

use super::{
    Agreed, Row, agree, agreed_body, due, image_body, left, link, listed, row, version_of,
};
use crate::sqlite::apply::write_merged;
use crate::sqlite::conflicts::{Met, Noted};
use crate::sqlite::journal::{self, NewChange, Way};
use crate::sqlite::prepared::{Prepared, State};
use crate::sqlite::replaced::{self, Meeting, Through};
use crate::sqlite::rows::{self, RecordRow};
use crate::sqlite::writer::in_savepoint;
use crate::sqlite::{SqliteStore, body, link as parent_link};
use crate::{Captured, EmrCapture, EmrSeen, Result, Shown};

pub(super) fn emr_capture(
    store: &SqliteStore,
    capture: &EmrCapture,
    author: &Author,
    (now, jitter): (Timestamp, u64),
) -> Result<Captured> {
    store.write("record what changed in the record system", |step| {
        if let Some(place) = &capture.place {
            link::expect(step, place)?;
        }
        let mut done = Captured::default();
        let mut named = 0;
        for group in &capture.groups {
            named += group.len();
            let unsure = listed::unsure(step, group)?;
            let shown = once(group, &unsure);
            for part in parts(store, &shown) {
                group_of(store, step, (part, author), (now, jitter), &mut done)?;
            }
            for (record, seen) in group {
                let reason = match seen {
                    EmrSeen::Unread(_) if planted(Fault::UnreadForgotten) => continue,
                    EmrSeen::Unread(reason) => reason,
                    EmrSeen::Listed(_) if unsure.contains(record) => listed::UNSURE,
                    EmrSeen::Shown(_) | EmrSeen::Listed(_) => continue,
                };
                keep(store, step, record, reason, (now, jitter))?;
                done.kept += 1;
            }
        }
        if let Some(place) = &capture.place {
            link::advance(step, place, named, now)?;
        }
        step.prepare_cached("UPDATE emr_link SET captured = captured + ?1")?
            .execute([done.changes])?;
        Ok(done)
    })
}

/// What was read, each record once, as it was read last.
fn once<'a>(
    group: &'a [(RecordRef, EmrSeen)],
    unsure: &BTreeSet<&RecordRef>,
) -> Vec<(&'a RecordRef, &'a Shown)> {
    let mut last: BTreeMap<&RecordRef, usize> = BTreeMap::new();
    for (index, (record, _)) in group.iter().enumerate() {
        last.insert(record, index);
    }
    let read = group.iter().enumerate().filter_map(|(index, (record, seen))| match seen {
        EmrSeen::Listed(_) if unsure.contains(record) => None,
        EmrSeen::Shown(shown) | EmrSeen::Listed(shown) => {
            (last.get(record) == Some(&index)).then_some((record, shown))
        }
        EmrSeen::Unread(_) => None,
    });
    // Conflicts are ours; no record system has a say in them.
    read.filter(|(record, _)| !conflict::is_name(record)).collect()
}

/// A group in as many parts as its change would be over a limit.
fn parts<'s, 'a>(
    store: &SqliteStore,
    shown: &'s [(&'a RecordRef, &'a Shown)],
) -> Vec<&'s [(&'a RecordRef, &'a Shown)]> {
    let limits = &store.options.limits;
    let room = limits.line_bytes / 2;
    let (mut parts, mut begin, mut bytes) = (Vec::new(), 0, 0);
    for (index, (_, one)) in shown.iter().enumerate() {
        let size = one.body().and_then(|record| record.body.as_ref()).map_or(0, String::len);
        if index > begin && (index - begin >= limits.change_records || bytes + size > room) {
            parts.push(&shown[begin..index]);
            (begin, bytes) = (index, 0);
        }
        bytes += size;
    }
    if begin < shown.len() {
        parts.push(&shown[begin..]);
    }
    parts
}

/// One change, whole or not at all: what cannot be taken is kept with its reason, and the others
/// go on.
fn group_of(
    store: &SqliteStore,
    step: &Connection,
    (shown, author): (&[(&RecordRef, &Shown)], &Author),
    when: (Timestamp, u64),
    done: &mut Captured,
) -> Result<()> {
    match in_savepoint(step, |step| Group::decide(store, step, shown)?.write(author, when.0)) {
        Ok((changed, echoes)) => {
            done.changes += u64::from(changed);
            done.echoes += echoes;
            for (record, _) in shown {
                let values = params![record.kind.name(), record.id()];
                step.prepare_cached("DELETE FROM emr_hint WHERE type = ?1 AND id = ?2")?
                    .execute(values)?;
            }
            Ok(())
        }
        Err(error) if error.is_about_the_line() => {
            for (record, _) in shown {
                keep(store, step, record, &error.to_string(), when)?;
                done.kept += 1;
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Keeps what was noticed of a record, to read it again later.
pub(super) fn keep(
    store: &SqliteStore,
    step: &Connection,
    record: &RecordRef,
    reason: &str,
    (now, jitter): (Timestamp, u64),
) -> Result<()> {
    let attempts: u32 = step
        .prepare_cached(
            "INSERT INTO emr_hint (type, id, noticed, attempts, reason)
             VALUES (?1, ?2, ?3, 1, ?4)
             ON CONFLICT (type, id) DO UPDATE SET attempts = attempts + 1, reason = ?4
             RETURNING attempts",
        )?
        .query_row(params![record.kind.name(), record.id(), now.millis(), reason], |row| {
            row.get(0)
        })?;
    let pause = protocol::delivery::backoff_millis(attempts, &store.options.limits, jitter);
    let next = now.plus_millis(pause.cast_signed()).millis();
    step.prepare_cached("UPDATE emr_hint SET next_at = ?3 WHERE type = ?1 AND id = ?2")?
        .execute(params![record.kind.name(), record.id(), next])?;
    Ok(())
}

/// One record of a group, and what becomes of it.
struct Change<'a> {
    shown: &'a Shown,
    /// What the edit there made of our record.
    incoming: Record,
    known: Option<RecordRow>,
    /// Whether `incoming` is written as it came.
    taken: bool,
    /// What the merge came to, to be written after it.
    result: Option<Record>,
    noted: Option<Noted>,
}

/// What is to be done with a group.
struct Group<'a> {
    store: &'a SqliteStore,
    step: &'a Connection,
    changes: Vec<Change<'a>>,
    echoes: u64,
}

impl<'a> Group<'a> {
    fn decide(
        store: &'a SqliteStore,
        step: &'a Connection,
        shown: &[(&'a RecordRef, &'a Shown)],
    ) -> Result<Group<'a>> {
        let mut group = Group { store, step, changes: Vec::new(), echoes: 0 };
        for (name, shown) in shown {
            group.one(name, shown)?;
        }
        Ok(group)
    }

    fn one(&mut self, name: &RecordRef, shown: &'a Shown) -> Result<()> {
        let known = rows::record_row(self.step, name)?;
        let seen = match &known {
            Some(known) => row(self.step, known.key)?,
            None => None,
        };
        if let (Some(known), Some(_)) = (&known, &seen) {
            self.named(known.key)?;
        }
        let live = seen.as_ref().and_then(Row::live_image);
        let last = seen.as_ref().and_then(Row::last_image);
        let incoming = match shown {
            Shown::Body(record) if last == Some(record.digest) => {
                self.echoes += 1;
                return self.is_there(known.as_ref(), seen.as_ref());
            }
            Shown::Body(record) if last.is_none() && self.left_so(record)? => {
                self.echoes += 1;
                return self.come_again(known.as_ref(), record);
            }
            Shown::Body(record) => self.edited(record, known.as_ref().zip(seen.as_ref()))?,
            Shown::Replaced(winner) if live.is_some() => {
                self.replaced(known.as_ref().zip(seen.as_ref()), winner, name)?
            }
            Shown::Gone | Shown::Absent if live.is_some() => Record::deleted(name.clone()),
            Shown::Gone | Shown::Replaced(_) => return self.gone_before(name, known.as_ref()),
            Shown::Absent => return left::forget(self.step, name),
        };
        let Some(known) = known else {
            self.changes.push(Change {
                shown,
                incoming,
                known: None,
                taken: true,
                result: None,
                noted: None,
            });
            return Ok(());
        };
        let base = seen.and_then(|seen| seen.digest);
        let base = if planted(Fault::EditIsOfOurs) { Some(known.digest) } else { base };
        self.meet(shown, incoming, known, base)
    }

    /// A full load has named it.
    fn named(&self, record: i64) -> Result<()> {
        self.step
            .prepare_cached(
                "UPDATE emr_record SET load = (SELECT load FROM emr_link) WHERE record = ?1
                    AND load < (SELECT load FROM emr_link)",
            )?
            .execute([record])?;
        Ok(())
    }

    /// It is as it was shown last. If it was taken for lost, it is not.
    fn is_there(&self, known: Option<&RecordRow>, seen: Option<&Row>) -> Result<()> {
        if let (Some(known), Some(Row { lost: true, .. })) = (known, seen) {
            self.step
                .prepare_cached("UPDATE emr_record SET lost = 0 WHERE record = ?1")?
                .execute([known.key])?;
            due::weigh(self.step, known.key)?;
        }
        Ok(())
    }

    /// Whether this is what was shown of a record when it was purged here.
    fn left_so(&self, shown: &Record) -> Result<bool> {
        Ok(left::shown(self.step, &shown.reference)? == Some(shown.digest))
    }

    /// It stands there as it did when it was purged here, which is no news. If its patient is back,
    /// that is what will be written over.
    fn come_again(&self, known: Option<&RecordRow>, shown: &Record) -> Result<()> {
        let Some(known) = known else { return Ok(()) };
        let image = shown.body.as_deref().map(body::encode).transpose()?;
        self.step
            .prepare_cached(
                "INSERT INTO emr_record (record, image_digest, image, state, since, load)
                 SELECT r.key, ?2, ?3, 'same', r.sequence, (SELECT load FROM emr_link)
                 FROM record AS r WHERE r.key = ?1
                 ON CONFLICT (record) DO UPDATE SET image_digest = ?2, image = ?3, gone = 0",
            )?
            .execute(params![known.key, shown.digest.0, image])?;
        left::forget(self.step, &shown.reference)?;
        due::weigh(self.step, known.key)
    }

    /// It was deleted there before it was ever shown, or after it was purged here: nobody has
    /// deleted ours.
    fn gone_before(&mut self, name: &RecordRef, known: Option<&RecordRow>) -> Result<()> {
        self.echoes += 1;
        left::forget(self.step, name)?;
        if let Some(known) = known {
            self.step
                .prepare_cached(
                    "UPDATE emr_record SET gone = 1 WHERE record = ?1 AND image_digest IS NULL",
                )?
                .execute([known.key])?;
        }
        Ok(())
    }

    /// A patient who was merged there: ours says so, as `tributary patient merge` would have it,
    /// and what there is of him stays.
    fn replaced(
        &self,
        known: Option<(&RecordRow, &Row)>,
        winner: &RecordRef,
        name: &RecordRef,
    ) -> Result<Record> {
        let ours = match known {
            Some((known, Row { digest: Some(digest), .. })) => {
                agreed_body(self.step, known.key, *digest)?
            }
            Some((known, _)) => last_live(self.step, known.key)?,
            None => None,
        };
        let Some(ours) = ours else { return Ok(Record::deleted(name.clone())) };
        let patient = json::parse(ours.as_bytes(), json::DEPTH_MAX)?;
        let linked = with_link(&patient, winner, "replaced-by", Some(false)).to_text();
        self.parse(&linked)
    }

    /// What our record is with the edit that was made there.
    fn edited(&self, shown: &Record, seen: Option<(&RecordRow, &Row)>) -> Result<Record> {
        let seen = seen.filter(|_| !planted(Fault::ShownIsAll));
        let Some((known, seen)) = seen else { return Ok(shown.clone()) };
        let ours = match (seen.gone, seen.digest) {
            // Undeleted there: what it could not hold comes back as well.
            (true, _) => last_live(self.step, known.key)?,
            (false, Some(digest)) => agreed_body(self.step, known.key, digest)?,
            (false, None) => None,
        };
        let image = image_body(self.step, known.key, seen)?;
        let (Some(ours), Some(image), Some(now)) = (ours, image, &shown.body) else {
            return Ok(shown.clone());
        };
        let body = through_image(&image, &ours, now)?;
        Ok(Record::parse(body.as_bytes(), &self.store.options.limits)?)
    }

    /// Two states meet: ours, and what was made there of the one that was agreed on.
    fn meet(
        &mut self,
        shown: &'a Shown,
        incoming: Record,
        known: RecordRow,
        base: Option<Digest>,
    ) -> Result<()> {
        let local = version_of(self.step, known.key, known.digest)?;
        let base = match base {
            Some(digest) => Some((digest, agreed_body(self.step, known.key, digest)?)),
            None => None,
        };
        let state = |digest, body| reconcile::State { digest, body, at: None };
        let meeting = Meeting {
            name: &incoming.reference,
            base: base.as_ref().map(|(digest, body)| state(*digest, body.as_deref())),
            local: state(known.digest, local.as_deref()),
            incoming: state(incoming.digest, incoming.body.as_deref()),
            side: Side::Child,
        };
        let policies = self.policies()?;
        let plan = replaced::reconcile_through(self.store, self.step, &meeting, &policies)?;
        let (taken, result, contested) = match plan {
            Through::StaysDeleted => {
                (true, Some(Record::deleted(incoming.reference.clone())), None)
            }
            Through::Plan(Plan::AlreadyHave | Plan::KeepLocal) => (false, None, None),
            Through::Plan(Plan::TakeIncoming) => (true, None, None),
            Through::Plan(Plan::Merged { body }) => (true, Some(self.parse(&body)?), None),
            Through::Plan(Plan::Conflict { body, elements }) => {
                (true, Some(self.parse(&body)?), Some(elements))
            }
        };
        let noted = match (contested, &result) {
            (Some(elements), Some(result)) => {
                let ours = (known.digest, local);
                Some(self.noted(base, ours, &incoming, (elements, result))?)
            }
            _ => None,
        };
        let known = Some(known);
        self.changes.push(Change { shown, incoming, known, taken, result, noted });
        Ok(())
    }

    fn parse(&self, body: &str) -> Result<Record> {
        Ok(Record::parse(body.as_bytes(), &self.store.options.limits)?)
    }

    /// The policies of this site's link to its parent, where it has one: what is decided here goes
    /// up, and is to be decided alike there.
    fn policies(&self) -> Result<Policies> {
        match rows::has_parent(self.step)? {
            true => parent_link::policies(self.step),
            false => Ok(self.store.options.merge.clone()),
        }
    }

    fn noted(
        &self,
        base: Option<(Digest, Option<String>)>,
        ours: (Digest, Option<String>),
        incoming: &Record,
        (contested, result): (Vec<Contested>, &Record),
    ) -> Result<Noted> {
        // The record system is of this site: both ends are here.
        let own = rows::own_site(self.step)?;
        let elements = contested.into_iter().map(|element| conflict::Contested {
            path: element.path,
            rule: element.rule.to_owned(),
        });
        let met = Met {
            sites: (own.clone(), own),
            base,
            parent: ours,
            child: (incoming.digest, incoming.body.clone()),
            elements: elements.collect(),
        };
        Noted::of(met, result, &self.store.options.limits)
    }

    /// Writes it all; gives whether there was a change, and how many were echoes.
    fn write(self, author: &Author, now: Timestamp) -> Result<(bool, u64)> {
        let Group { store, step, changes, echoes } = self;
        let taken: Vec<&Change<'_>> = changes.iter().filter(|change| change.taken).collect();
        let prepared = taken
            .iter()
            .map(|change| Prepared::of(&change.incoming))
            .collect::<Result<Vec<_>>>()?;
        let states: Vec<State<'_>> = prepared
            .iter()
            .zip(&taken)
            .map(|(prepared, change)| State {
                prepared,
                known: change.known.clone(),
                parent_sequence: None,
                patients: &[],
                since: None,
            })
            .collect();
        if !states.is_empty() {
            let change = NewChange {
                id: None,
                way: Way::Here,
                author,
                at: now,
                now,
                actor: author.as_str(),
                lane: Urgency::Normal,
            };
            journal::write_alone(store, step, &change, &states)?;
            let differs = |change: &&Change<'_>| {
                change.result.as_ref().is_some_and(|r| r.digest != change.incoming.digest)
            };
            let results: Vec<&Record> = changes
                .iter()
                .filter(differs)
                .filter_map(|change| change.result.as_ref())
                .collect();
            let noted: Vec<&Noted> = changes.iter().filter_map(|c| c.noted.as_ref()).collect();
            write_merged(store, step, (&results, &noted), now)?;
            replaced::follow(store, step, (Way::Here, now), &states)?;
        }
        for Change { shown, incoming, .. } in &changes {
            let Some(known) = rows::record_row(step, &incoming.reference)? else { continue };
            agree(step, &Agreed { record: known.key, ours: incoming, shown })?;
            step.prepare_cached(
                "UPDATE emr_record SET load = (SELECT load FROM emr_link) WHERE record = ?1",
            )?
            .execute([known.key])?;
        }
        Ok((!states.is_empty(), echoes))
    }
}

/// The last state of a record in which it was there.
fn last_live(step: &Connection, record: i64) -> Result<Option<String>> {
    super::kept_body(
        step,
        "SELECT body FROM version WHERE record = ?1 AND body IS NOT NULL
         ORDER BY sequence DESC LIMIT 1",
        record,
    )
}
