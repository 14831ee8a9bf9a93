//! Sending what the parent does not hold yet (push mode B). A transport failure consumes nothing;
//! only the parent's own word on a line settles it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::delivery::Outcome;
use protocol::planted::{Fault, planted};
use protocol::stream::{self, Lines, OutLine, OutcomeLine};
use protocol::{ChangeId, Refusal, Urgency};
use store::{PushLine, Settled};

use crate::http::sync::status::ParentView;
use crate::jobs::link::{Link, ours, refused};
use crate::jobs::speed::{Size, Way};
use crate::ports::{LinkError, Response};
use crate::site::Site;
use crate::wire::{self, Coding};

/// The longest outcome line: it may name every record of a change.
const OUTCOME_BYTES: usize = 1 << 20;

/// What became of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Pushed {
    /// Changes that the parent holds now.
    pub taken: u64,
    /// Changes that it refused or put off.
    pub not_taken: u64,
}

/// Sends one batch, if there is one.
pub async fn step(
    site: &Site,
    link: &Link,
    view: &ParentView,
) -> Result<Option<Pushed>, LinkError> {
    let lines = next_lines(site, link).await?;
    // A request that has something of a lane counts for the least urgent in it.
    let lane = lines.iter().map(|line| line.lane).max().unwrap_or_default();
    let most = link.portion(site, (Way::Up, lane));
    if lines.is_empty() {
        return Ok(None);
    }
    if planted(Fault::DoneWhenSent) {
        write(site, lines.iter().map(done).collect()).await?;
    }
    let same_dictionary = view.dictionary == wire::dictionary_name();
    let coding = if same_dictionary { Coding::Dcz } else { Coding::Zstd };
    let mut pushed = Pushed::default();
    let requests = texts(&lines, most);
    let mut waiting = Waiting::of(lines);
    for text in requests {
        let begun = link.meter(site);
        let sent = send(site, link, &mut waiting, (Bytes::from(text), coding)).await;
        let done = sent.map_err(|(error, size)| {
            link.broke(site, (Way::Up, lane), begun, size);
            error
        })?;
        link.measured(site, (Way::Up, lane), begun, done.taken + done.not_taken);
        pushed.add(done);
    }
    match waiting.lines.len() {
        0 => Ok(Some(pushed)),
        count => Err(LinkError(format!(
            "the parent answered without a word on {count} of the changes sent"
        ))),
    }
}

/// The lines of the next request: of the lanes that may move now, about as much as the link is good
/// for.
pub(super) async fn next_lines(site: &Site, link: &Link) -> Result<Vec<PushLine>, LinkError> {
    let now = site.now();
    let open = link.gate().open(now);
    // Nobody waits for what is bulk: it does not make a request of others longer.
    let (bulk, first) = open.into_iter().partition::<Vec<_>, _>(|lane| *lane == Urgency::Bulk);
    let lane = first.iter().copied().max().unwrap_or_default();
    let most = link.portion(site, (Way::Up, lane));
    let most_bulk = link.portion(site, (Way::Up, Urgency::Bulk));
    let found = site.read(move |store| {
        let lines = store.delivery_next_of(now, most, &first)?;
        match lines.is_empty() && !bulk.is_empty() {
            true => store.delivery_next_of(now, most_bulk, &bulk),
            false => Ok(lines),
        }
    });
    found.await.map_err(|error| ours(&error))
}

/// One request. An error says also what is to be learnt of how much it was.
async fn send(
    site: &Site,
    link: &Link,
    waiting: &mut Waiting,
    (text, coding): (Bytes, Coding),
) -> Result<Pushed, (LinkError, Size)> {
    let broke = |error| (error, Size::Broke);
    let response = link.post(site, "/sync/changes", text, coding).await.map_err(broke)?;
    if response.status != StatusCode::OK {
        let status = response.status;
        let text = link.text(response).await.unwrap_or_default();
        return Err((refused(status, &text), Size::of(status)));
    }
    settle(site, link, waiting, response).await.map_err(broke)
}

/// The texts of the requests that lines go in, each of about `most` bytes. A line that is too long
/// for one request goes in several, part by part.
fn texts(lines: &[PushLine], most: usize) -> Vec<String> {
    let mut texts = vec![String::new()];
    for part in lines.iter().flat_map(|line| &line.lines) {
        let mut text = String::new();
        stream::write_line(&mut text, part);
        match texts.last_mut() {
            Some(last) if last.is_empty() || last.len() + text.len() <= most => {
                last.push_str(&text);
            }
            _ => texts.push(text),
        }
    }
    texts
}

