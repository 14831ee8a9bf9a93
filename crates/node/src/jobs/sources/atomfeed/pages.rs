//! Walking a feed: from the entry that was read last, page by page, to the newest.

use std::collections::BTreeSet;

use protocol::feed::atom::{AtomEntry, AtomPage};
use reqwest::Url;
use serde::{Deserialize, Serialize};

use super::fetch::Feeds;
use super::names::here;
use crate::ports::LinkError;

/// Pages that are looked at in one turn.
const PAGES: usize = 500;
/// Pages back from the newest to the first, where they are not numbered.
const PAGES_BACK: usize = 10_000;

/// The last entry of a feed that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The URL of its page.
    page: String,
    /// Its id.
    entry: String,
}

/// Why a feed cannot be walked.
#[derive(Debug)]
pub(crate) enum FeedError {
    /// The link or its server failed.
    Link(LinkError),
    /// It has not the entry any more that was read last; the path of its page.
    Anew(String),
}

impl From<LinkError> for FeedError {
    fn from(error: LinkError) -> FeedError {
        FeedError::Link(error)
    }
}

impl From<FeedError> for LinkError {
    /// For a source, which people have read anew.
    fn from(error: FeedError) -> LinkError {
        match error {
            FeedError::Link(error) => error,
            FeedError::Anew(path) => LinkError(format!(
                "its page {path} has not the entry any more that was read last: it was changed or \
                 made anew. `tributary source again` reads all of it once more"
            )),
        }
    }
}

/// What was found after a mark.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) entries: Vec<AtomEntry>,
    pub(super) mark: Option<Mark>,
    /// Whether the feed has more.
    pub(super) more: bool,
}

/// The next entries after `mark`, at most `room`; from the first page where there is no mark.
pub(super) async fn walk(
    client: &Feeds<'_>,
    feed: &str,
    mark: Option<&Mark>,
    room: usize,
) -> Result<Walked, FeedError> {
    let mut walked = Walked { mark: mark.cloned(), ..Walked::default() };
    let (mut url, mut after) = match mark {
        Some(mark) => (here(&mark.page, client.base())?, Some(mark.entry.as_str())),
        None => match first_page(client, feed).await? {
            Some(url) => (url, None),
            None => return Ok(walked),
        },
    };
    let mut visited = BTreeSet::new();
    loop {
        if !visited.insert(url.clone()) {
            return Err(loops(&url).into());
        }
        let page = match client.page(&url).await? {
            Some(page) => page,
            // Where it has a newest page, and not this one, it is another feed.
            None if after.is_some() && client.page(&recent(client, feed)?).await?.is_some() => {
                return Err(FeedError::Anew(url.path().to_owned()));
            }
            None => return Err(absent(&url).into()),
        };
        let place = place_of(&page, &url, client.base())?;
        let begin = match after.take() {
            None => 0,
            Some(entry) => {
                1 + page
                    .entries
                    .iter()
                    .rposition(|one| one.id == entry)
                    .ok_or_else(|| FeedError::Anew(url.path().to_owned()))?
            }
        };
        let next = page.link("next-archive").map(|next| here(next, client.base())).transpose()?;
        for entry in page.entries.into_iter().skip(begin) {
            if walked.entries.len() >= room {
                walked.more = true;
                return Ok(walked);
            }
            walked.mark = Some(Mark { page: place.to_string(), entry: entry.id.clone() });
            walked.entries.push(entry);
        }
        let Some(next) = next else { return Ok(walked) };
        if visited.len() >= PAGES && walked.entries.is_empty() {
            let words = format!("it has {PAGES} pages in a row without a new entry");
            return Err(LinkError(words).into());
        }
        if visited.len() >= PAGES {
            walked.more = true;
            return Ok(walked);
        }
        url = next;
    }
}

/// What stays true of a page when a newer one begins: its numbered URL.
fn place_of(page: &AtomPage, url: &Url, base: &Url) -> Result<Url, LinkError> {
    page.link("via").map_or(Ok(url.clone()), |via| here(via, base))
}

fn loops(url: &Url) -> LinkError {
    LinkError(format!("its pages loop: {} comes again", url.path()))
}

fn absent(url: &Url) -> LinkError {
    LinkError(format!("its page {} is not there", url.path()))
}

/// The newest entry of a feed: what comes after it is new. `None` where it has none yet.
pub(super) async fn newest(client: &Feeds<'_>, feed: &str) -> Result<Option<Mark>, LinkError> {
    let recent = recent(client, feed)?;
    let Some(page) = client.page(&recent).await? else { return Ok(None) };
    let place = place_of(&page, &recent, client.base())?;
    let last = page.entries.last();
    Ok(last.map(|entry| Mark { page: place.to_string(), entry: entry.id.clone() }))
}

/// The URL of a feed's newest page.
fn recent(client: &Feeds<'_>, feed: &str) -> Result<Url, LinkError> {
    let path = match feed.strip_prefix('/') {
        Some(path) => format!("{path}/recent"),
        None => format!("ws/atomfeed/{feed}/recent"),
    };
    here(&path, client.base())
}

/// Where a feed begins; `None` where it has no page yet. Where pages are numbered the first is
/// asked for, and else the way back is walked.
async fn first_page(client: &Feeds<'_>, feed: &str) -> Result<Option<Url>, LinkError> {
    let recent = recent(client, feed)?;
    let Some(page) = client.page(&recent).await? else { return Ok(None) };
    let mut url = place_of(&page, &recent, client.base())?;
    let mut back = page.link("prev-archive").map(|url| here(url, client.base())).transpose()?;
    if back.is_none() {
        return Ok(Some(url));
    }
    if let Some(first) = numbered_first(&url)
        && let Some(page) = client.page(&first).await?
        && page.link("prev-archive").is_none()
    {
        return Ok(Some(first));
    }
    let mut visited = BTreeSet::from([url.clone()]);
    while let Some(before) = back {
        if !visited.insert(before.clone()) {
            return Err(loops(&before));
        }
        if visited.len() > PAGES_BACK {
            return Err(LinkError(format!("it has no first page within {PAGES_BACK} pages")));
        }
        let page = client.page(&before).await?.ok_or_else(|| absent(&before))?;
        back = page.link("prev-archive").map(|url| here(url, client.base())).transpose()?;
        url = before;
    }
    Ok(Some(url))
}

/// Page 1, where a URL ends in a page's number.
fn numbered_first(url: &Url) -> Option<Url> {
    let (folder, number) = url.path().rsplit_once('/')?;
    number.parse::<u64>().ok()?;
    let mut first = url.clone();
    first.set_path(&format!("{folder}/1"));
    Some(first)
}
