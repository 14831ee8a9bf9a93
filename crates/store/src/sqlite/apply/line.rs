//! One line: what becomes of each of its records, then all of it written as one change, and what
//! the merges came to as a second one.

use std::collections::BTreeSet;

use protocol::conflict;
use protocol::delivery::Outcome;
use protocol::digest::ShortDigest;
use protocol::planted::{Fault, planted};
use protocol::reconcile::{self, Plan};
use protocol::resource::Record;
use protocol::stream::{Base, Differing, InLine};
use protocol::{Author, Digest, RecordRef, Refusal, Timestamp, Urgency};
use rusqlite::{Connection, params};

use super::{Run, bases, rights};
use crate::sqlite::SqliteStore;
use crate::sqlite::body;
use crate::sqlite::conflicts::{Met, Noted, to_write};
use crate::sqlite::journal::{self, NewChange, Way};
use crate::sqlite::offer;
use crate::sqlite::prepared::{Prepared, State};
use crate::sqlite::replaced::{self, Meeting, Through};
use crate::sqlite::rows::{self, RecordRow};
use crate::{Applied, Result, Source};

/// Who made what a merge came to; counted by `site_status`.
const MERGE_AUTHOR: &str = "tributary";

/// What is to be done with a line.
#[derive(Default)]
pub(super) struct Merge<'a> {
    /// States to be written as they came.
    taken: Vec<State<'a>>,
    /// What merges came to, to be written after them.
    results: Vec<MergeResult>,
    /// Records whose state here stays another one.
    differs: Vec<Differing>,
    /// Of records that are new here: the version that a child says to have made its state from.
    below: Vec<(&'a RecordRef, ShortDigest)>,
    /// Records of which the parent holds less than this site.
    apart: Vec<&'a RecordRef>,
}

struct MergeResult {
    record: Record,
    incoming: Digest,
    /// `None` where no element is in conflict.
    noted: Option<Noted>,
}

