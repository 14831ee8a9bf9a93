//! One turn with a Tributary child that is read: tell it what became of its changes, read what
//! comes after the marker, and compare records where a marker did not fit.

use axum::http::StatusCode;
use protocol::RecordRef;
use serde_json::json;
use store::{SourceEvent, SourceMark};

use super::peer::{self, Peer, refused};
use super::read::{self, Read};
use super::{Turn, info, itself};
use crate::config::SourceConfig;
use crate::http::sync::digests::{FETCH, FetchBody};
use crate::http::sync::outgoing::{Settled, WORDS};
use crate::jobs::compare::parse_page;
use crate::jobs::link::ours;
use crate::ports::{LinkError, Response};
use crate::site::Site;

/// Requests of words in one turn, at the most.
const TELLINGS: usize = 10;

/// One turn. `hears`: whether it is time to hear how the child is, too.
pub(super) async fn turn(
    site: &Site,
    source: &SourceConfig,
    hears: bool,
) -> Result<Turn, LinkError> {
    let peer = Peer::of(site, source).await?;
    let mut told = tell(site, source, &peer).await?;
    let known = info(site, source).await?.and_then(|info| info.mark);
    let (read, mark) = read(site, source, &peer, known).await?;
    told += tell(site, source, &peer).await?;
    let (end, mut more) = read.end.unwrap_or((0, false));
    if more && end <= known.map_or(0, |mark| mark.position) {
        return Err(LinkError("its answer does not get on; will ask again".to_owned()));
    }
    let (mut applied, mut parked) = (read.applied, read.parked);
    if !more {
        let compared = compare(site, source, &peer, mark).await?;
        applied += compared.applied;
        parked += compared.parked;
        more = compared.end.is_some_and(|(_, more)| more);
    }
    if hears && !more {
        // What was read stands, whatever becomes of this.
        if let Err(error) = itself::hear(site, source, &peer, mark.epoch).await {
            tracing::warn!(source = %source.name, %error, "failed to hear how a source is");
        }
    }
    let header = read.header;
    Ok(Turn {
        applied,
        parked,
        told,
        head: header.as_ref().map_or(0, |header| header.head),
        oldest: header.and_then(|header| header.oldest),
        more,
    })
}

/// Reads one answer from the marker on; from the beginning where the marker does not fit.
async fn read(
    site: &Site,
    source: &SourceConfig,
    peer: &Peer,
    mark: Option<SourceMark>,
) -> Result<(Read, SourceMark), LinkError> {
    if let Some(known) = mark {
        let response = ask(site, peer, Some(known)).await?;
        if response.status != StatusCode::CONFLICT {
            match read::apply(site, &source.name, mark, response).await {
                Err(error) if error.0 == read::ANOTHER_FEED => {}
                other => return other,
            }
        }
        tracing::warn!(source = %source.name, "its marker does not fit: reading and comparing all");
    }
    let response = ask(site, peer, None).await?;
    read::apply(site, &source.name, None, response).await
}

async fn ask(site: &Site, peer: &Peer, mark: Option<SourceMark>) -> Result<Response, LinkError> {
    let limit = site.config().limits.source_bytes;
    let path = match mark {
        Some(mark) => {
            format!("/changes?after={}&epoch={}&limit={limit}", mark.position, mark.epoch)
        }
        None => format!("/changes?after=0&limit={limit}"),
    };
    let response = peer.get(site, &path).await?;
    let is_about_the_marker = response.status == StatusCode::CONFLICT && mark.is_some();
    match response.status {
        StatusCode::OK => Ok(response),
        StatusCode::CONFLICT if is_about_the_marker => conflict(response).await,
        _ => Err(refused(response).await),
    }
}

/// A marker that does not fit, or a site that is not to be read.
async fn conflict(response: Response) -> Result<Response, LinkError> {
    let (status, headers) = (response.status, response.headers.clone());
    let text = peer::text(response).await?;
    let problem: serde_json::Value = serde_json::from_slice(&text).unwrap_or_default();
    if problem.get("epoch").is_some() {
        let body = Box::pin(futures::stream::empty());
        return Ok(Response { status, headers, body });
    }
    let detail = problem.get("detail").and_then(|detail| detail.as_str()).unwrap_or("");
    Err(LinkError(format!("it answered {status}: {detail}")))
}

