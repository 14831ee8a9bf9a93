//! Feeds as their readers see them.

mod pages;
mod property;
mod streams;

use protocol::stream::{Lane, OutLine, OutRecord};

use super::*;
use crate::sqlite::testing::{World, east};

/// A first request of the whole of a lane.
fn ask(feed: &str, lane: Lane, marker: u64) -> FeedQuery {
    let feed = feed.to_owned();
    FeedQuery { feed, lane, marker, after: marker, epoch: None, to: None, bytes: 1 << 20 }
}

fn slice(world: &World, query: &FeedQuery) -> FeedSlice {
    world.store.feed_changes(query, &east(&["a", "b"])).unwrap().unwrap()
}

/// Lines as short texts: position, kind, records.
fn told(lines: &[OutLine]) -> Vec<String> {
    lines.iter().map(line_text).collect()
}

fn line_text(line: &OutLine) -> String {
    let records: Vec<String> = line.records.iter().map(record_text).collect();
    let position = line.position.unwrap();
    format!("{position} {} {}", line.kind.as_str(), records.join(" ")).trim_end().to_owned()
}

fn record_text(record: &OutRecord) -> String {
    match record {
        OutRecord::Resource { body, base, .. } => {
            let json: serde_json::Value = serde_json::from_str(body).unwrap();
            let base = if base.is_some() { "+base" } else { "" };
            let (id, n) = (json["id"].as_str().unwrap(), &json["n"]);
            format!("{id}={n}{base}")
        }
        OutRecord::Deleted { reference, .. } => format!("{}:deleted", reference.id()),
        OutRecord::Held(reference) => format!("{}:held", reference.id()),
        OutRecord::Left(reference) => format!("{}:left", reference.id()),
    }
}
