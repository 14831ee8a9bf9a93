//! `tributary token`: credentials for programs that use the FHIR API, and for third parties.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Subcommand, ValueEnum};
use protocol::SiteId;
use store::{TokenDraft, TokenScope};

use crate::cli::open::Dir;
use crate::cli::say;
use crate::courier::CARRIER;
use crate::http::auth::credential_hash;
use crate::http::sync::join::new_secret;
use crate::site::Site;

/// What `token` takes.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a credential: it is shown once
    Add {
        /// A name for the program
        #[arg(value_name = "NAME")]
        name: String,
        /// What it may do
        #[arg(long, value_enum)]
        scope: Scope,
        /// With `--scope carry`: a child whose messages it may bring (several times for several)
        #[arg(long = "child", value_name = "SITE")]
        children: Vec<SiteId>,
        /// After how many days it ends
        #[arg(long, value_name = "N")]
        days: Option<u32>,
        #[command(flatten)]
        dir: Dir,
    },
    /// List the credentials, without their secrets
    List {
        #[command(flatten)]
        dir: Dir,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// End a credential at once
    Revoke {
        /// The program's name
        #[arg(value_name = "NAME")]
        name: String,
        #[command(flatten)]
        dir: Dir,
    },
}

/// What a program may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Scope {
    /// Read all records and feeds
    FhirRead,
    /// Read and write all records
    FhirWrite,
    /// At a child: lease the messages of its outbox and say what became of them
    Outbox,
    /// At a parent: post messages of the children that --child names
    Carry,
    /// See how the site stands, act on its queue and links, read its audit; no records
    Administer,
    /// At a child: for its parent, which reads what goes up
    ReadOutgoing,
    /// Read /metrics; nothing else
    Metrics,
}

/// Runs the action.
pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    match &args.action {
        Action::Add { name, scope, children, days, dir } => {
            add(&dir.open()?, name, (*scope, children), *days)
        }
        Action::List { dir, json } => list(&dir.open()?, *json),
        Action::Revoke { name, dir } => {
            let site = dir.open()?;
            if !site.store().token_revoke(name, site.now())? {
                bail!("failed to revoke {name}: there is no such credential");
            }
            say!("{name} has no access any more.");
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn add(
    site: &Site,
    name: &str,
    (scope, children): (Scope, &[SiteId]),
    days: Option<u32>,
) -> anyhow::Result<ExitCode> {
    if children.is_empty() == matches!(scope, Scope::Carry) {
        bail!(
            "failed to add it: --scope carry needs --child SITE for each child whose messages it \
             may bring, and no other scope takes one"
        );
    }
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 63 || !name.chars().all(good) {
        bail!("failed to add it: a name has 1 to 63 letters, digits, '-', '_' and '.'");
    }
    if matches!(scope, Scope::Outbox) && name == CARRIER {
        bail!(
            "failed to add it: what `tributary courier` carries goes by the name {CARRIER}, and \
             what that leased it takes back when it begins; choose another name"
        );
    }
    let secret = new_secret(site);
    let now = site.now();
    let draft = TokenDraft {
        name: name.to_owned(),
        scope: match scope {
            Scope::FhirRead => TokenScope::FhirRead,
            Scope::FhirWrite => TokenScope::FhirWrite,
            Scope::Outbox => TokenScope::Outbox,
            Scope::Carry => TokenScope::Carry,
            Scope::Administer => TokenScope::Administer,
            Scope::ReadOutgoing => TokenScope::ReadOutgoing,
            Scope::Metrics => TokenScope::Metrics,
        },
        children: children.to_vec(),
        hash: credential_hash(&secret),
        expires: days.map(|days| now.plus_millis(i64::from(days) * 86_400_000)),
    };
    site.store().token_add(&draft, now)?;
    say!("Credential of {name}, shown only now:");
    say!("  {secret}");
    say!("Use it as the header  Authorization: Bearer {secret}");
    Ok(ExitCode::SUCCESS)
}

fn list(site: &Site, json: bool) -> anyhow::Result<ExitCode> {
    let tokens = site.store().token_list()?;
    if json {
        say!("{}", serde_json::to_string_pretty(&tokens)?);
        return Ok(ExitCode::SUCCESS);
    }
    if tokens.is_empty() {
        say!("No credentials yet: `tributary token add NAME --scope fhir-read` makes one.");
    }
    for token in tokens {
        let scope = serde_json::to_value(token.scope)?;
        let ends = match (token.revoked, token.expires) {
            (Some(at), _) => format!("revoked {at}"),
            (None, Some(at)) => format!("until {at}"),
            (None, None) => "no end".to_owned(),
        };
        let children = token.children.iter().map(|child| format!(" {child}")).collect::<String>();
        say!(
            "{:<24} {:<10} made {}  {ends}{children}",
            token.name,
            scope.as_str().unwrap_or(""),
            token.created
        );
    }
    Ok(ExitCode::SUCCESS)
}
