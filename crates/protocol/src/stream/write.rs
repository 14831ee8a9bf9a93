//! Values to lines. Fields that say nothing are left out.

use std::fmt::{Display, Write as _};

use super::{Base, Differing, Header, OutLine, OutRecord, OutcomeLine, PROTOCOL_VERSION};
use crate::change::ChangeId;
use crate::delivery::Outcome;
use crate::digest::{self, Digest};
use crate::feed::EntryKind;
use crate::json::Text;

/// Appends the header and its newline.
pub fn write_header(out: &mut String, header: &Header) {
    let mut object = Members::begin(out);
    object.number("stream", PROTOCOL_VERSION);
    object.name("feed", header.feed);
    object.name("epoch", header.epoch);
    object.number("sequence", header.sequence);
    object.number("after", header.after);
    object.number("head", header.head);
    if header.behind > 0 || header.oldest.is_some() {
        object.key("behind");
        let mut behind = Members::begin(object.out);
        behind.number("changes", header.behind);
        if let Some(oldest) = header.oldest {
            behind.name("oldest", oldest);
        }
        behind.end();
    }
    object.end_line();
}

/// Appends a line, its sum and its newline. The sum covers the digests of the resources and of
/// the deletions, in order; held and left records do not count, and a line without any that
/// count has no sum.
pub fn write_line(out: &mut String, line: &OutLine) {
    let mut object = Members::begin(out);
    if let Some(position) = line.position {
        object.number("position", position);
    }
    if line.position.is_some() || line.kind != EntryKind::Change {
        object.name("kind", line.kind.as_str());
    }
    if let Some(id) = &line.id {
        object.id(id);
    }
    if !line.covers.is_empty() {
        object.list("covers", &line.covers, |out, number| {
            let _ = write!(out, "{number}");
        });
    }
    object.part(line.part);
    if let Some(author) = &line.author {
        object.text("author", author.as_str());
    }
    if let Some(at) = line.at {
        object.name("at", at);
    }
    if !line.patients.is_empty() {
        object.list("patients", &line.patients, |out, patient| {
            let _ = write!(out, "\"{patient}\"");
        });
    }
    if let Some(reason) = &line.reason {
        object.text("reason", reason);
    }
    let mut digests = Vec::new();
    if !line.records.is_empty() {
        object.list("records", &line.records, |out, record| {
            digests.extend(write_record(out, record));
        });
    }
    if !digests.is_empty() {
        object.name("sum", digest::sum(&digests));
    }
    object.end_line();
}

/// Appends one record; gives the digest that counts in the sum.
fn write_record(out: &mut String, record: &OutRecord) -> Option<Digest> {
    let mut object = Members::begin(out);
    let digest = match record {
        OutRecord::Resource { body, digest, base, .. } => {
            debug_assert!(!body.contains('\n'), "a body is compact JSON");
            object.key("resource");
            object.out.push_str(body);
            object.base(*base);
            Some(*digest)
        }
        OutRecord::Deleted { reference, base } => {
            object.name("deleted", reference);
            object.base(*base);
            Some(Digest::of_deletion(reference))
        }
        OutRecord::Held(reference) => {
            object.name("held", reference);
            None
        }
        OutRecord::Left(reference) => {
            object.name("left", reference);
            None
        }
    };
    object.end();
    digest
}

/// Appends the end line and its newline.
pub fn write_end(out: &mut String, end: u64, more: bool) {
    let mut object = Members::begin(out);
    object.number("end", end);
    object.number("more", more);
    object.end_line();
}

/// Appends an outcome line and its newline.
pub fn write_outcome(out: &mut String, outcome: &OutcomeLine) {
    let mut object = Members::begin(out);
    object.id(&outcome.id);
    object.part(outcome.part);
    object.name("outcome", outcome.outcome.as_str());
    if let Some(reason) = &outcome.reason {
        object.text("reason", reason);
    }
    object.number("sequence", outcome.sequence);
    if !outcome.differs.is_empty() {
        object.list("differs", &outcome.differs, |out, Differing { record, digest, had }| {
            // What has not been looked at needs no word where the line was known.
            let had = match (*had, outcome.outcome) {
                (true, _) => ",true",
                (false, Outcome::Already) => "",
                (false, _) => ",false",
            };
            let _ = write!(out, "[\"{record}\",\"{digest}\"{had}]");
        });
    }
    object.end_line();
}

/// The members of one object, appended one by one.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl<'a> Members<'a> {
    fn begin(out: &'a mut String) -> Self {
        out.push('{');
        Members { out, first: true }
    }
    fn key(&mut self, key: &str) {
        let comma = if std::mem::take(&mut self.first) { "" } else { "," };
        let _ = write!(self.out, "{comma}\"{key}\":");
    }
    /// A number, `true` or `false`.
    fn number(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "{value}");
    }
    /// A string of characters that need no escape.
    fn name(&mut self, key: &str, value: impl Display) {
        self.key(key);
        let _ = write!(self.out, "\"{value}\"");
    }
    /// Any string. No reader takes a NUL, escaped or not.
    fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        Text::plain(value.replace('\0', "\u{fffd}")).write(self.out);
    }
    fn id(&mut self, id: &ChangeId) {
        self.key("id");
        let _ = write!(self.out, "[\"{}\",\"{}\",{}]", id.origin, id.epoch, id.number);
    }
    fn part(&mut self, part: Option<(u32, u32)>) {
        if let Some((part, parts)) = part {
            self.number("part", part);
            self.number("parts", parts);
        }
    }
    fn base(&mut self, base: Option<Base>) {
        let Some(base) = base else { return };
        if let Some(digest) = base.digest {
            self.name("base", digest);
        }
        if base.relayed {
            self.number("relayed", true);
        }
        if let Some(since) = base.since {
            self.number("since", since);
        }
    }
    fn list<T>(&mut self, key: &str, items: &[T], mut write: impl FnMut(&mut String, &T)) {
        self.key(key);
        self.out.push('[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.out.push(',');
            }
            write(self.out, item);
        }
        self.out.push(']');
    }
    fn end(self) {
        self.out.push('}');
    }
    fn end_line(self) {
        self.out.push_str("}\n");
    }
}
