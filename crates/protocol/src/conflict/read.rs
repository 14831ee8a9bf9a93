//! The text of a record to the conflict that it is.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Body, CODE, Conflict, Contested, Decision, Mark, PATIENT, SYSTEM, State, URL, Version,
};
use crate::change::Author;
use crate::digest::Digest;
use crate::error::Refusal;
use crate::id::RecordRef;
use crate::json::{self, Json};
use crate::resource::references::record_at;

/// Reads the body of a `Basic`. `Ok(None)` where it is none of ours; refused where it says that
/// it is a conflict and a part that no conflict can do without is missing or impossible.
pub fn read(body: &str) -> Result<Option<Conflict>, Refusal> {
    let basic = json::parse(body.as_bytes(), json::DEPTH_MAX)?;
    if basic.str_at("resourceType").as_deref() != Some("Basic") || !is_conflict(&basic) {
        return Ok(None);
    }
    let found = Extensions::of(&basic);
    let text = |name: &'static str| found.text(name).ok_or_else(|| missing(name));
    let version = |name: &'static str| found.one(name).map(|one| version_of(one, name)).transpose();
    let whole = |name: &'static str| version(name)?.ok_or_else(|| missing(name));
    let mut patients = BTreeSet::new();
    patients.extend(basic.get("subject").and_then(record_at));
    super::each_patient(&basic, &mut |at| patients.extend(record_at(at)));
    let mut conflict = Conflict {
        record: text("record")?.parse()?,
        parent_site: text("parent-site")?.parse()?,
        child_site: text("child-site")?.parse()?,
        base: version("base")?,
        parent: whole("parent")?,
        child: whole("child")?,
        result: whole("result")?,
        elements: found.all("element").map(contested).collect::<Result<_, _>>()?,
        patients,
        round: match found.one("round") {
            Some(round) => number(round).ok_or_else(|| missing("round"))?,
            None => 0,
        },
        state: state(&found)?,
        others: found.others(),
    };
    fill_in(&mut conflict);
    for (name, version) in conflict.versions() {
        agrees(&conflict.record, name, version)?;
    }
    Ok(Some(conflict))
}

/// A version is what its digest says: nobody puts words into the mouth of a site.
fn agrees(record: &RecordRef, name: &str, version: &Version) -> Result<(), Refusal> {
    let digest = match &version.body {
        Body::LeftOut => return Ok(()),
        Body::Deleted => Digest::of_deletion(record),
        Body::Whole(text) => {
            let resource = json::parse(text.as_bytes(), json::DEPTH_MAX)?;
            let is = |member: &str, text: &str| resource.str_at(member).as_deref() == Some(text);
            if !is("resourceType", record.kind.name()) || !is("id", record.id()) {
                let reason = format!("the {name} of a conflict is of another record");
                return Err(Refusal::invalid(reason));
            }
            Digest::of(&resource)
        }
    };
    if digest.short() == version.digest {
        return Ok(());
    }
    Err(Refusal::invalid(format!("the {name} of a conflict is not what its digest says")))
}

/// A body stands once, where versions are the same.
fn fill_in(conflict: &mut Conflict) {
    let whole = conflict.versions().filter(|(_, version)| version.body != Body::LeftOut);
    let bodies = whole.map(|(_, version)| (version.digest, version.body.clone()));
    let bodies = bodies.collect::<BTreeMap<_, _>>();
    for version in conflict.versions_mut().filter(|version| version.body == Body::LeftOut) {
        if let Some(body) = bodies.get(&version.digest) {
            version.body = body.clone();
        }
    }
}

fn is_conflict(basic: &Json<'_>) -> bool {
    let codings =
        basic.get("code").and_then(|code| code.get("coding")).map_or(&[][..], Json::items);
    codings.iter().any(|coding| {
        coding.str_at("system").as_deref() == Some(SYSTEM)
            && coding.str_at("code").as_deref() == Some(CODE)
    })
}

fn missing(name: &str) -> Refusal {
    Refusal::invalid(format!("a conflict has no {name}, or one that cannot be"))
}

