//! From lines of the queue to what the server took of them: what is refused as a whole is cut in
//! halves until the culprit is alone.

use std::collections::BTreeSet;

use protocol::RecordRef;
use protocol::delivery::Outcome;
use protocol::stream::OutRecord;
use store::{PushLine, Settled};

use super::Foreign;
use super::send::{Fate, Sent, one_by_one, send};
use crate::config::FhirWay;
use crate::fhir_server::FhirError;
use crate::jobs::push::{Pushed, write};
use crate::jobs::speed::{Size, Way};
use crate::ports::LinkError;
use crate::site::Site;

/// Requests in a row that fail without a clear word and without any that gets through, after which
/// it is the server that fails, and not a record.
const UNCLEAR: usize = 24;

/// Delivers lines; gives how many changes the server took and refused. An error means that the link
/// or the server failed: what was not settled by then waits as before.
pub(super) async fn all(
    site: &Site,
    foreign: &Foreign,
    way: FhirWay,
    lines: Vec<PushLine>,
) -> Result<Pushed, FhirError> {
    let portions = match way {
        FhirWay::Transaction | FhirWay::Offered => apart(lines),
        FhirWay::Message | FhirWay::Put => lines.into_iter().map(|line| vec![line]).collect(),
    };
    let mut delivery = Delivery {
        site,
        foreign,
        way,
        waiting: portions.into_iter().rev().collect(),
        doubts: Vec::new(),
        unclear: 0,
        through: false,
        pushed: Pushed::default(),
    };
    delivery.run().await?;
    Ok(delivery.pushed)
}

/// Lines in portions in which no record stands twice: a transaction must not name one twice.
fn apart(lines: Vec<PushLine>) -> Vec<Vec<PushLine>> {
    let mut portions: Vec<(BTreeSet<RecordRef>, Vec<PushLine>)> = Vec::new();
    for line in lines {
        let names: BTreeSet<_> = line.sent.iter().map(|(record, _)| record.clone()).collect();
        // Only the last: what comes later must not come before what it follows.
        match portions.last_mut() {
            Some((known, portion)) if known.is_disjoint(&names) => {
                known.extend(names);
                portion.push(line);
            }
            _ => portions.push((names, vec![line])),
        }
    }
    portions.into_iter().map(|(_, portion)| portion).collect()
}

struct Delivery<'a> {
    site: &'a Site,
    foreign: &'a Foreign,
    way: FhirWay,
    /// What is still to be sent, the next last.
    waiting: Vec<Vec<PushLine>>,
    /// Lines at which the server failed when they were alone, and how.
    doubts: Vec<(PushLine, String)>,
    /// Failures without a clear word since something got through.
    unclear: usize,
    /// Whether the server took anything.
    through: bool,
    pushed: Pushed,
}

