//! Conflicts as people and programs see them, and the words in which they decide: the same for
//! the command line and for `/sync/conflicts`.

use std::collections::BTreeMap;

use protocol::conflict::{self, Body, Choice, Compared, Conflict};
use protocol::reconcile::Side;
use protocol::{Refusal, SiteId};
use serde::Serialize;
use serde_json::{Value, json};
use store::{ConflictView, Writer};

/// One conflict as JSON.
#[derive(Debug, Serialize)]
struct Told<'v> {
    #[serde(flatten)]
    info: &'v store::ConflictInfo,
    /// What was taken, where it was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    how: Option<&'v str>,
    /// Side by side: only what differs, in words.
    differences: Vec<Compared>,
    versions: BTreeMap<&'static str, Value>,
}

/// What a conflict says, side by side and with its versions.
pub fn told(view: &ConflictView) -> Result<Value, Refusal> {
    let versions = view.conflict.versions().map(|(name, version)| {
        let mut told = json!({"digest": version.digest.to_string()});
        match &version.body {
            // As text: number literals stay as they were written.
            Body::Whole(text) => told["body"] = Value::from(text.as_str()),
            Body::Deleted => told["deleted"] = Value::from(true),
            Body::LeftOut => told["left_out"] = Value::from(true),
        }
        if let Some(Writer { by, site, at }) = view.writers.get(name) {
            told["by"] = Value::from(by.as_str());
            told["at"] = Value::from(at.to_string());
            if let Some(site) = site {
                told["site"] = Value::from(site.as_str());
            }
        }
        (name, told)
    });
    let told = Told {
        info: &view.info,
        how: how(&view.conflict),
        differences: differences(view)?,
        versions: versions.collect(),
    };
    serde_json::to_value(told).map_err(|error| Refusal::invalid(error.to_string()))
}

/// What was taken, where it was decided.
pub(crate) fn how(conflict: &Conflict) -> Option<&str> {
    match &conflict.state {
        conflict::State::Decided(decision) => Some(&decision.how),
        _ => None,
    }
}

/// The differing elements of a conflict.
pub(crate) fn differences(view: &ConflictView) -> Result<Vec<Compared>, Refusal> {
    let now = view.now.as_ref().map(|version| version.body.as_deref());
    conflict::compare(&view.conflict, now)
}

/// What somebody takes, in words: `parent`, `child`, `ours`, `theirs`, the id of a site, `keep`,
/// `delete`; or elements with one of the sides each, as `birthDate=theirs`.
pub(crate) fn choice(
    words: &[String],
    own: &SiteId,
    conflict: &Conflict,
) -> Result<Choice, Refusal> {
    if let [word] = words
        && !word.contains('=')
    {
        return match word.as_str() {
            "keep" => Ok(Choice::Keep),
            "delete" => Ok(Choice::Delete),
            word => Ok(Choice::Side(side(word, own, conflict)?)),
        };
    }
    let mut chosen = BTreeMap::new();
    for (path, word) in elements(words)? {
        chosen.insert(path, side(&word, own, conflict)?);
    }
    Ok(Choice::Elements(chosen))
}

/// Elements and sides: several may stand in one text, with commas between them. A path may have
/// commas of its own, so only what ends in `=SIDE` ends there.
fn elements(words: &[String]) -> Result<Vec<(String, String)>, Refusal> {
    let mut found = Vec::new();
    for text in words {
        let mut path = String::new();
        for part in text.split(',') {
            if !path.is_empty() {
                path.push(',');
            }
            path.push_str(part);
            if let Some((element, word)) = path.rsplit_once('=')
                && is_closed(element)
                && is_closed(word)
            {
                found.push((element.trim().to_owned(), word.trim().to_owned()));
                path.clear();
            }
        }
        if !path.is_empty() {
            let reason = "what to take is one side, or ELEMENT=SIDE, with commas between several";
            return Err(Refusal::invalid(reason));
        }
    }
    Ok(found)
}

