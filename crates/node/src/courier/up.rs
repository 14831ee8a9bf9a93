//! The way up: messages go to the parent, and its answers come back.

use std::fs::{File, TryLockError};

use anyhow::{Context as _, bail};
use bytes::Bytes;
use protocol::SiteId;
use protocol::delivery::Outcome;
use protocol::message::{self, Answer, Proof, Receipt};
use store::{AuditRow, CarrierWord, LeaseAsk, Leased, Posted};

use super::key::Key;
use super::packet::{self, Head, Kind, Packet};
use super::stick::{self, Stick};
use super::{CARRIER, Refused, childs_key, parents_key};
use crate::config::{Parent, Up};
use crate::http::auth::credential_hash;
use crate::jobs::{messages, outbox};
use crate::site::Site;

/// Seconds in which a packet has to be written; if that is not done, what was in it waits here.
const WRITING: i64 = 600;
/// The file in a site's folder that is locked while messages are written.
const LOCK: &str = "courier.lock";
/// What to do where changes go up in another way.
const CARRIED: &str =
    "say up = \"carried\" in [parent] of tributary.toml, restart it, and try again";
/// Milliseconds between two looks at a full inbox, and how often it is looked at.
const FULL_PAUSE: u64 = 200;
const FULL_LOOKS: u32 = 300;

/// What went onto the stick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exported {
    /// Files.
    pub packets: u64,
    /// Messages in them.
    pub messages: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Exported {
    /// What came after `before`.
    pub(super) fn since(&self, before: &Exported) -> Exported {
        Exported {
            packets: self.packets - before.packets,
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
        }
    }
}

/// At the child: writes what waits for the parent, and what an export had begun with that broke
/// off. What is written counts as handed over, and is offered again if the parent's word has not
/// come after so many days.
pub async fn export(
    site: &Site,
    stick: &Stick,
    days: u32,
    progress: &mut dyn FnMut(&Exported),
) -> anyhow::Result<Exported> {
    let parent = match &site.config().parent {
        Some(parent) => match parent.up {
            Up::Carried => parent.clone(),
            Up::Direct => bail!("this site sends its changes itself: {CARRIED}"),
            Up::Read => {
                bail!("the parent {} reads this site's changes itself: {CARRIED}", parent.site)
            }
            Up::Fhir => bail!(
                "the parent {} is a FHIR server of another make, which reads no sticks",
                parent.site
            ),
        },
        None => bail!("this site has no parent, so there is nothing to carry"),
    };
    let to = parents_key(site)?;
    let _alone = alone(site)?;
    let mut exported = Exported::default();
    loop {
        let limits = &site.config().limits;
        let ask = LeaseAsk {
            carrier: CARRIER.to_owned(),
            max: limits.lease_messages,
            bytes: limits.stream_bytes,
            lanes: protocol::Urgency::ALL.to_vec(),
            until: site.now().plus_millis(WRITING * 1_000),
            lease: outbox::new_lease(site),
            // What a run has leased that broke off would be on no stick for all that time.
            is_anew: exported.packets == 0,
        };
        let lease = ask.lease.clone();
        let leased = outbox::lease(site, &parent, ask).await?;
        if leased.is_empty() {
            return Ok(exported);
        }
        let written = pack(site, &parent, &to, &leased)
            .and_then(|bytes| put(site, stick, &parent.site, &lease, bytes));
        say(site, &leased, &lease, written.as_ref().err(), days)?;
        exported.bytes += written?;
        exported.packets += 1;
        exported.messages += leased.len() as u64;
        progress(&exported);
    }
}

/// Only one at a time: each takes back what the one before has leased.
fn alone(site: &Site) -> anyhow::Result<Option<File>> {
    let Some(lock) = site.run_lock() else { return Ok(None) };
    let path = lock.with_file_name(LOCK);
    let failed = || format!("failed to lock {}", path.display());
    let file = File::options().create(true).append(true).open(&path).with_context(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            bail!("another `tributary courier export` runs at this site: let it come to its end")
        }
        Err(TryLockError::Error(error)) => Err(error).with_context(failed),
    }
}

fn pack(
    site: &Site,
    parent: &Parent,
    to: &str,
    leased: &[(Leased, String)],
) -> anyhow::Result<Vec<u8>> {
    let hash = own_hash(site)?;
    let mut body = String::new();
    for (_, text) in leased {
        // As text: no reader of JSON can alter a number in it.
        body.push_str(&serde_json::to_string(text)?);
        body.push('\n');
    }
    let head = Head::of(Kind::Messages, site.id(), &parent.site, site.now(), &body);
    packet::write(&head, &body, to, |told| Ok(Proof::of(told, &hash)))
}

