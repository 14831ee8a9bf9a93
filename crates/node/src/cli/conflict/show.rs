//! One conflict in 80 columns: the two sides beside each other, only where they differ.

use protocol::conflict::{Compared, State};
use protocol::{Refusal, Timestamp};
use store::{ConflictView, Writer};

use crate::cli::status::ago;
use crate::conflicts;

/// Columns of the text, of its first column, and of each side.
const COLUMNS: usize = 80;
const LABEL: usize = 20;
const SIDE: usize = 28;

/// The conflict, for people.
pub(super) fn text(view: &ConflictView, now: Timestamp) -> Result<String, Refusal> {
    let info = &view.info;
    let mut text = format!("{}\n", info.id);
    let since = ago(now, info.noted);
    line(&mut text, "", &format!("{}: {}, noted {since}", info.record, state(view)));
    if let Some(why) = view.conflict.state.mark().and_then(|mark| mark.why.as_deref()) {
        line(&mut text, "", &format!("why: {why}"));
    }
    text.push('\n');
    let heads = [format!("{} (parent)", info.parent), format!("{} (child)", info.child)];
    columns(&mut text, "", [&heads[0], &heads[1]]);
    let writers = ["parent", "child"].map(|side| view.writers.get(side).map(wrote));
    if writers.iter().any(Option::is_some) {
        let writers = writers.map(Option::unwrap_or_default);
        columns(&mut text, "", [&writers[0], &writers[1]]);
    }
    text.push_str(&format!("{}\n", "-".repeat(COLUMNS)));
    let rows = conflicts::differences(view)?;
    for row in &rows {
        element(&mut text, row);
    }
    let missing = view.conflict.missing();
    if !missing.is_empty() {
        let (parent, child) = (&info.parent, &info.child);
        let missing = missing.join(", ");
        let where_to = format!("It is in the record's history at {parent} or {child}.");
        line(&mut text, "", &format!("Not at this site: the version {missing}. {where_to}"));
    }
    if matches!(view.conflict.state, State::Open(_)) {
        let id = info.id.rsplit('-').next().unwrap_or_default();
        let id = id.chars().take(10).collect::<String>();
        line(&mut text, "", "* stands now. To decide:");
        line(&mut text, "  ", &format!("tributary conflict confirm {id}"));
        line(&mut text, "  ", &format!("tributary conflict resolve {id} --take parent | child"));
    } else {
        line(&mut text, "", "* stands now.");
    }
    Ok(text)
}

fn state(view: &ConflictView) -> String {
    let name = view.info.state;
    let Some(mark) = &view.info.by else { return name.to_owned() };
    let (by, site, at) = (mark.by.as_str(), &mark.site, mark.at);
    let how = conflicts::how(&view.conflict).map_or(String::new(), |how| format!(" ({how})"));
    let again = if name == "open" { " again" } else { "" };
    format!("{name}{again}{how} by {by} at {site}, {at}")
}

fn wrote(writer: &Writer) -> String {
    format!("{}, {}", writer.by, writer.at)
}

/// One element: both sides, then what was before, what decided, and what the record says if it is
/// neither.
fn element(text: &mut String, row: &Compared) {
    let value = |value: &Option<String>, side: &str| {
        let star = if row.stands == side { "* " } else { "" };
        format!("{star}{}", value.as_deref().unwrap_or("(nothing)"))
    };
    let [parent, child] = [value(&row.parent, "parent"), value(&row.child, "child")];
    columns(text, &row.path, [&parent, &child]);
    let before = row.base.as_deref().unwrap_or("(nothing, or not known)");
    line(text, "    ", &format!("before: {before}"));
    match &row.rule {
        Some(rule) => line(text, "    ", &format!("decided for now by the rule: {rule}")),
        None => line(text, "    ", "only one side had changed it: nothing to decide"),
    }
    if row.stands == "other" {
        let now = row.now.as_deref().unwrap_or("(nothing)");
        line(text, "    ", &format!("* now: {now}"));
    }
    text.push('\n');
}

/// A label and two texts beside each other, each wrapped in its column.
fn columns(text: &mut String, label: &str, sides: [&str; 2]) {
    let cells = [wrap(label, LABEL), wrap(sides[0], SIDE), wrap(sides[1], SIDE)];
    let lines = cells.iter().map(Vec::len).max().unwrap_or(0);
    for at in 0..lines {
        let [label, parent, child] =
            [0, 1, 2].map(|cell: usize| cells[cell].get(at).map_or("", String::as_str));
        let line = format!("{label:<LABEL$}  {parent:<SIDE$}  {child}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// A text in lines of its own, each after `indent`.
fn line(text: &mut String, indent: &str, words: &str) {
    for part in wrap(words, COLUMNS - indent.len()) {
        text.push_str(&format!("{indent}{part}\n"));
    }
}

/// Cuts at spaces where that can be, else within a word.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let mut rest: Vec<char> = word.chars().collect();
        loop {
            let current = lines.last_mut().expect("there is always a line");
            let used = current.chars().count();
            let gap = usize::from(used > 0);
            if used + gap + rest.len() <= width {
                if gap > 0 {
                    current.push(' ');
                }
                current.extend(rest);
                break;
            }
            if used > 0 {
                lines.push(String::new());
                continue;
            }
            current.extend(rest.drain(..width));
            lines.push(String::new());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_at_spaces_or_within_a_long_word() {
        assert_eq!(wrap("", 5), [""]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrap("ééééé", 2), ["éé", "éé", "é"]);
    }

    #[test]
    fn two_sides_stand_beside_each_other_within_the_columns() {
        let mut text = String::new();
        let long = "Amina Atieno Odhiambo of Kisumu East".repeat(2);
        columns(&mut text, "name[official].given.and.more", [&long, "B"]);
        assert!(text.lines().all(|line| line.chars().count() <= COLUMNS), "{text}");
        assert!(text.lines().count() >= 3, "{text}");
    }
}
