//! From the record system into the store: what changed there is read and recorded. Hints that
//! cannot be read are kept and read again, while the cursor moves on.

mod seen;

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Author, RecordRef};
use store::{Captured, EmrCapture, EmrEvent, EmrPlace, EmrSeen, StoreError};

use self::seen::{read, seen};
use super::emr::{Beside, ours};
use crate::ports::{EmrError, LinkError, Noticed, Shown};
use crate::site::Site;

/// Who makes the changes that come from there.
const AUTHOR: &str = "emr";
/// Records that are read before they are recorded.
const PORTION: usize = 500;
/// Others that have to be gone too before a record that is not there counts as lost.
const WITNESSES: usize = 3;
/// Bytes of a cursor.
const CURSOR: usize = 64 << 10;

/// Captures, for ever.
pub(super) async fn run(site: &Site, beside: &Beside) {
    if !beside.mode.captures() {
        return;
    }
    loop {
        beside.while_paused(site).await;
        match step(site, beside).await {
            Ok(true) => {}
            Ok(false) => site.clock().sleep(beside.every_ms).await,
            Err(error) => beside.while_away(site, error).await,
        }
    }
}

/// One look: what was kept to be read again, then what is new. Gives whether there is more already.
pub async fn step(site: &Site, beside: &Beside) -> Result<bool, LinkError> {
    let now = site.now();
    let hints = site.read(move |store| store.emr_hints(now, PORTION)).await;
    let hints = hints.map_err(|error| ours(&error))?;
    if !hints.is_empty() {
        let groups = hints.into_iter().map(|record| vec![record]).collect();
        if !record(site, beside, (groups, BTreeMap::new()), None).await? {
            return Ok(true);
        }
    }
    let cursor = site.read(|store| store.emr_cursor()).await.map_err(|error| ours(&error))?;
    let noticed = match beside.noticed(cursor.as_deref()).await {
        Ok(noticed) => noticed,
        Err(EmrError::CursorLost(reason)) => return compare(site, reason).await.map(|()| true),
        Err(EmrError::Away(error)) => return Err(error),
        Err(other) => return Err(LinkError(other.to_string())),
    };
    if noticed.cursor.len() > CURSOR {
        return Err(LinkError("its cursor is longer than 64 kB".to_owned()));
    }
    beside.answered(site, None).await;
    let more = noticed.more;
    take(site, beside, cursor, noticed).await?;
    if beside.comes_to_the_end(!more) {
        // Nothing was written there as long as it was read.
        site.wake();
    }
    Ok(more)
}

/// Reads and records what was noticed. The cursor moves with the last portion: what was recorded
/// before it and is named again is an echo.
async fn take(
    site: &Site,
    beside: &Beside,
    after: Option<String>,
    noticed: Noticed,
) -> Result<(), LinkError> {
    let Noticed { groups, mut shown, cursor, more, left } = noticed;
    if groups.is_empty() && after.as_ref() == Some(&cursor) && !more {
        return Ok(());
    }
    let mut portion = Vec::new();
    let mut records = 0;
    for group in groups {
        if records > 0 && records + group.len() > PORTION {
            let portion = std::mem::take(&mut portion);
            let of_it = shown_of(&mut shown, &portion);
            if !record(site, beside, (portion, of_it), None).await? {
                return Ok(());
            }
            records = 0;
        }
        records += group.len();
        portion.push(group);
    }
    let place = EmrPlace { after, cursor: cursor.clone(), more, left };
    let recorded = record(site, beside, (portion, shown), Some(place));
    if !more {
        return recorded.await.map(drop);
    }
    let (recorded, ()) = futures::join!(recorded, beside.look_ahead(&cursor));
    recorded.map(drop)
}

/// What was shown of the records of these groups.
fn shown_of(
    shown: &mut BTreeMap<RecordRef, Shown>,
    groups: &[Vec<RecordRef>],
) -> BTreeMap<RecordRef, Shown> {
    groups.iter().flatten().filter_map(|record| shown.remove_entry(record)).collect()
}