/// A line that is done before the parent said a word.
fn done(line: &PushLine) -> Settled {
    let (deliveries, sent) = (line.deliveries.clone(), line.sent.clone());
    let (outcome, differs) = (Outcome::Applied, Vec::new());
    Settled { deliveries, sent, differs, outcome, reason: None, sequence: 0 }
}

/// Takes the outcomes as they come; what has none at the end stays as it was.
async fn settle(
    site: &Site,
    link: &Link,
    waiting: &mut Waiting,
    mut response: Response,
) -> Result<Pushed, LinkError> {
    let mut decoder = link.decoder(&response, u64::MAX)?;
    let mut outcomes = Lines::new(OUTCOME_BYTES);
    let mut pushed = Pushed::default();
    while let Some(bytes) = response.body.next().await {
        let step = bytes.and_then(|bytes| {
            let text = decoder.push(&bytes).map_err(unreadable)?;
            link.count_received(bytes.len(), text.len());
            outcomes.push(&text);
            waiting.take(&mut outcomes)
        });
        let settled = step?;
        if settled.iter().any(|word| word.outcome.is_held()) {
            link.note_progress();
        }
        pushed.add(write(site, settled).await?);
    }
    Ok(pushed)
}

impl Pushed {
    pub(super) fn add(&mut self, other: Pushed) {
        self.taken += other.taken;
        self.not_taken += other.not_taken;
    }
}

/// Settles what there is a word on.
pub(super) async fn write(site: &Site, settled: Vec<Settled>) -> Result<Pushed, LinkError> {
    let mut pushed = Pushed::default();
    if settled.is_empty() {
        return Ok(pushed);
    }
    for line in &settled {
        let changes = line.deliveries.len() as u64;
        if line.outcome.is_held() { pushed.taken += changes } else { pushed.not_taken += changes }
    }
    let (now, jitter) = (site.now(), site.entropy().number());
    site.write(move |store| store.delivery_settle(&settled, now, jitter))
        .await
        .map_err(|error| ours(&error))?;
    Ok(pushed)
}

/// The lines that were sent and have no outcome yet.
struct Waiting {
    lines: BTreeMap<ChangeId, PushLine>,
    /// The worst outcome of the parts of a line so far.
    parts: BTreeMap<ChangeId, OutcomeLine>,
}

impl Waiting {
    fn of(lines: Vec<PushLine>) -> Waiting {
        let named = lines.into_iter().filter_map(|line| {
            let id = line.lines.first()?.id.clone()?;
            Some((id, line))
        });
        Waiting { lines: named.collect(), parts: BTreeMap::new() }
    }

    fn take(&mut self, outcomes: &mut Lines) -> Result<Vec<Settled>, LinkError> {
        let mut settled = Vec::new();
        while let Some(line) = outcomes.next_line().map_err(unreadable)? {
            if let Some(problem) = problem_of(&line) {
                return Err(LinkError(format!("the parent stopped reading: {problem}")));
            }
            let outcome = stream::read_outcome(&line).map_err(unreadable)?;
            settled.extend(self.outcome(outcome));
        }
        Ok(settled)
    }

    /// A line in parts is settled by its last part, and is no better than its worst one.
    fn outcome(&mut self, outcome: OutcomeLine) -> Option<Settled> {
        let id = outcome.id.clone();
        let last = outcome.part.is_none_or(|(part, parts)| part >= parts);
        let outcome = match self.parts.remove(&id) {
            Some(before) if !before.outcome.is_held() => before,
            Some(mut before) => {
                before.differs.extend(outcome.differs);
                OutcomeLine { differs: before.differs, ..outcome }
            }
            None => outcome,
        };
        if !last {
            let settled = self.lines.get(&id).and_then(|line| part_settled(line, &outcome));
            self.parts.insert(id, outcome);
            return settled;
        }
        let line = self.lines.remove(&id)?;
        Some(Settled {
            deliveries: line.deliveries,
            sent: line.sent,
            differs: outcome.differs,
            outcome: outcome.outcome,
            reason: outcome.reason.or_else(|| default_reason(outcome.outcome)),
            sequence: outcome.sequence,
        })
    }
}