fn put(
    site: &Site,
    stick: &Stick,
    to: &SiteId,
    lease: &str,
    bytes: Vec<u8>,
) -> anyhow::Result<u64> {
    let which = lease.get(..8).unwrap_or(lease);
    stick.put(&stick::name(site.id(), to, site.now(), which, Kind::Messages), &bytes)?;
    Ok(bytes.len() as u64)
}

/// What became of leased messages: on the stick, or still here.
fn say(
    site: &Site,
    leased: &[(Leased, String)],
    lease: &str,
    failure: Option<&anyhow::Error>,
    days: u32,
) -> anyhow::Result<()> {
    let now = site.now();
    let word = match failure {
        None => CarrierWord::Delivered {
            receipt_by: Some(now.plus_millis(i64::from(days) * 86_400_000)),
        },
        Some(error) => CarrierWord::Failed { error: error.to_string(), retry: true },
    };
    for (one, _) in leased {
        let jitter = site.entropy().number();
        site.store().outbox_word(&one.id, (CARRIER, lease), &word, now, jitter)?;
    }
    Ok(())
}

fn own_hash(site: &Site) -> anyhow::Result<[u8; 32]> {
    let credential = site.credential().context("this site has no credential for its parent")?;
    Ok(credential_hash(credential))
}

/// What a parent took from a stick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Packets that were taken.
    pub packets: u64,
    /// Messages that were new, and those that were here before.
    pub taken: u64,
    /// Messages that were here before.
    pub already: u64,
    /// Messages that are refused; their site is told why.
    pub refused: u64,
    /// Messages that are stored and wait.
    pub waiting: u64,
    /// Packets that cannot be used.
    pub bad: Vec<Refused>,
    /// Packets whose answers could not be written to the stick: their sites will ask.
    pub unanswered: Vec<Refused>,
}

/// At the parent: takes what is for it, and puts its answers beside.
pub async fn import(
    site: &Site,
    key: &Key,
    stick: &Stick,
    progress: &mut dyn FnMut(&Imported),
) -> anyhow::Result<Imported> {
    let mut imported = Imported::default();
    for name in stick.find(Kind::Messages, None, site.id())? {
        match opened(site, key, stick, &name, Kind::Messages) {
            Ok(packet) => one(site, stick, &name, &packet, &mut imported).await?,
            Err(reason) => refuse(site, name, &reason, &mut imported.bad)?,
        }
        progress(&imported);
    }
    Ok(imported)
}

/// A packet that is for this site, from the other end of a link of it.
pub(super) fn opened(
    site: &Site,
    key: &Key,
    stick: &Stick,
    name: &str,
    kind: Kind,
) -> anyhow::Result<Packet> {
    let limit = site.config().limits.packet_bytes as u64;
    let packet = packet::open(&stick.read(name, limit)?, key, limit)?;
    let Head { to, from, .. } = &packet.head;
    if *to != *site.id() || packet.head.kind != kind {
        bail!("it is not what its name says: it is for {to}");
    }
    let known = match kind {
        Kind::Messages => {
            let proof = site.store().inbox_prove(from, &packet.told)?;
            proof.with_context(|| format!("{from} has no access here (any more)"))? == packet.proof
        }
        Kind::Receipts | Kind::Feed => packet.proof.fits(&packet.told, &own_hash(site)?),
    };
    if !known {
        bail!("a stranger wrote it in the name of {from}, or {from} has joined anew since");
    }
    Ok(packet)
}

/// Notes for people what cannot be used, and why.
pub(super) fn refuse(
    site: &Site,
    name: String,
    reason: &anyhow::Error,
    bad: &mut Vec<Refused>,
) -> anyhow::Result<()> {
    let reason = format!("{reason:#}");
    let row = AuditRow {
        actor: "operator".to_owned(),
        action: "courier-refuse",
        subject: name.chars().take(200).collect(),
        detail: reason.clone(),
    };
    site.store().audit_append(&row, site.now())?;
    bad.push(Refused { name, reason });
    Ok(())
}

async fn one(
    site: &Site,
    stick: &Stick,
    name: &str,
    packet: &Packet,
    imported: &mut Imported,
) -> anyhow::Result<()> {
    let from = &packet.head.from;
    let mut answers = String::new();
    for line in packet.body.lines() {
        let (id, told) = match taken(site, from, line).await {
            Ok(told) => told,
            Err(reason) => {
                refuse(site, name.to_owned(), &reason, &mut imported.bad)?;
                continue;
            }
        };
        match &told {
            Answer::Stored => imported.waiting += 1,
            Answer::Done(receipt, _) => match receipt.outcome {
                Outcome::Already => imported.already += 1,
                outcome if outcome.is_held() => imported.taken += 1,
                _ => imported.refused += 1,
            },
        }
        let answer = message::write_answer(&id, site.id(), &told, site.now());
        answers.push_str(&serde_json::to_string(&answer)?);
        answers.push('\n');
    }
    imported.packets += 1;
    if let Err(reason) = answer(site, stick, name, from, &answers) {
        let (name, reason) = (name.to_owned(), format!("{reason:#}"));
        imported.unanswered.push(Refused { name, reason });
    }
    Ok(())
}

