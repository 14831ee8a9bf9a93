//! A conflict to the text of its record.

use std::collections::BTreeSet;

use super::{Body, CODE, Conflict, DECIDED, Mark, PATIENT, SYSTEM, State, URL, Version};
use crate::digest::ShortDigest;
use crate::id::RecordRef;
use crate::json::{self, Json, Object, Text};

impl Conflict {
    /// The resource, named `name`: compact JSON, always the same bytes for the same conflict.
    pub fn to_body(&self, name: &RecordRef) -> String {
        let mut members = vec![
            ("resourceType", Json::string("Basic")),
            ("id", Json::string(name.id().to_owned())),
            ("extension", Json::Array(self.extensions())),
        ];
        let coding = object(vec![
            ("system", Json::string(SYSTEM)),
            ("code", Json::string(CODE)),
            ("display", Json::string("Conflict of two versions of a record")),
        ]);
        members.push(("code", object(vec![("coding", Json::Array(vec![coding]))])));
        if let Some(patient) = self.patients.first() {
            members.push(("subject", reference(patient)));
        }
        object(members).to_text()
    }

    fn extensions(&self) -> Vec<Json<'_>> {
        let mut all = vec![
            ours("record", "valueString", Json::string(self.record.to_string())),
            ours("state", "valueCode", Json::string(self.state.name())),
        ];
        if self.round > 0 {
            let round = Json::Number(self.round.to_string().into());
            all.push(ours("round", "valueUnsignedInt", round));
        }
        for (name, site) in [("parent-site", &self.parent_site), ("child-site", &self.child_site)] {
            all.push(ours(name, "valueString", Json::string(site.as_str())));
        }
        for element in &self.elements {
            let parts = vec![string("path", &element.path), string("rule", &element.rule)];
            all.push(nested("element", parts));
        }
        let mut told = BTreeSet::new();
        for (name, version) in self.versions().filter(|(name, _)| *name != DECIDED) {
            all.push(nested(name, parts_of(version, &mut told)));
        }
        match &self.state {
            State::Open(None) => {}
            State::Open(Some(mark)) => all.push(nested("reopened", marked(mark))),
            State::Confirmed(mark) => all.push(nested("confirmed", marked(mark))),
            State::Decided(decision) => {
                let mut parts = vec![string("how", &decision.how)];
                parts.extend(marked(&decision.mark));
                parts.extend(parts_of(&decision.version, &mut told));
                all.push(nested("decided", parts));
            }
        }
        for patient in self.patients.iter().skip(1) {
            all.push(part(PATIENT, "valueReference", reference(patient)));
        }
        let others = self.others.iter();
        all.extend(others.filter_map(|text| json::parse(text.as_bytes(), json::DEPTH_MAX).ok()));
        all
    }
}

/// A version; with its body, unless that was `told` under the same digest before.
fn parts_of<'c>(version: &'c Version, told: &mut BTreeSet<ShortDigest>) -> Vec<Json<'c>> {
    let mut parts = vec![part("digest", "valueString", Json::string(version.digest.to_string()))];
    match &version.body {
        Body::Whole(text) if told.insert(version.digest) => parts.push(string("body", text)),
        Body::Whole(_) => {}
        Body::Deleted => parts.push(part("deleted", "valueBoolean", Json::Bool(true))),
        Body::LeftOut => {}
    }
    parts
}

fn marked(mark: &Mark) -> Vec<Json<'_>> {
    let at = Json::string(mark.at.to_string());
    let mut parts = vec![
        string("by", mark.by.as_str()),
        string("site", mark.site.as_str()),
        part("at", "valueInstant", at),
    ];
    parts.extend(mark.why.as_deref().map(|why| string("why", why)));
    parts
}

fn reference(record: &RecordRef) -> Json<'static> {
    object(vec![("reference", Json::string(record.to_string()))])
}

/// An extension of ours.
fn ours<'a>(name: &str, key: &'static str, value: Json<'a>) -> Json<'a> {
    part(format!("{URL}{name}"), key, value)
}

/// An extension of ours with extensions in it.
fn nested<'a>(name: &str, parts: Vec<Json<'a>>) -> Json<'a> {
    ours(name, "extension", Json::Array(parts))
}

fn string<'a>(url: &'static str, value: &'a str) -> Json<'a> {
    part(url, "valueString", Json::string(value))
}

fn part<'a>(
    url: impl Into<std::borrow::Cow<'a, str>>,
    key: &'static str,
    value: Json<'a>,
) -> Json<'a> {
    object(vec![("url", Json::string(url)), (key, value)])
}

fn object<'a>(members: Vec<(&'static str, Json<'a>)>) -> Json<'a> {
    let members = members.into_iter().map(|(key, value)| (Text::plain(key), value));
    Json::Object(Object::from_members(members.collect()))
}
