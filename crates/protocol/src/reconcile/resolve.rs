//! The merge once more, with what people chose.

use std::collections::BTreeMap;

use super::contest::{Contest, Contested};
use super::merge::Merge;
use super::{DELETED, Policies, Side, parse};
use crate::error::Refusal;
use crate::json::{Json, Object};

/// The merge of three versions in which the side named in `choices` stands at each of the paths
/// that it names. What nobody chose is decided as `reconcile` decides it, `latest` as `parent`
/// (times are no part of a version). `None` is a deletion.
///
/// Fails where a body is not a JSON object, and where a path of `choices` is not contested: the
/// refusal names those that are.
pub fn resolve(
    base: Option<&str>,
    parent: Option<&str>,
    child: Option<&str>,
    policies: &Policies,
    choices: &BTreeMap<String, Side>,
) -> Result<Option<String>, Refusal> {
    let (Some(parent_body), Some(child_body)) = (parent, child) else {
        check_paths(choices, &[DELETED])?;
        let chosen = match choices.get(DELETED) {
            Some(Side::Parent) => parent,
            Some(Side::Child) => child,
            None => parent.or(child),
        };
        return chosen.map(|body| Ok(text(&parse(body)?))).transpose();
    };
    let base = base.map(parse).transpose()?;
    let (parent, child) = (parse(parent_body)?, parse(child_body)?);
    let contest = Contest::new(policies, kind(&parent), None, Some(choices));
    let mut merge = Merge::new(contest);
    let merged = merge.resource(base.as_ref(), &parent, &child);
    let contested = merge.into_contested();
    let paths: Vec<&str> = contested.iter().map(|Contested { path, .. }| path.as_str()).collect();
    check_paths(choices, &paths)?;
    let mut body = String::with_capacity(parent_body.len() + child_body.len());
    merged.write(&mut body);
    Ok(Some(body))
}

/// The type that a resource says it has.
pub(super) fn kind(resource: &Object<'_>) -> String {
    resource.get("resourceType").and_then(Json::as_str).unwrap_or_default().into_owned()
}

fn text(resource: &Object<'_>) -> String {
    let mut body = String::new();
    resource.write(&mut body);
    body
}

fn check_paths(choices: &BTreeMap<String, Side>, contested: &[&str]) -> Result<(), Refusal> {
    let Some(odd) = choices.keys().find(|path| !contested.contains(&path.as_str())) else {
        return Ok(());
    };
    let known = if contested.is_empty() { "nothing is".to_owned() } else { contested.join(", ") };
    Err(Refusal::invalid(format!("{odd} is not contested; contested: {known}")))
}
