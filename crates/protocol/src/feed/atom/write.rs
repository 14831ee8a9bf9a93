//! A page's model to its bytes.

use std::fmt::Write as _;

use quick_xml::escape::escape;

use super::{ATOM, AtomChange, AtomEntry, AtomLink, AtomPage, CONTENT_TYPE, HISTORY, TRIBUTARY};
use crate::time::Timestamp;

/// Without a version: an upgrade must not change the bytes of an archived page.
const GENERATOR: &str = "https://github.com/tributary-health/tributary";

/// Whether XML 1.0 can carry `c` at all.
pub(super) fn is_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// The whole document.
pub(super) fn document(page: &AtomPage) -> String {
    let mut out =
        Xml { text: String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"), depth: 0 };
    out.open("feed", &[("xmlns", ATOM), ("xmlns:fh", HISTORY), ("xmlns:t", TRIBUTARY)]);
    out.element("id", &[], &page.id);
    out.element("title", &[], &page.title);
    out.time("updated", page.updated);
    out.person(page.author.as_deref());
    out.element("generator", &[("uri", GENERATOR)], "Tributary");
    page.links.iter().for_each(|link| out.link(link));
    if page.archive {
        out.empty("fh:archive", &[]);
    }
    if let Some(source) = &page.source {
        let (id, epoch) = (source.id.to_string(), source.epoch.to_string());
        let head = source.head.map(|head| head.to_string());
        let mut attributes = vec![("id", id.as_str()), ("epoch", epoch.as_str())];
        attributes.extend(head.as_deref().map(|head| ("head", head)));
        out.empty("t:feed", &attributes);
    }
    page.entries.iter().for_each(|entry| out.entry(entry));
    out.close("feed");
    out.text
}

/// Writes elements one a line. Whatever text it is given, the result is well-formed.
struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    fn start(&mut self, name: &str, attributes: &[(&str, &str)]) {
        let _ = write!(self.text, "{:1$}<{name}", "", self.depth * 2);
        for (key, value) in attributes {
            // A reader makes one space of each line break or tab in an attribute.
            let value = clean(value).replace(['\t', '\n', '\r'], " ");
            let _ = write!(self.text, " {key}=\"{}\"", escape(value.as_str()));
        }
    }
    fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.text.push_str(">\n");
        self.depth += 1;
    }
    fn close(&mut self, name: &str) {
        self.depth -= 1;
        let _ = writeln!(self.text, "{:1$}</{name}>", "", self.depth * 2);
    }
    fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.start(name, attributes);
        self.text.push_str("/>\n");
    }
    fn element(&mut self, name: &str, attributes: &[(&str, &str)], text: &str) {
        self.start(name, attributes);
        let _ = writeln!(self.text, ">{}</{name}>", escape(clean(text).as_str()));
    }
    fn time(&mut self, name: &str, time: Option<Timestamp>) {
        if let Some(time) = time {
            self.element(name, &[], &time.to_string());
        }
    }
    fn person(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.start("author", &[]);
            let _ = writeln!(self.text, "><name>{}</name></author>", escape(clean(name).as_str()));
        }
    }
    fn link(&mut self, link: &AtomLink) {
        let mut attributes = vec![("rel", link.rel.as_str())];
        attributes.extend(link.media.as_deref().map(|media| ("type", media)));
        attributes.push(("href", &link.href));
        self.empty("link", &attributes);
    }
    fn entry(&mut self, entry: &AtomEntry) {
        self.open("entry", &[]);
        self.element("id", &[], &entry.id);
        self.element("title", &[], &entry.title);
        self.time("updated", entry.updated);
        self.time("published", entry.published);
        self.person(entry.author.as_deref());
        entry.categories.iter().for_each(|term| self.empty("category", &[("term", term)]));
        entry.links.iter().for_each(|link| self.link(link));
        if let Some(summary) = &entry.summary {
            self.element("summary", &[], summary);
        }
        if let Some(content) = &entry.content {
            // The ICT4H clients take content from a CDATA section and from nothing else.
            self.start("content", &[("type", CONTENT_TYPE)]);
            let _ = writeln!(self.text, "><![CDATA[{}]]></content>", cdata(content));
        }
        if let Some(change) = &entry.change {
            self.change(change);
        }
        self.close("entry");
    }
    fn change(&mut self, change: &AtomChange) {
        let position = change.position.to_string();
        let patients: Vec<_> = change.patients.iter().map(ToString::to_string).collect();
        let patients = patients.join(" ");
        let mut attributes = vec![("position", position.as_str()), ("kind", change.kind.as_str())];
        if !patients.is_empty() {
            attributes.push(("patient", &patients));
        }
        attributes.extend(change.author.as_ref().map(|author| ("author", author.as_str())));
        attributes.extend(change.reason.as_deref().map(|reason| ("reason", reason)));
        self.empty("t:change", &attributes);
    }
}

/// `text` with what XML cannot carry replaced.
fn clean(text: &str) -> String {
    text.chars().map(|c| if is_xml(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

/// The inside of a CDATA section: an end mark in the text is split over two sections.
fn cdata(text: &str) -> String {
    clean(text).replace("]]>", "]]]]><![CDATA[>")
}
