//! From the store into the record system: what is another state here is written there, patient by
//! patient in the order of dependency, read back, and its image kept.

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use protocol::planted::{Fault, planted};
use protocol::resource::Record;
use protocol::{Digest, RecordRef};
use store::{EmrDue, EmrResult, EmrSettled, EmrTurn};

use super::emr::{Beside, ours};
use crate::ports::{EmrError, EmrWrite, LinkError, Shown};
use crate::site::Site;

/// Records of one patient that are written in one turn.
const RECORDS: usize = 50;
/// Turns that are looked for at once, for each that goes at the same time: looking goes through all
/// that is due, while nothing is written, and who is done first does not wait for the slowest.
const AHEAD: usize = 32;
/// Milliseconds after which a site looks again: another process may have written, or a retry may
/// have come due.
const LOOK_AGAIN: u64 = 2_000;

/// Applies, for ever.
pub(super) async fn run(site: &Site, beside: &Beside) {
    if !beside.mode.applies() {
        return;
    }
    let mut news = site.news();
    loop {
        beside.while_paused(site).await;
        news.mark_unchanged();
        match step(site, beside).await {
            Ok(true) => {}
            Ok(false) => {
                tokio::select! {
                    biased;
                    _ = news.changed() => {}
                    () = site.clock().sleep(LOOK_AGAIN) => {}
                }
            }
            Err(error) => beside.while_away(site, error).await,
        }
    }
}

/// Writes what is due of a few patients; gives whether there was anything. As long as everything
/// there is being read for the first time, nothing is written: much of it may be there already.
pub async fn step(site: &Site, beside: &Beside) -> Result<bool, LinkError> {
    let (now, captures) = (site.now(), beside.mode.captures());
    let patients = beside.at_once * AHEAD;
    let turns = site
        .read(move |store| {
            let loading = captures && store.emr_status()?.is_some_and(|status| status.loading);
            if loading { Ok(Vec::new()) } else { store.emr_next(now, patients, RECORDS) }
        })
        .await
        .map_err(|error| ours(&error))?;
    if turns.is_empty() {
        return Ok(false);
    }
    let turns: Vec<BoxFuture<'_, Result<(), LinkError>>> =
        turns.into_iter().map(|turn| one(site, beside, turn).boxed()).collect();
    let turns = futures::stream::iter(turns).buffer_unordered(beside.at_once);
    let results: Vec<Result<(), LinkError>> = turns.collect().await;
    results.into_iter().collect::<Result<(), LinkError>>()?;
    beside.answered(site, None).await;
    Ok(true)
}

/// One turn: written, read back, settled.
async fn one(site: &Site, beside: &Beside, turn: EmrTurn) -> Result<(), LinkError> {
    let _together = beside.turns.read().await;
    beside.take(site, turn.writes.len()).await;
    let given: Vec<(RecordRef, Digest)> =
        turn.writes.iter().map(|due| (due.wanted.reference.clone(), due.wanted.digest)).collect();
    let writes: Vec<EmrWrite> = turn.writes.into_iter().map(wanted).collect();
    let results = beside.emr.write(&writes).await;
    if results.len() != writes.len() {
        return Err(LinkError("its adapter did not say what became of each record".to_owned()));
    }
    let mut settled = Vec::with_capacity(given.len());
    let mut away = None;
    for ((record, given), result) in given.into_iter().zip(results) {
        let result = match result {
            Err(EmrError::Away(_)) if planted(Fault::WrittenUnheard) => {
                EmrResult::Written(as_wanted(&writes, &record))
            }
            Err(EmrError::Away(error)) => {
                away.get_or_insert_with(|| error.clone());
                EmrResult::Failed(error.0)
            }
            other => of(beside, &record, other).await?,
        };
        settled.push(EmrSettled { record, given, result });
    }
    if away.is_some() && beside.probe(site).await.is_err() {
        // The link failed: that says nothing of the records.
        settled.retain(|settled| !matches!(settled.result, EmrResult::Failed(_)));
    } else {
        away = None;
    }
    let (now, jitter) = (site.now(), site.entropy().number());
    let noted = site.read(move |store| store.emr_settle(&settled, now, jitter)).await;
    noted.map_err(|error| ours(&error))?;
    away.map_or(Ok(()), Err)
}

fn wanted(due: EmrDue) -> EmrWrite {
    let record = due.wanted.reference.clone();
    let wanted = Some(due.wanted).filter(|record: &Record| record.body.is_some());
    EmrWrite { record, wanted, image: due.image }
}

/// What a record would be if it were as it is wanted.
fn as_wanted(writes: &[EmrWrite], record: &RecordRef) -> Shown {
    let wanted = writes.iter().find(|write| write.record == *record);
    let wanted = wanted.and_then(|write| write.wanted.clone());
    wanted.map_or(Shown::Gone, |wanted| Shown::Body(Box::new(wanted)))
}

/// What became of one write, of which the link is not to blame.
async fn of(
    beside: &Beside,
    record: &RecordRef,
    result: Result<Shown, EmrError>,
) -> Result<EmrResult, LinkError> {
    Ok(match result {
        Ok(shown) => match shown.body().filter(|body| body.reference != *record) {
            Some(other) => {
                EmrResult::Refused(format!("{} was shown in its place", other.reference))
            }
            None => EmrResult::Written(shown),
        },
        Err(EmrError::Refused(words)) => EmrResult::Refused(words),
        Err(EmrError::Waits(target)) => EmrResult::Waits(target),
        Err(EmrError::Kept(words)) => EmrResult::Kept(words),
        Err(EmrError::Changed) if beside.mode.captures() => EmrResult::Changed,
        // Nobody captures what was changed there: it is overwritten.
        Err(EmrError::Changed) => match beside.emr.read(record).await {
            Ok(shown) => EmrResult::Overwrite(shown),
            Err(EmrError::Away(error)) => return Err(error),
            Err(other) => EmrResult::Failed(other.to_string()),
        },
        Err(EmrError::Away(error)) => return Err(error),
        Err(other @ EmrError::CursorLost(_)) => EmrResult::Failed(other.to_string()),
    })
}
