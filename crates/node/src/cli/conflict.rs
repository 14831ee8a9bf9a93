//! `tributary conflict`: what two sites changed apart, side by side, and a person's decision.

mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Subcommand;
use protocol::conflict::Choice;
use protocol::{Author, RecordRef};
use serde_json::json;
use store::{
    ConflictAction, ConflictDone, ConflictFilter, ConflictInfo, ConflictOrder, ConflictView,
    Disclosure, Scope,
};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::cli::status::ago;
use crate::conflicts;
use crate::disclosure;
use crate::site::Site;

/// Rows that are shown unless asked for more.
const ROWS: usize = 100;
/// Of an id, so many letters are shown in a list: enough to name it by.
const SHORT: usize = 10;

/// What `conflict` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what nobody has decided yet
    List(List),
    /// Show one side by side: what differs, and what stands for now
    Show {
        #[command(flatten)]
        which: Which,
        /// As JSON, with the versions whole
        #[arg(long)]
        json: bool,
    },
    /// Decide one: take one side's values, or write the record as it should be
    Resolve(Resolve),
    /// Say that what stands for now is right
    Confirm {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        who: Who,
    },
    /// Take a decision back: the record says again what stood before it
    Reopen {
        #[command(flatten)]
        which: Which,
        #[command(flatten)]
        who: Who,
    },
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    dir: Dir,
    /// Those that somebody has decided or confirmed, too
    #[arg(long)]
    all: bool,
    /// Only those of this patient
    #[arg(long, value_name = "Patient/ID")]
    patient: Option<RecordRef>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = ROWS)]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The conflict: what `conflict list` shows of its id, or all of it
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    dir: Dir,
}

#[derive(Debug, clap::Args)]
struct Who {
    /// Who decides [default: the user of this machine]
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Why, for those who read it later
    #[arg(long, value_name = "TEXT")]
    why: Option<String>,
    /// Say what became of it as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Resolve {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    what: What,
    #[command(flatten)]
    who: Who,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// Whose values: ours, theirs, parent, child or a site's id; for single elements
    /// ELEMENT=ours,ELEMENT=theirs; where one side deleted the record: keep or delete
    #[arg(long, value_name = "SIDE")]
    take: Vec<String>,
    /// The whole record as it should be, as FHIR JSON in a file
    #[arg(long, value_name = "FILE")]
    edit: Option<PathBuf>,
}

/// Runs the action.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::List(args) => list(&args.dir.open()?, args),
        Action::Show { which, json } => {
            let site = which.dir.open()?;
            let view = find(&site, &which.id)?;
            let shown = Disclosure {
                records: vec![view.info.record.clone()],
                former: true,
                ..disclosure::of("conflict-read", which.id.clone())
            };
            disclosure::note_once(&site, &shown)?;
            match json {
                true => say!("{}", serde_json::to_string_pretty(&conflicts::told(&view)?)?),
                false => say!("{}", show::text(&view, site.now())?.trim_end()),
            }
            Ok(ExitCode::SUCCESS)
        }
        Action::Resolve(args) => resolve(args),
        Action::Confirm { which, who } => {
            act(&which.dir.open()?, which, who, ConflictAction::Close(Choice::Confirm))
        }
        Action::Reopen { which, who } => {
            act(&which.dir.open()?, which, who, ConflictAction::Reopen)
        }
    }
}

fn list(site: &Site, args: &List) -> anyhow::Result<ExitCode> {
    let filter = ConflictFilter {
        open: (!args.all).then_some(true),
        patient: args.patient.clone(),
        limit: args.limit,
        ..ConflictFilter::default()
    };
    let page = site.store().conflict_list(&filter, &Scope::Everything)?;
    if args.json {
        let told = json!({"conflicts": page.conflicts, "more": page.next.is_some()});
        say!("{}", serde_json::to_string_pretty(&told)?);
        return Ok(ExitCode::SUCCESS);
    }
    for conflict in &page.conflicts {
        say!("{}", row(conflict, &ago(site.now(), conflict.noted)));
    }
    match (page.conflicts.len(), page.next) {
        (0, _) => say!("There is nothing to decide."),
        (_, Some(_)) => say!("There are more: --limit shows them."),
        (_, None) => say!("`tributary conflict show ID` shows one side by side."),
    }
    Ok(ExitCode::SUCCESS)
}

fn row(conflict: &ConflictInfo, age: &str) -> String {
    let id = digits(&conflict.id).chars().take(SHORT).collect::<String>();
    let paths = conflict.paths();
    let paths = match &paths[..] {
        [first, second, rest @ ..] if !rest.is_empty() => {
            format!("{first}, {second} and {} more", rest.len())
        }
        paths => paths.join(", "),
    };
    let state = if conflict.state == "open" { "" } else { conflict.state };
    format!("{id}  {:<9} {age:<12} {}: {paths}", state, conflict.record).trim_end().to_owned()
}