/// Tells the child what became of its changes; gives of how many.
async fn tell(site: &Site, source: &SourceConfig, peer: &Peer) -> Result<u64, LinkError> {
    let mut told = 0;
    for _ in 0..TELLINGS {
        let name = source.name.clone();
        let words = site.read(move |store| store.source_words(&name, WORDS));
        let words = words.await.map_err(|error| ours(&error))?;
        if words.is_empty() {
            break;
        }
        let texts = words.iter().map(|word| word.to_text()).collect::<Vec<_>>().join(",");
        let body = format!("{{\"receipts\":[{texts}]}}");
        let response = peer.post(site, "/receipts", body).await?;
        if response.status != StatusCode::OK {
            return Err(refused(response).await);
        }
        heard(&peer::text(response).await?, words.len())?;
        told += words.len() as u64;
        let (name, all) = (source.name.clone(), words.len() < WORDS);
        let noted = site.read(move |store| store.source_told(&name, &words));
        noted.await.map_err(|error| ours(&error))?;
        if all {
            break;
        }
    }
    Ok(told)
}

/// Whether it was the child that took `told` words in, by its answer: a portal on the way answers
/// anything with 200, and what it swallowed has to be told again. (What the child has settled
/// already changes nothing there, and is not counted.)
fn heard(answer: &[u8], told: usize) -> Result<(), LinkError> {
    let answer = serde_json::from_slice::<Settled>(answer).ok();
    match answer.filter(|answer| answer.settled <= told as u64) {
        Some(_) => Ok(()),
        None => Err(LinkError(
            "what it answered to the receipts is no answer of a Tributary site: they will be told \
             again; check `url`, and what answers in its place"
                .to_owned(),
        )),
    }
}

/// Compares one page of the child's records, where that is due, and fetches what this site never
/// had.
async fn compare(
    site: &Site,
    source: &SourceConfig,
    peer: &Peer,
    mark: SourceMark,
) -> Result<Read, LinkError> {
    let mut compared = Read::default();
    let after = info(site, source).await?.and_then(|info| info.compare);
    let Some(after) = after else { return Ok(compared) };
    let path = match after.as_str() {
        "" => "/digests".to_owned(),
        after => format!("/digests?after={after}"),
    };
    let response = peer.get(site, &path).await?;
    if response.status != StatusCode::OK {
        return Err(refused(response).await);
    }
    let page = parse_page(&peer::text(response).await?)?;
    let last = page.digests.last().map(|(name, _)| name.clone());
    let name = source.name.clone();
    let unknown = site.read(move |store| store.source_unknown(&name, &page.digests));
    let unknown = unknown.await.map_err(|error| ours(&error))?;
    for records in unknown.chunks(FETCH) {
        let read = fetch(site, source, peer, (mark, records)).await?;
        compared.applied += read.applied;
        compared.parked += read.parked;
    }
    let up_to = last.filter(|_| page.more);
    compared.end = Some((0, up_to.is_some()));
    let (name, event, now) = (source.name.clone(), SourceEvent::Compared(up_to), site.now());
    let noted = site.read(move |store| store.source_note(&name, &event, now));
    noted.await.map_err(|error| ours(&error))?;
    Ok(compared)
}

async fn fetch(
    site: &Site,
    source: &SourceConfig,
    peer: &Peer,
    (mark, records): (SourceMark, &[RecordRef]),
) -> Result<Read, LinkError> {
    let body = json!(FetchBody { records: records.to_vec() }).to_string();
    let response = peer.post(site, "/fetch", body).await?;
    if response.status != StatusCode::OK {
        return Err(refused(response).await);
    }
    let (read, _) = read::apply(site, &source.name, Some(mark), response).await?;
    Ok(read)
}
