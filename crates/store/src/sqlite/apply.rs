//! Lines that came in: each decided by `reconcile` and applied in a savepoint of its own, all of
//! a call in one commit, the marker with them.

mod bases;
mod line;
mod numbers;
mod rights;

use std::collections::BTreeSet;

use protocol::delivery::Outcome;
use protocol::feed::EntryKind;
use protocol::planted::{Fault, planted};
use protocol::reconcile::{Policies, Side};
use protocol::resource::Record;
use protocol::stream::{Base, Differing, InLine, InRecord, RefusedLine};
use protocol::{ChangeId, Digest, RecordRef, SiteId, Timestamp};
use rusqlite::Connection;

use self::line::Merge;
pub(super) use self::{bases::with_short, line::write_merged};
use super::journal::Way;
use super::prepared::Prepared;
use super::rows::RecordRow;
use super::writer::in_savepoint;
use super::{
    SqliteStore, ahead, leaves, link, markers, parked, received, rows, sites, sources, unlisted,
};
use crate::{Applied, Incoming, Reading, Result, Source};

pub(super) fn change_apply(
    store: &SqliteStore,
    source: &Source,
    lines: &[Incoming],
    now: Timestamp,
) -> Result<Vec<Applied>> {
    let prepared = lines.iter().map(prepare).collect::<Result<Vec<_>>>()?;
    store.write("apply what came in", |step| {
        let mut run = Run::begin(store, step, source, now)?;
        let results = lines
            .iter()
            .zip(&prepared)
            .map(|(line, states)| run.incoming(line, states))
            .collect::<Result<Vec<_>>>()?;
        run.finish(lines.len())?;
        Ok(results)
    })
}

/// The states of a line, in its order, ready to be written.
pub(super) fn prepare(line: &Incoming) -> Result<Vec<Prepared<'_>>> {
    let line = match line {
        Incoming::Line { line, .. } => line,
        Incoming::Ahead(line) => return prepare(line),
        Incoming::End(_) | Incoming::Place(_) | Incoming::Refused { .. } => return Ok(Vec::new()),
    };
    let states = line.records.iter().filter_map(|record| match record {
        InRecord::State { record, .. } => Some(Prepared::of(record)),
        InRecord::Held(_) | InRecord::Left(_) => None,
    });
    states.collect()
}

/// One call: what all of its lines have in common.
pub(super) struct Run<'a> {
    store: &'a SqliteStore,
    step: &'a Connection,
    source: &'a Source,
    now: Timestamp,
    way: Way,
    actor: String,
    /// This site's sequence after the line before.
    sequence: u64,
    /// What is read: up to where that has been applied before this call, and now.
    marker: u64,
    moved_to: u64,
    /// Whether the line was asked for by name: markers have no say in it.
    is_ahead: bool,
    /// Whether the line, which was parked, has later states than its numbers brought.
    pub(super) has_later: bool,
    /// Whether the line was parked, and what was said of its patients since counts.
    pub(super) is_retry: bool,
    /// Whether the line may be an old copy of one that was received: it brings what is not here.
    only_new: bool,
}