/// What follows `conflict-` in an id.
fn digits(id: &str) -> &str {
    id.rsplit_once("conflict-").map_or(id, |(_, digits)| digits)
}

/// The one conflict whose id begins so.
fn find(site: &Site, id: &str) -> anyhow::Result<ConflictView> {
    let filter = ConflictFilter {
        id: Some(digits(id.strip_prefix("Basic/").unwrap_or(id)).to_owned()),
        limit: 2,
        ..ConflictFilter::default()
    };
    let found = site.store().conflict_list(&filter, &Scope::Everything)?.conflicts;
    let [one] = &found[..] else {
        match found.len() {
            0 => bail!("failed to find the conflict {id}: `tributary conflict list` shows all"),
            _ => bail!("failed to find the conflict {id}: several begin so; say more of its id"),
        }
    };
    let view = site.store().conflict_get(&one.id, &Scope::Everything)?;
    view.with_context(|| format!("failed to find the conflict {id}: it has just gone"))
}

fn resolve(args: &Resolve) -> anyhow::Result<ExitCode> {
    let site = args.which.dir.open()?;
    let choice = match &args.what.edit {
        Some(file) => Choice::Edit(read(file, site.config().limits.resource_bytes)?),
        None => {
            let view = find(&site, &args.which.id)?;
            conflicts::choice(&args.what.take, site.id(), &view.conflict)
                .context("failed to decide the conflict")?
        }
    };
    act(&site, &args.which, &args.who, ConflictAction::Close(choice))
}

/// The text of a file, which may be no longer than a resource.
fn read(file: &std::path::Path, most: usize) -> anyhow::Result<String> {
    let failed = || format!("failed to read {}", file.display());
    let size = std::fs::metadata(file).with_context(failed)?.len();
    if size > most as u64 {
        bail!("failed to read {}: it is over the limit resource_bytes = {most}", file.display());
    }
    std::fs::read_to_string(file).with_context(failed)
}

fn act(site: &Site, which: &Which, who: &Who, action: ConflictAction) -> anyhow::Result<ExitCode> {
    let name = who.author.clone().unwrap_or_else(user);
    let order = ConflictOrder {
        id: find(site, &which.id)?.info.id,
        action,
        author: Author::new(&name),
        why: who.why.clone(),
        actor: Author::new(&name).as_str().to_owned(),
    };
    let done =
        site.store().conflict_decide(&order, site.now()).context("failed to write the decision")?;
    match who.json {
        true => say!("{}", serde_json::to_string_pretty(&done)?),
        false => say!("{}", said(&done)),
    }
    Ok(ExitCode::SUCCESS)
}

/// The user of this machine, as its shell says.
fn user() -> String {
    let named = ["USER", "LOGNAME", "USERNAME"].iter().find_map(|name| std::env::var(name).ok());
    named.filter(|name| !name.trim().is_empty()).unwrap_or_else(|| "operator".to_owned())
}

fn said(done: &ConflictDone) -> String {
    let record = &done.record;
    let mut text = match (done.state, done.changed) {
        ("open", true) => format!("The conflict is open again, and {record} as it was before."),
        ("open", false) => format!("The conflict is open again; {record} stays as it is."),
        ("confirmed", _) => format!("Confirmed: {record} stays as it is."),
        (_, true) => format!("Decided: {record} has been changed."),
        (_, false) => format!("Decided: {record} says that already."),
    };
    let paths = done.contested.join(", ");
    if !paths.is_empty() && done.state == "open" {
        text.push_str(&format!(" Edited since, and left so: {paths}."));
    } else if !paths.is_empty() {
        text.push_str(&format!(" It stands over what was edited since: {paths}."));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn a_decision_says_what_to_take_or_gives_the_record() {
        for (line, good) in [
            ("conflict list --dir d", true),
            ("conflict list --dir d --all --json --patient Patient/amina --limit 5", true),
            ("conflict show 3f2a --dir d", true),
            ("conflict resolve 3f2a --take ours --dir d", true),
            ("conflict resolve 3f2a --take birthDate=ours --take gender=theirs --dir d", true),
            ("conflict resolve 3f2a --edit f.json --author dr --why because --dir d", true),
            ("conflict confirm 3f2a --dir d", true),
            ("conflict reopen 3f2a --dir d --json", true),
            ("conflict resolve 3f2a --dir d", false),
            ("conflict resolve 3f2a --take ours --edit f.json --dir d", false),
            ("conflict show --dir d", false),
            ("conflict list", false),
        ] {
            let words = ["tributary"].into_iter().chain(line.split(' '));
            assert_eq!(Cli::try_parse_from(words).is_ok(), good, "{line}");
        }
    }
}
