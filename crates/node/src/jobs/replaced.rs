//! Merged patients: saying that one file goes on in another, or does so no more. What did not fit
//! into the change that said so follows, or goes back, here.

use anyhow::{Context as _, bail};
use protocol::json::{self, Json};
use protocol::resource::Record;
use protocol::resource::replaced::{replaced_by, with_link, without_link};
use protocol::{Author, RecordRef};
use store::{Draft, Expect, Scope, StoreError, StoredVersion, Write};

use crate::site::Site;

/// Milliseconds between two looks. The change that merges patients does the first portion itself,
/// so that only long records wait for this.
const LOOK_EVERY: u64 = 5_000;

/// One portion; whether there was anything to do.
pub async fn step(site: &Site) -> Result<bool, StoreError> {
    let now = site.now();
    let more = site.read(move |store| store.patient_follow(now)).await?;
    if more {
        site.wake();
    }
    Ok(more)
}

/// Works for ever, at every site.
pub async fn run(site: &Site) {
    loop {
        match step(site).await {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => tracing::warn!(%error, "failed to follow merged patients"),
        }
        site.clock().sleep(LOOK_EVERY).await;
    }
}

/// Writes the links of both as one change, which moves the first records that refer to the loser;
/// [`step`] moves the others. Gives whether what only a child had said was confirmed by it.
pub fn merge(
    site: &Site,
    loser: &RecordRef,
    winner: &RecordRef,
    author: &Author,
) -> anyhow::Result<bool> {
    if loser == winner {
        bail!("failed to merge: {loser} cannot replace itself");
    }
    let (losing, winning) = (held(site, loser)?, held(site, winner)?);
    let before = parsed(&losing)?;
    let said = replaced_by(loser, &before);
    if let Some(other) = said.iter().find(|other| *other != winner) {
        bail!("failed to merge: {loser} is replaced by {other}; `tributary patient unmerge` first");
    }
    if replaced_by(winner, &parsed(&winning)?).contains(loser) {
        bail!(
            "failed to merge: {winner} is replaced by {loser}; `tributary patient unmerge` first"
        );
    }
    let confirmed =
        said.contains(winner) && site.store().patient_confirm(loser, author, site.now())?;
    let losing_now = with_link(&before, winner, "replaced-by", Some(false));
    let winning_now = with_link(&parsed(&winning)?, loser, "replaces", None);
    record(site, author, &[(&losing, losing_now), (&winning, winning_now)])?;
    Ok(confirmed)
}

/// Takes the links of both away as one change, which moves back the first records that can go
/// back; [`step`] moves the others.
pub fn unmerge(site: &Site, loser: &RecordRef, author: &Author) -> anyhow::Result<()> {
    let losing = held(site, loser)?;
    let mut now = parsed(&losing)?;
    let winners = replaced_by(loser, &now);
    if winners.is_empty() {
        bail!("failed to unmerge: nobody replaced {loser}");
    }
    let mut versions = Vec::new();
    for winner in &winners {
        now = without_link(&now, winner, "replaced-by", Some(true));
        // A winner that is not here, or deleted, has no link to be taken away.
        versions.extend(held(site, winner).ok());
    }
    let mut writes = vec![(&losing, now)];
    for version in &versions {
        writes.push((version, without_link(&parsed(version)?, loser, "replaces", None)));
    }
    record(site, author, &writes)
}

fn held(site: &Site, patient: &RecordRef) -> anyhow::Result<StoredVersion> {
    let found = site.store().record_get(patient, None, &Scope::Everything)?;
    match found {
        Some(version) if version.body.is_some() => Ok(version),
        Some(_) => bail!("failed to find {patient}: it is deleted"),
        None => bail!(
            "failed to find {patient}: {} does not hold it; at a child, \
             `tributary patient fetch` brings it",
            site.id()
        ),
    }
}

fn parsed(version: &StoredVersion) -> anyhow::Result<Json<'_>> {
    let body = version.body.as_deref().unwrap_or_default();
    json::parse(body.as_bytes(), json::DEPTH_MAX).map_err(anyhow::Error::msg)
}

fn record(
    site: &Site,
    author: &Author,
    states: &[(&StoredVersion, Json<'_>)],
) -> anyhow::Result<()> {
    let limits = &site.config().limits;
    let write = |(version, state): &(&StoredVersion, Json<'_>)| {
        let record = Record::parse(state.to_text().as_bytes(), limits);
        let expect = Expect::Version(version.sequence);
        record.map(|record| Write { record, expect }).map_err(anyhow::Error::msg)
    };
    let writes = states.iter().map(write).collect::<anyhow::Result<Vec<_>>>()?;
    let draft = Draft {
        author: author.clone(),
        writes,
        expect: Vec::new(),
        again: false,
        lane: protocol::Urgency::Normal,
    };
    site.store()
        .change_record(&draft, site.now())
        .context("failed to write the links of the two patients: nothing was changed")?;
    Ok(())
}