impl<'a> Merge<'a> {
    pub(super) fn decide(
        run: &Run<'_>,
        line: &'a InLine,
        states: &'a [Prepared<'a>],
    ) -> Result<Merge<'a>> {
        let mut merge = Merge::default();
        let mut seen = BTreeSet::new();
        for prepared in states {
            if !seen.insert(&prepared.record.reference) {
                let name = &prepared.record.reference;
                return Err(Refusal::invalid(format!("{name} stands twice in one line")).into());
            }
        }
        // Who was replaced by whom counts for the other records of the line.
        let (patients, others): (Vec<_>, Vec<_>) = states
            .iter()
            .zip(bases::named_in(line))
            .partition(|(state, _)| state.record.reference.is_patient());
        for (prepared, base) in patients {
            merge.decide_one(run, prepared, base, line)?;
        }
        if !others.is_empty() {
            let results = merge.results.iter().map(|result| &result.record);
            let came = merge.taken.iter().map(|state| state.prepared.record);
            let said = came.filter(|record| !merge.has_result(record)).chain(results);
            replaced::announce(run.store, run.step, (run.way, run.now), said)?;
        }
        for (prepared, base) in others {
            merge.decide_one(run, prepared, base, line)?;
        }
        Ok(merge)
    }

    fn has_result(&self, record: &Record) -> bool {
        self.results.iter().any(|result| result.record.reference == record.reference)
    }

    /// Whether a state may be looked at further; refuses what a child may not do.
    fn may_go_on(
        &mut self,
        run: &Run<'_>,
        known: &RecordRow,
        prepared: &Prepared<'_>,
        (named, line): (Option<Base>, &InLine),
    ) -> Result<bool> {
        let Source::Child { site, .. } = run.source else { return Ok(true) };
        let (name, incoming) = (&prepared.record.reference, prepared.record.digest);
        if line.id.is_none() && !rights::may_change(run.step, site, (name, known), incoming, named)?
        {
            // It was asked for by name when records were compared: nobody there has sent it.
            return Ok(false);
        }
        let again = bases::is_again(incoming, named) && incoming != known.digest;
        if again && !rights::may_change(run.step, site, (name, known), incoming, named)? {
            // It changed nothing, and by now it is not for it to know more.
            let digest = Digest::of_deletion(name).short();
            self.differs.push(Differing { record: name.clone(), digest, had: false });
            return Ok(false);
        }
        rights::check(run.step, site, (name, known), incoming, named)?;
        if run.only_new {
            self.stays(run, known, prepared)?;
        }
        Ok(!run.only_new)
    }

    fn decide_one(
        &mut self,
        run: &Run<'_>,
        prepared: &'a Prepared<'a>,
        named: Option<Base>,
        line: &'a InLine,
    ) -> Result<()> {
        let patients = &line.patients[..];
        let since = named.and_then(|base| base.since);
        let parent_sequence = match run.source {
            Source::Parent { sequence, .. } => Some(*sequence),
            Source::Child { .. } => None,
        };
        let Some(known) = rows::record_row(run.step, &prepared.record.reference)? else {
            let below = named.filter(|_| !run.is_parent()).and_then(|base| base.digest);
            self.below.extend(below.map(|digest| (&prepared.record.reference, digest)));
            self.taken.push(State { prepared, known: None, parent_sequence, patients, since });
            return Ok(());
        };
        if parent_sequence.is_some_and(|sequence| sequence < known.parent_sequence) {
            // We have heard something newer of this record: the stream was on its way before it.
            return Ok(());
        }
        let (name, incoming) = (&prepared.record.reference, prepared.record.digest);
        if !self.may_go_on(run, &known, prepared, (named, line))? {
            return Ok(());
        }
        let base = bases::of(run.step, run.way, (&known, incoming), named)?;
        let plan = plan(run, prepared, &known, base, line.at)?;
        if let (Through::Plan(Plan::AlreadyHave | Plan::KeepLocal), Some(sequence)) =
            (&plan, parent_sequence)
        {
            agree(run, &known, incoming, sequence)?;
            self.apart.extend((known.digest != incoming).then_some(name));
        }
        let plan = match plan {
            Through::Plan(plan) => plan,
            Through::StaysDeleted => {
                let record = Record::deleted(name.clone());
                self.result((prepared, known, record), None, (parent_sequence, since, patients));
                return Ok(());
            }
        };
        let (contested, body) = match plan {
            Plan::AlreadyHave => return Ok(()),
            Plan::KeepLocal => {
                self.differs.push(stands(name, known.digest));
                return Ok(());
            }
            Plan::TakeIncoming => {
                self.taken.push(State {
                    prepared,
                    known: Some(known),
                    parent_sequence,
                    patients: &[],
                    since,
                });
                return Ok(());
            }
            Plan::Merged { body } => (None, body),
            Plan::Conflict { body, elements } => (Some(elements), body),
        };
        let record = Record::parse(body.as_bytes(), &run.store.options.limits)?;
        let contested = contested.filter(|_| !planted(Fault::ConflictUnnoted));
        let noted = contested.map(|found| noted(run, (prepared, &known, base), found, &record));
        let noted = noted.transpose()?;
        self.result((prepared, known, record), noted, (parent_sequence, since, patients));
        Ok(())
    }

    /// What stands here is not touched, and the sender is told where it is another state.
    fn stays(&mut self, run: &Run<'_>, known: &RecordRow, sent: &Prepared<'_>) -> Result<()> {
        let record = &sent.record;
        if known.digest != record.digest {
            let had = bases::with_short(run.step, known, record.digest.short())?.is_some();
            self.differs.push(Differing { had, ..stands(&record.reference, known.digest) });
        }
        Ok(())
    }

    /// What came is written as it came, and after it what the merge came to.
    fn result(
        &mut self,
        (prepared, known, record): (&'a Prepared<'a>, RecordRow, Record),
        noted: Option<Noted>,
        (parent_sequence, since, patients): (Option<u64>, Option<u64>, &'a [RecordRef]),
    ) {
        let incoming = prepared.record.digest;
        self.results.push(MergeResult { record, incoming, noted });
        let known = Some(known);
        self.taken.push(State { prepared, known, parent_sequence, patients, since });
    }

    /// Writes it all; gives what became of the line.
    pub(super) fn write(self, run: &mut Run<'_>, line: &InLine) -> Result<Applied> {
        let Merge { taken, results, mut differs, below, apart } = self;
        if !taken.is_empty() {
            let author = line.author.clone().unwrap_or_else(|| Author::new(&run.actor));
            let change = NewChange {
                id: line.id.as_ref(),
                way: run.way,
                author: &author,
                at: line.at.unwrap_or(run.now),
                now: run.now,
                actor: &run.actor,
                lane: Urgency::Normal,
            };
            run.sequence = journal::write_alone(run.store, run.step, &change, &taken)?;
        }
        for (name, base) in below {
            bases::note_below(run.step, name, base)?;
        }
        write_results(run, &results)?;
        for result in &results {
            if result.record.digest != result.incoming {
                differs.push(stands(&result.record.reference, result.record.digest));
            }
        }
        let moved = follow(run, &taken, &results)?;
        let followed = !moved.is_empty();
        differs.extend(moved);
        if !apart.is_empty() {
            offer::if_apart(run.store, run.step, apart, run.now)?;
            run.sequence = rows::site_sequence(run.step)?;
        }
        let conflicts = results.iter().filter_map(|result| {
            let elements = &result.noted.as_ref()?.conflict.elements;
            let paths = elements.iter().map(|element| element.path.as_str());
            Some(format!("{}: {}", result.record.reference, paths.collect::<Vec<_>>().join(", ")))
        });
        let reason = conflicts.collect::<Vec<_>>().join("; ");
        let outcome = if !reason.is_empty() {
            Outcome::Conflict
        } else if followed || !results.is_empty() {
            Outcome::Merged
        } else if taken.is_empty() {
            Outcome::Already
        } else {
            Outcome::Applied
        };
        let written = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        let reason = (!reason.is_empty()).then_some(reason);
        Ok(Applied { reason, written, differs, ..run.applied(outcome) })
    }
}