impl Delivery<'_> {
    async fn run(&mut self) -> Result<(), FhirError> {
        while let Some(portion) = self.waiting.pop() {
            self.foreign.unless_paused(self.site).await?;
            let sent = self.measured(&portion).await;
            self.take(portion, sent).await?;
        }
        self.settle_doubts().await
    }

    async fn take(&mut self, mut portion: Vec<PushLine>, sent: Sent) -> Result<(), FhirError> {
        let Sent { fates, done } = sent;
        let error = match fates {
            Ok(fates) => return self.settle(portion, fates).await,
            Err(error) => error,
        };
        if let Some(line) = portion.first()
            && !done.is_empty()
        {
            // Records that the server took before it failed at another are not sent again.
            let part = Settled { deliveries: Vec::new(), sent: done, ..held(line) };
            self.through = true;
            self.note(vec![part]).await?;
        }
        if matches!(error, FhirError::Away { .. }) {
            return Err(error);
        }
        if matches!(error, FhirError::Unclear(_)) {
            self.unclear += 1;
            if !self.through && self.unclear >= UNCLEAR {
                return Err(LinkError(error.to_string()).into());
            }
        }
        if portion.len() > 1 {
            let second = portion.split_off(portion.len() / 2);
            let mut halves = [second, portion];
            // Where nothing gets through it is tried at another place each time.
            if !self.through && self.site.entropy().number().is_multiple_of(2) {
                halves.swap(0, 1);
            }
            self.waiting.extend(halves);
            return Ok(());
        }
        let Some(line) = portion.pop() else { return Ok(()) };
        match error {
            // It failed at this one before, when others got through.
            FhirError::Unclear(why) if !self.is_doubted(&line) => {
                self.doubts.push((line, why));
                Ok(())
            }
            refused => self.settle(vec![line], vec![Fate::Refused(refused.to_string())]).await,
        }
    }

    fn is_doubted(&self, line: &PushLine) -> bool {
        let doubted = self.foreign.doubted();
        line.deliveries.iter().any(|sequence| doubted.contains(sequence))
    }

    /// Sends a portion and lets the link learn from how that went.
    async fn measured(&mut self, portion: &[PushLine]) -> Sent {
        let link = &self.foreign.link;
        let lane = portion.iter().map(|line| line.lane).max().unwrap_or_default();
        let begun = link.meter(self.site);
        let mut sent = send(self.site, self.foreign, self.way, portion).await;
        if let ([line], Err(FhirError::TooMuch(_) | FhirError::Refused(_))) = (portion, &sent.fates)
            && self.way == FhirWay::Transaction
            && is_divisible(line)
        {
            // One patient's records are too much for one request; or one of them is refused, and
            // the server need not say which. What is to be deleted and is not there is no fault.
            sent = one_by_one(self.foreign, line).await;
        }
        match &sent.fates {
            Ok(_) => {
                let changes: usize = portion.iter().map(|line| line.deliveries.len()).sum();
                link.measured(self.site, (Way::Up, lane), begun, changes as u64);
            }
            Err(error) => {
                let size = match error {
                    FhirError::Away { .. } => Size::Broke,
                    FhirError::TooMuch(_) => Size::TooMuch,
                    _ => Size::Fits,
                };
                link.broke(self.site, (Way::Up, lane), begun, size);
            }
        }
        sent
    }

    async fn settle(&mut self, lines: Vec<PushLine>, fates: Vec<Fate>) -> Result<(), FhirError> {
        let mut settled = Vec::with_capacity(lines.len());
        for (line, fate) in lines.iter().zip(fates) {
            settled.push(match fate {
                Fate::Held => {
                    self.through = true;
                    held(line)
                }
                Fate::Refused(reason) => not_taken(line, Outcome::Refused, reason),
                Fate::Later(reason) => not_taken(line, Outcome::Later, reason),
            });
        }
        if self.through {
            self.unclear = 0;
        }
        self.note(settled).await
    }

    async fn note(&mut self, settled: Vec<Settled>) -> Result<(), FhirError> {
        if settled.iter().any(|word| word.outcome.is_held()) {
            self.foreign.link.note_progress();
        }
        self.pushed.add(write(self.site, settled).await?);
        Ok(())
    }

    /// Lines at which the server failed: theirs is the fault where others got through, and the
    /// server's where none did.
    async fn settle_doubts(&mut self) -> Result<(), FhirError> {
        let doubts = std::mem::take(&mut self.doubts);
        let Some((_, why)) = doubts.first() else { return Ok(()) };
        if !self.through {
            return Err(LinkError(why.clone()).into());
        }
        let changes = doubts.iter().flat_map(|(line, _)| line.deliveries.iter().copied());
        self.foreign.doubted().extend(changes);
        let (lines, fates): (Vec<_>, Vec<_>) =
            doubts.into_iter().map(|(line, why)| (line, Fate::Refused(why))).unzip();
        self.settle(lines, fates).await
    }
}

/// Whether record by record something else may come of a line than as a whole.
fn is_divisible(line: &PushLine) -> bool {
    let mut records = line.lines.iter().flat_map(|part| &part.records);
    line.sent.len() > 1 || records.any(|record| matches!(record, OutRecord::Deleted { .. }))
}

/// The server holds a line now. It counts nothing that could tell newer from older: our own
/// sequences do.
fn held(line: &PushLine) -> Settled {
    Settled {
        deliveries: line.deliveries.clone(),
        sent: line.sent.clone(),
        differs: Vec::new(),
        outcome: Outcome::Applied,
        reason: None,
        sequence: line.deliveries.last().copied().unwrap_or(0),
    }
}

fn not_taken(line: &PushLine, outcome: Outcome, reason: String) -> Settled {
    Settled { sent: Vec::new(), outcome, reason: Some(reason), ..held(line) }
}