/// Takes one message, as if its site had posted it.
async fn taken(
    site: &Site,
    from: &SiteId,
    line: &str,
) -> anyhow::Result<(protocol::ChangeId, Answer)> {
    let text: String = serde_json::from_str(line).context("a line of it is not a message")?;
    let bytes = Bytes::from(text);
    let messages::Come { envelope, id, .. } = messages::read(site, bytes.clone()).await?;
    if envelope.from != *from || envelope.to != *site.id() {
        bail!("a message in it is not from {from} to this site");
    }
    let mut looks = 0;
    let posted = loop {
        let posted = messages::store(site, CARRIER, (&envelope, &id), bytes.clone()).await?;
        if posted != Posted::Full {
            break posted;
        }
        looks += 1;
        if looks > FULL_LOOKS {
            bail!("too many messages wait here already (inbox_messages): import it again later");
        }
        messages::step(site).await;
        site.clock().sleep(FULL_PAUSE).await;
    };
    let receipt = match posted {
        Posted::Known(receipt) => Some(receipt),
        Posted::Stored(key) => messages::work_off(site, key).await,
        Posted::Full | Posted::Shut => bail!("{from} has no access here (any more)"),
    };
    let Some(receipt) = receipt else { return Ok((id, Answer::Stored)) };
    let proof = site.store().inbox_prove(from, &receipt.to_text())?;
    Ok((id, Answer::Done(receipt, proof)))
}

/// Writes the answers to a packet, beside it. The same packet once more has them once more.
fn answer(
    site: &Site,
    stick: &Stick,
    of: &str,
    child: &SiteId,
    answers: &str,
) -> anyhow::Result<()> {
    let mut head = Head::of(Kind::Receipts, site.id(), child, site.now(), answers);
    head.of = Some(of.to_owned());
    let bytes = packet::write(&head, answers, &childs_key(site, child)?, |told| {
        let proof = site.store().inbox_prove(child, told)?;
        proof.with_context(|| format!("{child} has no access here (any more)"))
    })?;
    stick.put(&stick::answer_name(of, site.id(), child), &bytes)
}

/// What a child learnt from a stick.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// Files of answers that were read.
    pub packets: u64,
    /// Messages that are done, or answered otherwise.
    pub settled: u64,
    /// Files that cannot be used.
    pub bad: Vec<Refused>,
}

/// At the child: reads the parent's answers, and takes off the stick what has done its work.
pub async fn receipts(site: &Site, key: &Key, stick: &Stick) -> anyhow::Result<Settled> {
    let mut settled = Settled::default();
    for name in stick.find(Kind::Receipts, None, site.id())? {
        match answers_in(site, key, stick, &name) {
            Ok((packet, receipts, whole)) => {
                let (now, jitter) = (site.now(), site.entropy().number());
                let noted = site
                    .write(move |store| store.outbox_answers(&receipts, &[], now, jitter))
                    .await?;
                settled.packets += 1;
                settled.settled += noted;
                if whole {
                    // In this order: without its answers, a packet would only come once more.
                    let of = packet.head.of.as_ref().filter(|of| stick::is_messages(of));
                    for done in of.into_iter().chain([&name]) {
                        stick.remove(done)?;
                    }
                }
            }
            Err(reason) => refuse(site, name, &reason, &mut settled.bad)?,
        }
    }
    Ok(settled)
}

/// The receipts of a file, and whether it has one for every message.
fn answers_in(
    site: &Site,
    key: &Key,
    stick: &Stick,
    name: &str,
) -> anyhow::Result<(Packet, Vec<Receipt>, bool)> {
    let packet = opened(site, key, stick, name, Kind::Receipts)?;
    let hash = own_hash(site)?;
    let (mut receipts, mut whole) = (Vec::new(), true);
    for line in packet.body.lines() {
        let text: String = serde_json::from_str(line).context("a line of it is not an answer")?;
        match message::read_answer(&text, &hash)? {
            Some(receipt) => receipts.push(receipt),
            None => whole = false,
        }
    }
    Ok((packet, receipts, whole))
}