/// What came was merged, or is known, and this site holds another state.
fn stands(name: &RecordRef, digest: Digest) -> Differing {
    Differing { record: name.clone(), digest: digest.short(), had: true }
}

/// Asks `reconcile`. Where digests alone decide, it is spared the bodies.
fn plan(
    run: &Run<'_>,
    prepared: &Prepared<'_>,
    known: &RecordRow,
    base: Option<bases::Base>,
    made: Option<Timestamp>,
) -> Result<Through> {
    let incoming = prepared.record.digest;
    if known.digest == incoming {
        // Both may have come to the same by ways of their own, in another order of elements. The
        // bytes of the parent's side stand: the child is told, and asks for them.
        let body = prepared.record.body.as_ref();
        let same = body_of(run, known.key, known.sequence)?.as_ref() == body;
        return Ok(Through::Plan(match (same, run.is_parent()) {
            (true, _) => Plan::AlreadyHave,
            (false, true) => Plan::TakeIncoming,
            (false, false) => Plan::KeepLocal,
        }));
    }
    match base {
        Some((_, digest)) if digest == known.digest => {
            return Ok(Through::Plan(Plan::TakeIncoming));
        }
        Some((_, digest)) if digest == incoming => {
            let again = planted(Fault::TakenTwice) && !run.is_parent();
            let plan = if again { Plan::TakeIncoming } else { Plan::KeepLocal };
            return Ok(Through::Plan(plan));
        }
        _ => {}
    }
    let base_body = match base {
        Some((sequence, _)) => body_of(run, known.key, sequence)?,
        None => None,
    };
    let local_body = body_of(run, known.key, known.sequence)?;
    if conflict::is_name(&prepared.record.reference) {
        let (local, incoming) = (local_body.as_deref(), prepared.record.body.as_deref());
        return Ok(Through::Plan(conflict::meet(local, incoming, run.incoming_side())));
    }
    let policies = run.policies()?;
    let local_made = match policies.ask_for_times() {
        true => Some(made_at(run, known.sequence)?),
        false => None,
    };
    let state = |digest, body| reconcile::State { digest, body, at: None };
    let base = base.map(|(_, digest)| state(digest, base_body.as_deref()));
    let local = reconcile::State { at: local_made, ..state(known.digest, local_body.as_deref()) };
    let body = prepared.record.body.as_deref();
    let incoming = reconcile::State { at: made, ..state(incoming, body) };
    let (name, side) = (&prepared.record.reference, run.incoming_side());
    let meeting = Meeting { name, base, local, incoming, side };
    replaced::reconcile_through(run.store, run.step, &meeting, &policies)
}

/// When a change was made, by the clock of its site.
fn made_at(run: &Run<'_>, sequence: u64) -> Result<Timestamp> {
    let mut statement = run.step.prepare_cached("SELECT at FROM change WHERE sequence = ?1")?;
    Ok(statement.query_row([sequence], |row| rows::time(row, 0))?)
}

