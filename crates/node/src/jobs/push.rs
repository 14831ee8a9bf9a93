//! Sending what the parent does not hold yet (push mode B). A transport failure consumes nothing;
//! only the parent's own word on a line settles it.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use bytes::Bytes;
use futures::StreamExt as _;
use protocol::delivery::Outcome;
use protocol::planted::{Fault, planted};
use protocol::stream::{self, Lines, OutcomeLine};
use protocol::{ChangeId, Refusal};
use store::{PushLine, Settled};

use crate::http::sync::status::ParentView;
use crate::jobs::link::{Link, ours, refused};
use crate::ports::{LinkError, Response};
use crate::site::Site;
use crate::wire::{self, Coding};

/// Bytes of text in one request: some 60 kB on the wire.
const BATCH_BYTES: usize = 1 << 20;
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
    let now = site.now();
    let lines = site
        .read(move |store| store.delivery_next(now, BATCH_BYTES))
        .await
        .map_err(|error| ours(&error))?;
    if lines.is_empty() {
        return Ok(None);
    }
    let mut text = String::new();
    for line in lines.iter().flat_map(|line| &line.lines) {
        stream::write_line(&mut text, line);
    }
    if planted(Fault::DoneWhenSent) {
        write(site, lines.iter().map(done).collect()).await?;
    }
    let same_dictionary = view.dictionary == wire::dictionary_name();
    let coding = if same_dictionary { Coding::Dcz } else { Coding::Zstd };
    let response = link.post(site, "/sync/changes", Bytes::from(text), coding).await?;
    if response.status != StatusCode::OK {
        let status = response.status;
        let text = link.text(response).await.unwrap_or_default();
        return Err(refused(status, &text));
    }
    settle(site, link, lines, response).await.map(Some)
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
    lines: Vec<PushLine>,
    mut response: Response,
) -> Result<Pushed, LinkError> {
    let mut decoder = link.decoder(&response, u64::MAX)?;
    let mut outcomes = Lines::new(OUTCOME_BYTES);
    let mut waiting = Waiting::of(lines);
    let mut pushed = Pushed::default();
    let mut failure = None;
    while let Some(bytes) = response.body.next().await {
        let step = bytes.and_then(|bytes| {
            let text = decoder.push(&bytes).map_err(unreadable)?;
            link.count_received(bytes.len(), text.len());
            outcomes.push(&text);
            waiting.take(&mut outcomes)
        });
        match step {
            Ok(settled) => {
                let step = write(site, settled).await?;
                if step.taken > 0 {
                    link.note_progress();
                }
                pushed.add(step);
            }
            Err(error) => {
                failure = Some(error);
                break;
            }
        }
    }
    match failure {
        Some(error) => Err(error),
        None if waiting.lines.is_empty() => Ok(pushed),
        None => Err(LinkError(format!(
            "the parent answered without a word on {} of the changes sent",
            waiting.lines.len()
        ))),
    }
}

impl Pushed {
    fn add(&mut self, other: Pushed) {
        self.taken += other.taken;
        self.not_taken += other.not_taken;
    }
}

async fn write(site: &Site, settled: Vec<Settled>) -> Result<Pushed, LinkError> {
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
        if let (Outcome::Already, Some(line)) = (outcome.outcome, self.lines.get_mut(&id)) {
            // The changes were held before; later bodies of their records may not be.
            line.sent.retain(|(name, _)| !outcome.differs.iter().any(|(other, _)| other == name));
        }
        let outcome = match self.parts.remove(&id) {
            Some(before) if !before.outcome.is_held() => before,
            _ => outcome,
        };
        if !last {
            self.parts.insert(id, outcome);
            return None;
        }
        let mut line = self.lines.remove(&id)?;
        if outcome.outcome == Outcome::Already {
            // What it had already may be older than what was sent with the line this time.
            line.sent
                .retain(|(record, _)| outcome.differs.iter().all(|(other, _)| other != record));
        }
        Some(Settled {
            deliveries: line.deliveries,
            sent: line.sent,
            differs: outcome.differs.into_iter().map(|(record, _)| record).collect(),
            outcome: outcome.outcome,
            reason: outcome.reason.or_else(|| default_reason(outcome.outcome)),
            sequence: outcome.sequence,
        })
    }
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
