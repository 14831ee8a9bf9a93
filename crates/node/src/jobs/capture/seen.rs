//! What records are in the record system: as a list has shown them, where that can undo nothing,
//! and else as they are read.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use protocol::RecordRef;
use store::{EmrListed, EmrSeen};

use crate::jobs::emr::{Beside, ours};
use crate::ports::{EmrError, LinkError, Shown};
use crate::site::Site;

/// A record that was asked for, and what came of it.
type Asked = (RecordRef, Result<Shown, EmrError>);

/// What these records are there. `shown` is what a list has shown of some of them.
pub(super) async fn seen(
    site: &Site,
    beside: &Beside,
    wanted: BTreeSet<&RecordRef>,
    shown: BTreeMap<RecordRef, Shown>,
) -> Result<BTreeMap<RecordRef, EmrSeen>, LinkError> {
    let mut seen = listed(site, beside, shown).await?;
    let others = wanted.into_iter().filter(|record| !seen.contains_key(*record));
    let others = others.cloned().collect::<Vec<_>>();
    seen.extend(read(site, beside, &others).await?);
    Ok(seen)
}

/// What a list has shown and can be taken as it is: what is as it was shown before, and what was
/// never shown before. Of the latter one of each type is read by itself, for some servers show
/// records otherwise in lists: if it is not the same, none of its type is taken.
async fn listed(
    site: &Site,
    beside: &Beside,
    shown: BTreeMap<RecordRef, Shown>,
) -> Result<BTreeMap<RecordRef, EmrSeen>, LinkError> {
    let asked = shown.iter().filter_map(|(record, shown)| Some((record.clone(), shown.digest()?)));
    let asked = asked.collect::<Vec<_>>();
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    beside.take(site, asked.len()).await;
    let names = asked.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>();
    let found = site.read(move |store| store.emr_listed(&asked)).await;
    let found: BTreeMap<_, _> = names.into_iter().zip(found.map_err(|e| ours(&e))?).collect();
    let mut samples = BTreeMap::new();
    for (record, listed) in &found {
        if *listed == EmrListed::New {
            samples.insert(record.kind, record.clone());
        }
    }
    let samples = samples.into_values().collect::<Vec<_>>();
    let mut seen = read(site, beside, &samples).await?;
    let is_so = |record: &RecordRef| match (seen.get(record), shown.get(record)) {
        (Some(EmrSeen::Shown(read)), Some(shown)) => read.digest() == shown.digest(),
        _ => false,
    };
    let believed = samples.iter().filter(|sample| is_so(sample)).map(|sample| sample.kind);
    let believed = believed.collect::<BTreeSet<_>>();
    for (record, shown) in shown {
        let is_taken = match found.get(&record) {
            Some(EmrListed::Known) => true,
            Some(EmrListed::New) => believed.contains(&record.kind),
            Some(EmrListed::Unsure) | None => false,
        };
        if is_taken && !seen.contains_key(&record) {
            let (record, seen_now) = check(record, EmrSeen::Listed(shown));
            seen.insert(record, seen_now);
        }
    }
    Ok(seen)
}

/// What the records are there now. Where some cannot be read, whether that is the link's fault or
/// theirs is what it says of itself.
pub(super) async fn read(
    site: &Site,
    beside: &Beside,
    wanted: &[RecordRef],
) -> Result<BTreeMap<RecordRef, EmrSeen>, LinkError> {
    let portions = wanted.chunks(beside.emr.several().max(1));
    let reads: Vec<BoxFuture<'_, Vec<Asked>>> =
        portions.map(|portion| read_several(site, beside, portion).boxed()).collect();
    let mut reads = futures::stream::iter(reads).buffer_unordered(beside.at_once);
    let mut seen: BTreeMap<RecordRef, EmrSeen> = BTreeMap::new();
    let mut there = false;
    while let Some(portion) = reads.next().await {
        for (record, shown) in portion {
            let found = match shown {
                Ok(shown) => EmrSeen::Shown(shown),
                Err(EmrError::Away(error)) => {
                    if !there {
                        beside.probe(site).await?;
                        there = true;
                    }
                    EmrSeen::Unread(error.0)
                }
                Err(other) => EmrSeen::Unread(other.to_string()),
            };
            seen.insert(record, found);
        }
    }
    Ok(seen.into_iter().map(|(record, seen)| check(record, seen)).collect())
}

async fn read_several(site: &Site, beside: &Beside, records: &[RecordRef]) -> Vec<Asked> {
    beside.take(site, records.len()).await;
    let shown = match records {
        [one] => vec![beside.emr.read(one).await],
        several => beside.emr.read_several(several).await,
    };
    let unread = || Err(EmrError::Refused("its adapter did not say what it is".to_owned()));
    let shown = shown.into_iter().chain(std::iter::repeat_with(unread));
    records.iter().cloned().zip(shown).collect()
}

/// A record that was shown in the place of another is not taken for it.
fn check(record: RecordRef, seen: EmrSeen) -> (RecordRef, EmrSeen) {
    let other = match &seen {
        EmrSeen::Shown(shown) | EmrSeen::Listed(shown) => {
            shown.body().filter(|body| body.reference != record)
        }
        EmrSeen::Unread(_) => None,
    };
    let seen = match other.map(|body| body.reference.clone()) {
        Some(other) => EmrSeen::Unread(format!("{other} was shown in its place")),
        None => seen,
    };
    (record, seen)
}