/// Whether no label is left open: what stands between brackets ends nothing.
fn is_closed(path: &str) -> bool {
    path.matches('[').count() == path.matches(']').count()
}

/// The side that a word names.
fn side(word: &str, own: &SiteId, conflict: &Conflict) -> Result<Side, Refusal> {
    let (parent, child) = (&conflict.parent_site, &conflict.child_site);
    let ours = if own == parent {
        Some(Side::Parent)
    } else if own == child {
        Some(Side::Child)
    } else {
        None
    };
    match (word, ours) {
        ("parent", _) => Ok(Side::Parent),
        ("child", _) => Ok(Side::Child),
        ("ours", Some(side)) => Ok(side),
        ("theirs", Some(Side::Parent)) => Ok(Side::Child),
        ("theirs", Some(Side::Child)) => Ok(Side::Parent),
        ("ours" | "theirs", None) => Err(Refusal::invalid(format!(
            "{own} is neither side of this conflict; say parent ({parent}) or child ({child})"
        ))),
        (word, _) if word == parent.as_str() => Ok(Side::Parent),
        (word, _) if word == child.as_str() => Ok(Side::Child),
        (word, _) => {
            let word = word.chars().take(63).collect::<String>();
            Err(Refusal::invalid(format!(
                "{word} is neither side; say parent ({parent}), child ({child}), ours or theirs"
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conflict() -> Conflict {
        let line = include_str!("../../protocol/fixtures/v1/conflicts.ndjson").lines().next();
        conflict::read(line.unwrap()).unwrap().unwrap()
    }

    fn chosen(words: &[&str], own: &str) -> Result<Choice, String> {
        let words = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        choice(&words, &own.parse().unwrap(), &conflict()).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn sides_are_named_by_where_one_stands() {
        for (word, own, side) in [
            ("parent", "centre", Side::Parent),
            ("child", "centre", Side::Child),
            ("ours", "centre", Side::Parent),
            ("theirs", "centre", Side::Child),
            ("ours", "clinic", Side::Child),
            ("theirs", "clinic", Side::Parent),
            ("centre", "elsewhere", Side::Parent),
            ("clinic", "elsewhere", Side::Child),
        ] {
            assert_eq!(chosen(&[word], own), Ok(Choice::Side(side)), "{word} at {own}");
        }
        assert_eq!(chosen(&["keep"], "centre"), Ok(Choice::Keep));
        assert_eq!(chosen(&["delete"], "centre"), Ok(Choice::Delete));
        for (word, own) in [("ours", "elsewhere"), ("theirs", "elsewhere"), ("moon", "centre")] {
            let error = chosen(&[word], own).unwrap_err();
            assert!(
                error.contains("parent (centre)") && error.contains("child (clinic)"),
                "{error}"
            );
        }
    }

    #[test]
    fn elements_are_named_one_by_one() {
        let sides = |list: &[(&str, Side)]| {
            let list = list.iter().map(|(path, side)| ((*path).to_owned(), *side));
            Ok(Choice::Elements(list.collect()))
        };
        let (parent, child) = (Side::Parent, Side::Child);
        assert_eq!(chosen(&["birthDate=theirs"], "centre"), sides(&[("birthDate", child)]));
        let both = sides(&[("birthDate", child), ("name[official].given", parent)]);
        assert_eq!(chosen(&["birthDate=child,name[official].given=ours"], "centre"), both);
        assert_eq!(chosen(&["birthDate=child", "name[official].given=ours"], "centre"), both);
        let odd = "identifier[urn:a=b,c|1].value=clinic";
        let expected = sides(&[("identifier[urn:a=b,c|1].value", child)]);
        assert_eq!(chosen(&[odd], "centre"), expected);
        for bad in [&["a=child,b"][..], &["a", "b"], &["a=moon"]] {
            assert!(chosen(bad, "centre").is_err(), "{bad:?}");
        }
    }
}