/// Everything there is compared with what is here.
async fn compare(site: &Site, reason: String) -> Result<(), LinkError> {
    tracing::warn!(reason, "everything in the record system is compared");
    let (event, now) = (EmrEvent::CursorLost(reason), site.now());
    site.read(move |store| store.emr_note(&event, now)).await.map_err(|error| ours(&error))
}

/// What is known of records that are not there, and of which nothing says that they were deleted.
enum Doubt {
    /// They are gone: others are there.
    None,
    /// Others are gone too: the record system has lost what it had.
    Emptied,
    /// Everything is being compared, and that will show it.
    Compared,
}

async fn doubt(
    site: &Site,
    beside: &Beside,
    seen: &BTreeMap<RecordRef, EmrSeen>,
) -> Result<Doubt, LinkError> {
    let absent = seen.iter().filter(|(_, seen)| is_absent(seen));
    let absent = absent.map(|(record, _)| record.clone()).collect::<Vec<_>>();
    if absent.is_empty() {
        return Ok(Doubt::None);
    }
    let found = site.read(move |store| {
        let loading = store.emr_status()?.is_some_and(|status| status.loading);
        Ok::<_, StoreError>((store.emr_witnesses(&absent, WITNESSES)?, loading))
    });
    let (witnesses, loading) = found.await.map_err(|error| ours(&error))?;
    let Some(witnesses) = witnesses else { return Ok(Doubt::None) };
    if witnesses.len() < WITNESSES {
        return Ok(if loading { Doubt::Compared } else { Doubt::None });
    }
    let others = read(site, beside, &witnesses).await?;
    let is_known =
        |seen: &EmrSeen| matches!(seen, EmrSeen::Shown(shown) if *shown != Shown::Absent);
    Ok(if others.values().any(is_known) { Doubt::None } else { Doubt::Emptied })
}

fn is_absent(seen: &EmrSeen) -> bool {
    matches!(seen, EmrSeen::Shown(Shown::Absent))
}

/// Reads the records of some groups, at most so many at the same time, as far as what was shown
/// with them does not do, and records them in one transaction. Gives `false` where everything is to
/// be compared instead.
async fn record(
    site: &Site,
    beside: &Beside,
    (groups, shown): (Vec<Vec<RecordRef>>, BTreeMap<RecordRef, Shown>),
    place: Option<EmrPlace>,
) -> Result<bool, LinkError> {
    let _alone = beside.turns.write().await;
    let wanted: BTreeSet<&RecordRef> = groups.iter().flatten().collect();
    let mut seen = seen(site, beside, wanted, shown).await?;
    match doubt(site, beside, &seen).await? {
        Doubt::None => {}
        Doubt::Emptied => {
            let why = "records that were there are not, and others are not there either";
            return compare(site, why.to_owned()).await.map(|()| false);
        }
        Doubt::Compared => {
            for seen in seen.values_mut().filter(|seen| is_absent(seen)) {
                let why = "it is not there, and everything is being compared";
                *seen = EmrSeen::Unread(why.to_owned());
            }
        }
    }
    let with_seen = |record: RecordRef| {
        let seen = seen.get(&record).cloned();
        let unread = || EmrSeen::Unread("it was not read".to_owned());
        (record, seen.unwrap_or_else(unread))
    };
    let groups =
        groups.into_iter().map(|group| group.into_iter().map(with_seen).collect()).collect();
    let capture = EmrCapture { groups, place };
    let (author, now, jitter) = (Author::new(AUTHOR), site.now(), site.entropy().number());
    let done = site.read(move |store| store.emr_capture(&capture, &author, now, jitter)).await;
    match done {
        Ok(Captured { changes, kept, .. }) => {
            if changes > 0 {
                site.wake();
            }
            if kept > 0 {
                tracing::warn!(kept, "records of the record system are to be read again");
            }
            Ok(true)
        }
        // Another process reads too: it has recorded this.
        Err(StoreError::Raced) => Ok(true),
        Err(error) => Err(ours(&error)),
    }
}