fn state(found: &Extensions<'_, '_>) -> Result<State, Refusal> {
    let part = |name: &'static str| found.one(name).ok_or_else(|| missing(name));
    match found.text("state").as_deref() {
        Some("open") => Ok(State::Open(found.one("reopened").map(mark).transpose()?)),
        Some("confirmed") => Ok(State::Confirmed(mark(part("confirmed")?)?)),
        Some("decided") => {
            let decided = part("decided")?;
            Ok(State::Decided(Decision {
                mark: mark(decided)?,
                how: inner(decided, "how").ok_or_else(|| missing("how"))?,
                version: version_of(decided, "decided")?,
            }))
        }
        _ => Err(missing("state")),
    }
}

fn mark(extension: &Json<'_>) -> Result<Mark, Refusal> {
    let text = |name: &'static str| inner(extension, name).ok_or_else(|| missing(name));
    Ok(Mark {
        by: Author::new(&text("by")?),
        site: text("site")?.parse()?,
        at: text("at")?.parse()?,
        why: inner(extension, "why").map(|why| why.chars().take(super::WHY_CHARS).collect()),
    })
}

fn version_of(extension: &Json<'_>, name: &str) -> Result<Version, Refusal> {
    let digest = inner(extension, "digest").and_then(|digest| digest.parse().ok());
    let deleted = part(extension, "deleted").is_some();
    let body = match inner(extension, "body") {
        Some(text) => Body::Whole(text),
        None if deleted => Body::Deleted,
        None => Body::LeftOut,
    };
    Ok(Version { digest: digest.ok_or_else(|| missing(name))?, body })
}

fn contested(extension: &Json<'_>) -> Result<Contested, Refusal> {
    let text = |name: &'static str| inner(extension, name).ok_or_else(|| missing(name));
    Ok(Contested { path: text("path")?, rule: text("rule")? })
}

/// The text of an extension in an extension.
fn inner(extension: &Json<'_>, url: &str) -> Option<String> {
    value(part(extension, url)?)?.as_str().map(|text| text.into_owned())
}

fn part<'t, 'a>(extension: &'t Json<'a>, url: &str) -> Option<&'t Json<'a>> {
    let parts = extension.get("extension").map_or(&[][..], Json::items);
    parts.iter().find(|part| part.str_at("url").as_deref() == Some(url))
}

/// What an extension says, under whichever `value[x]`.
fn value<'t, 'a>(extension: &'t Json<'a>) -> Option<&'t Json<'a>> {
    let mut members = extension.as_object()?.iter();
    members.find(|(key, _)| key.decode().starts_with("value")).map(|(_, value)| value)
}

fn number(extension: &Json<'_>) -> Option<u32> {
    value(extension)?.as_number()?.parse().ok()
}

/// The extensions of a conflict by their names.
struct Extensions<'t, 'a> {
    items: &'t [Json<'a>],
}

/// The names that this program reads.
const KNOWN: [&str; 13] = [
    "record",
    "state",
    "round",
    "parent-site",
    "child-site",
    "element",
    "base",
    "parent",
    "child",
    "result",
    "reopened",
    "confirmed",
    "decided",
];

impl<'t, 'a> Extensions<'t, 'a> {
    fn of(basic: &'t Json<'a>) -> Self {
        Extensions { items: basic.get("extension").map_or(&[][..], Json::items) }
    }

    fn all(&self, name: &'static str) -> impl Iterator<Item = &'t Json<'a>> + use<'t, 'a> {
        self.items.iter().filter(move |one| named(one).as_deref() == Some(name))
    }

    fn one(&self, name: &'static str) -> Option<&'t Json<'a>> {
        self.all(name).next()
    }

    fn text(&self, name: &'static str) -> Option<String> {
        value(self.one(name)?)?.as_str().map(|text| text.into_owned())
    }

    /// What this program does not know.
    fn others(&self) -> Vec<String> {
        let known = |one: &Json<'_>| {
            one.str_at("url").as_deref() == Some(PATIENT)
                || named(one).is_some_and(|name| KNOWN.contains(&&*name))
        };
        self.items.iter().filter(|one| !known(one)).map(Json::to_text).collect()
    }
}

fn named(extension: &Json<'_>) -> Option<String> {
    extension.str_at("url")?.strip_prefix(URL).map(str::to_owned)
}