impl<'a> Run<'a> {
    pub(super) fn begin(
        store: &'a SqliteStore,
        step: &'a Connection,
        source: &'a Source,
        now: Timestamp,
    ) -> Result<Run<'a>> {
        let (way, actor, marker) = match source {
            Source::Parent { site, feed, epoch, lane, .. } => {
                let marker = markers::position(step, feed, epoch, *lane)?.unwrap_or(0);
                (Way::Parent, format!("parent:{site}"), marker)
            }
            Source::Child { site, epoch, reading } => {
                let marker = match reading {
                    Some(reading) => sources::position(step, (site, epoch), reading)?,
                    None => 0,
                };
                (Way::Child(rows::origin_key(step, site, epoch)?), format!("child:{site}"), marker)
            }
        };
        Ok(Run {
            store,
            step,
            source,
            now,
            way,
            actor,
            sequence: rows::site_sequence(step)?,
            marker,
            moved_to: marker,
            is_ahead: false,
            has_later: false,
            is_retry: false,
            only_new: false,
        })
    }

    /// Moves the marker to where the lines of this call have come.
    fn finish(&self, lines: usize) -> Result<()> {
        if self.moved_to == self.marker {
            return Ok(());
        }
        match self.source {
            Source::Parent { feed, name, epoch, lane, .. } => {
                markers::advance(self.step, (feed, epoch, *lane), name, self.moved_to, self.now)
            }
            Source::Child { site, .. } => sources::advance(self.step, site, self.moved_to, lines),
        }
    }

    fn is_parent(&self) -> bool {
        self.way == Way::Parent
    }

    /// The child whose changes are read, where they are.
    fn reading(&self) -> Option<(&'a SiteId, &'a Reading)> {
        match self.source {
            Source::Child { site, reading: Some(reading), .. } => Some((site, reading)),
            Source::Child { .. } | Source::Parent { .. } => None,
        }
    }

    /// Whether what cannot be applied is kept here: nobody would send it again.
    fn parks(&self) -> bool {
        self.is_parent() || self.reading().is_some()
    }

    pub(super) fn incoming(
        &mut self,
        incoming: &Incoming,
        states: &[Prepared<'_>],
    ) -> Result<Applied> {
        match incoming {
            Incoming::End(position) => {
                if !self.is_ahead {
                    self.moved_to = self.moved_to.max(*position);
                }
                Ok(self.applied(Outcome::Already))
            }
            Incoming::Place(place) => {
                if let Some((source, _)) = self.reading() {
                    sources::images::keep(self.step, source, place)?;
                }
                Ok(self.applied(Outcome::Already))
            }
            Incoming::Ahead(line) => {
                self.is_ahead = true;
                let applied = self.incoming(line, states);
                self.is_ahead = false;
                applied
            }
            Incoming::Refused { line, raw } => {
                let behind = self.is_behind(line.position);
                let applied = self.refused(line, raw)?;
                if let (Some((source, _)), Some(id), false) = (self.reading(), &line.id, behind) {
                    let named = (id, line.part);
                    sources::words::keep(self.step, source, named, &applied, Vec::new())?;
                }
                Ok(applied)
            }
            Incoming::Line { line, raw } => {
                let behind = self.is_behind(line.position);
                let applied = self.line(line, raw, states)?;
                if let (Some((source, _)), Some(id), false) = (self.reading(), &line.id, behind) {
                    let digests = sources::words::digests_of(line, &applied);
                    let named = (id, line.part);
                    sources::words::keep(self.step, source, named, &applied, digests)?;
                }
                Ok(applied)
            }
        }
    }

    /// A line of which only the envelope could be read.
    fn refused(&mut self, line: &RefusedLine, raw: &[u8]) -> Result<Applied> {
        let reason = line.refusal.reason.clone();
        if !self.parks() {
            return Ok(Applied { reason: Some(reason), ..self.applied(Outcome::Refused) });
        }
        let position = line.position.unwrap_or(0);
        if self.is_behind(line.position) {
            return Ok(self.applied(Outcome::Already));
        }
        let subjects = Subjects::of_envelope(&line.patients);
        let reason = match parked::blocking(self.step, self.source, &subjects)? {
            Some(before) => waits(before),
            None => reason,
        };
        self.park(position, &subjects, (raw, &line.id, &line.covers), &reason)?;
        self.advance(line.position, line.part);
        Ok(Applied { reason: Some(reason), parked: true, ..self.applied(Outcome::Refused) })
    }

    fn line(&mut self, line: &InLine, raw: &[u8], states: &[Prepared<'_>]) -> Result<Applied> {
        if self.parks() {
            if self.is_behind(line.position) {
                return Ok(self.applied(Outcome::Already));
            }
            let subjects = Subjects::of(line);
            let position = line.position.unwrap_or(0);
            if let (EntryKind::Leave, Source::Parent { feed, epoch, .. }) = (line.kind, self.source)
            {
                parked::forget(self.step, (feed, epoch), position, &subjects.patients)?;
            } else if let Some(before) = parked::blocking(self.step, self.source, &subjects)? {
                let reason = waits(before);
                self.park(position, &subjects, (raw, &line.id, &line.covers), &reason)?;
                self.advance(line.position, line.part);
                let waiting = self.applied(Outcome::Later);
                return Ok(Applied { reason: Some(reason), parked: true, ..waiting });
            }
        }
        let outcome = in_savepoint(self.step, |_| self.apply(line, states));
        match outcome {
            Ok(applied) => {
                self.advance(line.position, line.part);
                Ok(applied)
            }
            Err(error) if error.is_about_the_line() => {
                // What the savepoint took back counts no more.
                self.sequence = rows::site_sequence(self.step)?;
                self.not_applied(line, raw, &error.to_string())
            }
            Err(error) => Err(error),
        }
    }

    /// Whether the marker has passed a position. What was fetched by name stands at 0.
    fn is_behind(&self, position: Option<u64>) -> bool {
        let passed = |position| position > 0 && position <= self.moved_to;
        !self.is_ahead && position.is_some_and(passed)
    }

    fn not_applied(&mut self, line: &InLine, raw: &[u8], reason: &str) -> Result<Applied> {
        let parked = self.parks();
        if parked {
            let (position, subjects) = (line.position.unwrap_or(0), Subjects::of(line));
            self.park(position, &subjects, (raw, &line.id, &line.covers), reason)?;
            self.advance(line.position, line.part);
        }
        let reason = Some(reason.to_owned());
        Ok(Applied { reason, parked, ..self.applied(Outcome::Refused) })
    }

    /// The marker moves with the last part of a line.
    fn advance(&mut self, position: Option<u64>, part: Option<(u32, u32)>) {
        let is_last = part.is_none_or(|(part, of)| part >= of);
        let is_last = is_last || planted(Fault::MarkerAtFirstPart);
        if let (Some(position), true, false) = (position, is_last, self.is_ahead) {
            self.moved_to = self.moved_to.max(position);
        }
    }

    fn park(
        &self,
        position: u64,
        subjects: &Subjects<'_>,
        (raw, id, covers): (&[u8], &Option<ChangeId>, &[u64]),
        reason: &str,
    ) -> Result<()> {
        if planted(Fault::FailedLineSkipped) {
            return Ok(());
        }
        let line = (raw, numbers::were_held(self, id.as_ref(), covers)?);
        parked::park(self.store, self.step, self.source, position, subjects, line, reason, self.now)
    }

    fn applied(&self, outcome: Outcome) -> Applied {
        Applied {
            outcome,
            sequence: self.sequence,
            reason: None,
            parked: false,
            written: 0,
            differs: Vec::new(),
        }
    }

    /// Applies one line whole. What it wrote is taken back by the caller if it fails.
    pub(super) fn apply(&mut self, line: &InLine, states: &[Prepared<'_>]) -> Result<Applied> {
        self.only_new = false;
        let numbers = match self.source {
            Source::Parent { .. } if self.is_void(line)? => {
                return Ok(self.applied(Outcome::Already));
            }
            Source::Parent { .. } => None,
            // A record that was asked for by name is part of no change.
            Source::Child { .. } if line.id.is_none() && line.position.is_some() => None,
            Source::Child { site, .. } => {
                let (origin, numbers) = numbers::of(self.step, line)?;
                Some(((site, origin), numbers))
            }
        };
        // What is read carries the latest bodies, and nothing else brings them: it is looked at
        // whatever numbers are held.
        if let Some((from, numbers)) = &numbers
            && self.reading().is_none()
            && !self.has_later
            && received::holds_all(self.step, *from, numbers)?
            && !planted(Fault::TakenTwice)
        {
            self.only_new = received::are_asked_again(self.step, *from, numbers)?;
            if !self.only_new {
                let differs = self.unlike(line, states)?;
                return Ok(Applied { differs, ..self.applied(Outcome::Already) });
            }
        }
        self.expect_listed(line)?;
        let merge = Merge::decide(self, line, states)?;
        let applied = merge.write(self, line)?;
        self.note_listed(line, states)?;
        ahead::note_back(self.step, self.source, line)?;
        if let Source::Parent { feed, sequence, leave, .. } = self.source {
            for record in &line.records {
                match record {
                    InRecord::State { record: Record { reference: name, .. }, .. }
                    | InRecord::Held(name) => {
                        leaves::record_listed(self.step, feed, name, *sequence)?;
                    }
                    InRecord::Left(name) => {
                        let (said, policy) = (*sequence, *leave);
                        leaves::record_left(self.step, feed, name, said, policy, self.now)?;
                    }
                }
            }
        }
        if let Some((from, numbers)) = numbers
            && numbers::are_whole(self, from, line)?
        {
            for number in numbers {
                received::add(self.step, from, number)?;
            }
        }
        Ok(applied)
    }

    /// The records whose state here is another one. A line that is sent again may carry later
    /// bodies than it did: its sender must not take them for held, nor learn by them what became
    /// of records that it has no right to.
    fn unlike(&self, line: &InLine, states: &[Prepared<'_>]) -> Result<Vec<Differing>> {
        let mut unlike = Vec::new();
        for (Prepared { record, .. }, named) in states.iter().zip(bases::named_in(line)) {
            let name = &record.reference;
            let known = match rows::record_row(self.step, name)? {
                Some(known) if self.is_open((name, &known), record.digest, named)? => Some(known),
                Some(_) | None => None,
            };
            let here = known.as_ref().map_or(Digest::of_deletion(name), |known| known.digest);
            if here == record.digest || planted(Fault::DifferenceUnsaid) {
                continue;
            }
            let had = match &known {
                Some(known) => with_short(self.step, known, record.digest.short())?.is_some(),
                None => false,
            };
            unlike.push(Differing { record: name.clone(), digest: here.short(), had });
        }
        Ok(unlike)
    }

    /// Whether the sender has a right to a record.
    fn is_open(
        &self,
        known: (&RecordRef, &RecordRow),
        sent: Digest,
        named: Option<Base>,
    ) -> Result<bool> {
        match self.source {
            Source::Parent { .. } => Ok(true),
            Source::Child { site, .. } => rights::may_change(self.step, site, known, sent, named),
        }
    }

    /// A join says all that the feed holds of its patients: what none of its parts lists of them is
    /// to be asked for.
    fn expect_listed(&self, line: &InLine) -> Result<()> {
        let Source::Parent { feed, sequence, .. } = self.source else { return Ok(()) };
        let begins = line.part.is_none_or(|(part, _)| part == 1);
        if line.kind != EntryKind::Join || !begins {
            return Ok(());
        }
        for patient in &line.patients {
            unlisted::expect(self.step, feed, patient, *sequence)?;
        }
        Ok(())
    }

    /// A record that was fetched by name came without its patient's join. So does a patient whom
    /// the cohort held before there was a record: the join was passed while feeds were compared.
    fn note_listed(&self, line: &InLine, states: &[Prepared<'_>]) -> Result<()> {
        let Source::Parent { feed, sequence, .. } = self.source else { return Ok(()) };
        let position = line.position.unwrap_or(0);
        let is_change = line.kind == EntryKind::Change;
        for Prepared { record, .. } in states {
            let patient = is_change && record.reference.is_patient() && record.body.is_some();
            if position > 0 && !(patient && leaves::is_new(self.step, feed, record, position)?) {
                continue;
            }
            if let Some(row) = rows::record_row(self.step, &record.reference)?
                && !(self.is_retry && leaves::left_since(self.step, feed, row.key)?)
                && let Some(patient) = leaves::listed(self.step, feed, row.key, self.now)?
            {
                let when = (*sequence, self.now);
                markers::compare_rest(self.store, self.step, feed, patient, when)?;
            }
        }
        Ok(())
    }

    /// Joins and leaves: notes who is held now. Gives whether the line is void: a join from
    /// before a leave that was applied already.
    fn is_void(&self, line: &InLine) -> Result<bool> {
        let Source::Parent { feed, leave, .. } = self.source else { return Ok(false) };
        let position = line.position.unwrap_or(0);
        for patient in &line.patients {
            match line.kind {
                EntryKind::Change => {}
                EntryKind::Leave if planted(Fault::LeaveIgnored) => {}
                EntryKind::Join => {
                    if !leaves::joined(self.step, feed, patient, position, self.now)? {
                        return Ok(true);
                    }
                }
                EntryKind::Leave => {
                    leaves::left(self.step, feed, patient, position, *leave, self.now)?;
                }
            }
        }
        Ok(false)
    }

    /// The policies for what came: the parent's, at both ends of the link.
    fn policies(&self) -> Result<Policies> {
        match self.source {
            Source::Parent { .. } => link::policies(self.step),
            Source::Child { site, .. } => sites::policies(self.store, self.step, site),
        }
    }

    fn incoming_side(&self) -> Side {
        if self.is_parent() { Side::Parent } else { Side::Child }
    }
}

/// What a line has to keep its order for: its patients; where it is of none, its records.
#[derive(Default)]
pub(super) struct Subjects<'a> {
    pub(super) patients: BTreeSet<&'a RecordRef>,
    pub(super) records: BTreeSet<&'a RecordRef>,
}

impl<'a> Subjects<'a> {
    fn of(line: &'a InLine) -> Subjects<'a> {
        let states = line.records.iter().filter_map(|record| match record {
            InRecord::State { record, .. } => Some(record),
            InRecord::Held(_) | InRecord::Left(_) => None,
        });
        let of_records = states.clone().flat_map(|record| &record.patients);
        let patients = of_records.chain(&line.patients).collect();
        Subjects { patients, records: states.map(|record| &record.reference).collect() }
    }

    /// Of a line of which only the envelope could be read.
    fn of_envelope(patients: &'a [RecordRef]) -> Subjects<'a> {
        Subjects { patients: patients.iter().collect(), ..Subjects::default() }
    }
}

fn waits(position: u64) -> String {
    format!("waits behind position {position}")
}