/// What a merge to `result` found in conflict, with the sites between which the states met.
fn noted(
    run: &Run<'_>,
    (prepared, known, base): (&Prepared<'_>, &RecordRow, Option<bases::Base>),
    contested: Vec<reconcile::Contested>,
    result: &Record,
) -> Result<Noted> {
    let incoming = (prepared.record.digest, prepared.record.body.clone());
    let local = (known.digest, body_of(run, known.key, known.sequence)?);
    let own = rows::own_site(run.step)?;
    let (sites, parent, child) = match run.source {
        Source::Parent { site, .. } => ((site.clone(), own), incoming, local),
        Source::Child { site, .. } => ((own, site.clone()), local, incoming),
    };
    let base = match base {
        Some((sequence, digest)) => Some((digest, body_of(run, known.key, sequence)?)),
        None => None,
    };
    let elements = contested
        .into_iter()
        .map(|element| conflict::Contested { path: element.path, rule: element.rule.to_owned() });
    let met = Met { sites, base, parent, child, elements: elements.collect() };
    Noted::of(met, result, &run.store.options.limits)
}

fn body_of(run: &Run<'_>, record: i64, sequence: u64) -> Result<Option<String>> {
    let bytes: Option<Vec<u8>> = run
        .step
        .prepare_cached("SELECT body FROM version WHERE record = ?1 AND sequence = ?2")?
        .query_row(params![record, sequence], |row| row.get(0))?;
    bytes.as_deref().map(body::decode).transpose()
}

/// Notes what the parent holds, where nothing is written otherwise.
fn agree(run: &Run<'_>, known: &RecordRow, digest: Digest, sequence: u64) -> Result<()> {
    if known.parent_digest == Some(digest) && known.parent_sequence == sequence {
        return Ok(());
    }
    run.step
        .prepare_cached(
            "UPDATE record SET parent_digest = ?2, parent_sequence = ?3 WHERE key = ?1",
        )?
        .execute(params![known.key, digest.0, sequence])?;
    Ok(())
}

/// Writes what the merges came to as a change of our own, with the conflicts that they found.
/// Results that came to what was sent have no part in it.
fn write_results(run: &mut Run<'_>, results: &[MergeResult]) -> Result<()> {
    let changed = results.iter().filter(|result| result.record.digest != result.incoming);
    let records: Vec<&Record> = changed.map(|result| &result.record).collect();
    let noted: Vec<&Noted> = results.iter().filter_map(|result| result.noted.as_ref()).collect();
    if let Some(sequence) = write_merged(run.store, run.step, (&records, &noted), run.now)? {
        run.sequence = sequence;
    }
    Ok(())
}

/// Writes what merges came to, with the conflicts that they found, as a change of our own; gives
/// its sequence, where there was something to write.
pub(in crate::sqlite) fn write_merged(
    store: &SqliteStore,
    step: &Connection,
    (records, noted): (&[&Record], &[&Noted]),
    now: Timestamp,
) -> Result<Option<u64>> {
    let mut conflicts = Vec::new();
    for noted in noted {
        conflicts.extend(to_write(step, noted, &store.options.limits)?);
    }
    let written = records.iter().copied().chain(&conflicts);
    let prepared = written.map(Prepared::of).collect::<Result<Vec<_>>>()?;
    if prepared.is_empty() {
        return Ok(None);
    }
    let mut states = Vec::with_capacity(prepared.len());
    for prepared in &prepared {
        let known = rows::record_row(step, &prepared.record.reference)?;
        states.push(State { prepared, known, parent_sequence: None, patients: &[], since: None });
    }
    let author = Author::new(MERGE_AUTHOR);
    let change = NewChange {
        id: None,
        way: Way::Here,
        author: &author,
        at: now,
        now,
        actor: MERGE_AUTHOR,
        lane: Urgency::Normal,
    };
    let sequence = journal::write_alone(store, step, &change, &states)?;
    replaced::follow(store, step, (Way::Here, now), &states)?;
    Ok(Some(sequence))
}

/// What came and refers to a patient who was replaced follows it; gives the records of which this
/// site holds another state for that.
fn follow(
    run: &mut Run<'_>,
    taken: &[State<'_>],
    results: &[MergeResult],
) -> Result<Vec<Differing>> {
    replaced::follow(run.store, run.step, (run.way, run.now), taken)?;
    let newest = rows::site_sequence(run.step)?;
    if newest == run.sequence {
        return Ok(Vec::new());
    }
    run.sequence = newest;
    let mut moved = Vec::new();
    for Prepared { record, .. } in taken.iter().map(|state| state.prepared) {
        let here = rows::record_row(run.step, &record.reference)?.map(|row| row.digest);
        let result = results.iter().any(|result| result.record.reference == record.reference);
        if let Some(here) = here.filter(|here| !result && *here != record.digest) {
            moved.push(stands(&record.reference, here));
        }
    }
    Ok(moved)
}