/// What a part of a line that was taken has settled: its records are not sent again if the rest
/// does not get through. The changes are settled by the last part.
fn part_settled(line: &PushLine, outcome: &OutcomeLine) -> Option<Settled> {
    let index = outcome.part.map(|(part, _)| part as usize).filter(|part| *part > 0)? - 1;
    if !outcome.outcome.is_held() || outcome.outcome == Outcome::Already {
        return None;
    }
    let count = |lines: &[OutLine]| lines.iter().map(|line| line.records.len()).sum::<usize>();
    let (from, to) = (count(line.lines.get(..index)?), count(line.lines.get(..=index)?));
    // One state was sent for each record, in the same order.
    let sent = line.sent.get(from..to).filter(|_| line.sent.len() == count(&line.lines))?;
    Some(Settled {
        deliveries: Vec::new(),
        sent: sent.to_vec(),
        differs: outcome.differs.clone(),
        outcome: outcome.outcome,
        reason: None,
        sequence: outcome.sequence,
    })
}

fn default_reason(outcome: Outcome) -> Option<String> {
    (!outcome.is_held()).then(|| "the parent gave no reason".to_owned())
}

fn problem_of(line: &[u8]) -> Option<String> {
    let value: serde_json::Value = serde_json::from_slice(line).ok()?;
    value.get("problem").and_then(|problem| problem.as_str().map(str::to_owned))
}

fn unreadable(refusal: Refusal) -> LinkError {
    LinkError(format!("the parent's answer cannot be read: {refusal}"))
}

#[cfg(test)]
mod tests {
    use protocol::feed::EntryKind;
    use protocol::stream::OutRecord;
    use protocol::{Digest, RecordRef, Urgency};

    use super::*;

    fn name(number: u8) -> RecordRef {
        format!("Observation/o{number}").parse().unwrap()
    }

    /// A line of four records, two in each of its parts.
    fn in_two_parts() -> PushLine {
        let epoch = protocol::Epoch::from_bytes([7; 16]);
        let id = ChangeId { origin: "clinic".parse().unwrap(), epoch, number: 3 };
        let part = |part: u32| OutLine {
            position: None,
            kind: EntryKind::Change,
            id: Some(id.clone()),
            covers: Vec::new(),
            part: Some((part, 2)),
            author: None,
            at: None,
            patients: Vec::new(),
            reason: None,
            records: (0..2)
                .map(|_| OutRecord::Resource {
                    reference: name(1),
                    body: "{}".to_owned(),
                    digest: Digest([0; 32]),
                    base: None,
                })
                .collect(),
        };
        let sent = (1..=4).map(|number| (name(number), Digest([number; 32]))).collect();
        PushLine { lines: vec![part(1), part(2)], deliveries: vec![9], sent, lane: Urgency::Normal }
    }

    fn word(part: u32, outcome: Outcome) -> OutcomeLine {
        let id = in_two_parts().lines[0].id.clone().unwrap();
        let (reason, differs) = (None, Vec::new());
        OutcomeLine { id, part: Some((part, 2)), outcome, reason, sequence: 40, differs }
    }

    #[test]
    fn the_changes_of_a_line_are_settled_by_its_last_part_and_records_by_theirs() {
        use Outcome::{Already, Applied, Refused};
        // The words on both parts; what the first settles, and the outcome of the changes.
        for (words, first, last) in [
            ([Applied, Applied], Some(vec![name(1), name(2)]), Applied),
            ([Refused, Applied], None, Refused),
            ([Applied, Refused], Some(vec![name(1), name(2)]), Refused),
            ([Already, Already], None, Already),
        ] {
            let mut waiting = Waiting::of(vec![in_two_parts()]);
            let settled = waiting.outcome(word(1, words[0]));
            let names = settled.map(|settled| {
                assert!(settled.deliveries.is_empty());
                settled.sent.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
            });
            assert_eq!(names, first, "{words:?}");
            let settled = waiting.outcome(word(2, words[1])).unwrap();
            assert_eq!((settled.deliveries, settled.outcome), (vec![9], last), "{words:?}");
            assert_eq!(settled.sent.len(), 4);
        }
    }

    #[test]
    fn lines_are_cut_into_requests_between_parts() {
        let line = in_two_parts();
        let mut one = String::new();
        stream::write_line(&mut one, &line.lines[0]);
        for (most, requests) in [(1, 4), (one.len(), 4), (2 * one.len(), 2), (usize::MAX, 1)] {
            let texts = texts(&[line.clone(), line.clone()], most);
            assert_eq!(texts.len(), requests, "{most}");
            assert_eq!(texts.concat().matches('\n').count(), 4, "each part once");
        }
    }
}
