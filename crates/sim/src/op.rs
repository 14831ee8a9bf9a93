//! What happens in a world, as data: a head that says what the world is like, and one step a
//! line. A world can be run from its file, and with any of its steps left out.

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

/// A world and all that happens in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the world is like.
    pub head: Head,
    /// What happens, by time.
    pub steps: Vec<Step>,
}

/// What a world is like.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// Where the chance of its sites comes from.
    pub seed: u64,
    /// The profile that the steps were drawn for.
    pub profile: String,
    /// Days that the steps reach over.
    pub days: u64,
    /// Its sites; the first is the top.
    pub sites: Vec<SiteHead>,
}

/// One site of a world.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SiteHead {
    /// Its place in the list of its parent; `None` at the top.
    pub parent: Option<usize>,
    /// `keep`, `freeze` or `purge`.
    pub leave: String,
    /// Which patients it holds: `all`, `places`, `address`, `listed` or `group`.
    pub cohort: String,
    /// Milliseconds that its clock is ahead.
    pub clock: i64,
    /// The bytes of its limit `line_bytes`, where it is not the usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line_bytes: Option<usize>,
    /// The bytes of its limit `resource_bytes` until the world comes to rest, where it is not the
    /// usual one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_bytes: Option<usize>,
    /// Third parties carry its changes to its parent.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub carried: bool,
    /// Its parent reads its changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read: bool,
    /// Begins with the store that the first version wrote.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub old: bool,
    /// The record system beside it, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emr: Option<EmrHead>,
    /// What its link to its parent is like.
    pub weather: Weather,
}

/// A record system beside a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EmrHead {
    /// What it holds of a record.
    pub holds: Holds,
    /// What it names as changed it shows as well, as it was when it was changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lists: bool,
    /// Milliseconds that it takes to hear a question, and to answer, at the most.
    pub delay: u64,
    /// Of a thousand questions, how many are lost on their way, and of answers.
    pub loss: u32,
}

/// What a record system holds of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// All of it, as it is.
    All,
    /// A part of it, and some types of record not at all.
    Part,
    /// What OpenMRS holds; it puts an identifier of its own into each Patient.
    LikeOpenmrs,
}

/// What a link is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Weather {
    /// Milliseconds that a message takes, at the most.
    pub delay: u64,
    /// Of a thousand requests, how many are lost on their way, or their answers are.
    pub loss: u32,
    /// Of a thousand bodies, how many are cut at any byte.
    pub cut: u32,
    /// Of a thousand requests, how many come twice or late.
    pub twice: u32,
    /// Of a thousand connections, how many are accepted and never answered.
    pub half_open: u32,
    /// Bytes a second; 0 for no bound.
    pub rate: u64,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Milliseconds after the beginning of the world.
    pub at: u64,
    /// At which site.
    pub site: usize,
    /// The chance of this step.
    pub seed: u64,
    /// What.
    #[serde(flatten)]
    pub op: Op,
}

/// What can happen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub enum Op {
    /// A patient is registered, with a visit.
    Register,
    /// A record of a patient who is here is made.
    Make,
    /// A record that is here is changed in one element.
    Edit,
    /// A record that is here is deleted.
    Delete,
    /// A record that was deleted here is written again.
    Undelete,
    /// A patient who is here belongs to another site from now on.
    Transfer,
    /// A reference record is made or changed.
    Refer,
    /// The Group of a site gets other members.
    Regroup,
    /// The site has one round with its parent.
    Round,
    /// The site's own driver runs for so many minutes.
    Serve {
        /// Minutes.
        minutes: u64,
    },
    /// The site's lines that are parked, and those who left, are looked at again.
    Tidy,
    /// An operator sends again what is parked.
    Retry,
    /// An operator parks what waits.
    Park,
    /// The parent changes the definition of this site's cohort.
    Redefine,
    /// The parent ends this site's access and invites it again.
    Revoke,
    /// The link to the parent is down for so many minutes.
    Outage {
        /// Minutes.
        minutes: u64,
        /// Only answers are lost.
        one_way: bool,
    },
    /// The site crashes after so many polls.
    Crash {
        /// Polls.
        polls: u64,
        /// Minutes until it is started again.
        minutes: u64,
    },
    /// The site is backed up.
    Backup,
    /// The site's last backup is put in place.
    Restore,
    /// The site's clock jumps: from now on it is so many milliseconds ahead.
    Clock {
        /// Milliseconds.
        ahead: i64,
    },
    /// Somebody asks with a child's credential for what is not the child's.
    Probe,
    /// Somebody decides an open conflict that the site holds.
    Resolve,
    /// Somebody says of an open conflict that it is well as it is.
    Confirm,
    /// Somebody opens a closed conflict again.
    Reopen,
    /// A record is made that is longer than some sites take.
    Bulky,
    /// Somebody says that a patient's file goes on in another one's.
    Merge,
    /// Somebody says that it does not.
    Unmerge,
    /// The site finds a patient at its parent and fetches the record for so many days.
    Visit {
        /// Days.
        days: u32,
    },
    /// Something at the record system beside the site.
    Emr {
        /// What.
        does: EmrOp,
    },
}

/// What can happen at a record system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmrOp {
    /// Its people register a patient, with a visit, in one transaction.
    Register,
    /// They make a record of a patient.
    Make,
    /// They change one element of a record, or of two at once.
    Edit,
    /// They delete a record.
    Delete,
    /// They write again what was deleted.
    Undelete,
    /// They say that a patient belongs to another site.
    Transfer,
    /// They make or change a reference record.
    Refer,
    /// The site looks what changed there, and writes there what it is to be given.
    Look,
    /// It is away for so many minutes; its people may be working in it all the same.
    Away {
        /// Minutes.
        minutes: u64,
    },
    /// It forgets its log.
    Purge,
    /// It takes the next writes, and the answers are lost.
    Lose {
        /// Writes.
        answers: u64,
    },
    /// It refuses a record for so many minutes.
    Refuse {
        /// Minutes.
        minutes: u64,
    },
    /// It answers 500 for a record for so many minutes.
    Fail {
        /// Minutes.
        minutes: u64,
    },
    /// An operator tries again what is parked.
    Retry,
}

impl Op {
    /// Whether it is of a kind that goes by this name in files.
    pub fn is_kind(&self, name: &str) -> bool {
        let written = serde_json::to_value(self).unwrap_or_default();
        written.get("op").and_then(serde_json::Value::as_str) == Some(name)
    }
}

impl Plan {
    /// Whether a store is put back to a backup: only then may something come right by a comparison
    /// of all alone, and sites have one each day.
    pub fn restores(&self) -> bool {
        self.steps.iter().any(|step| step.op == Op::Restore)
    }

    /// Leaves out all steps of a kind that goes by this name in files; record systems go with what
    /// happens at them.
    pub fn leave_out(&mut self, kind: &str) {
        self.steps.retain(|step| !step.op.is_kind(kind));
        if kind == "emr" {
            self.head.sites.iter_mut().for_each(|site| site.emr = None);
        }
    }

    /// One line a step, after a line for the head.
    pub fn to_text(&self) -> anyhow::Result<String> {
        let mut text = serde_json::to_string(&self.head)?;
        for step in &self.steps {
            text.push('\n');
            text.push_str(&serde_json::to_string(step)?);
        }
        text.push('\n');
        Ok(text)
    }

    /// Reads what `to_text` gave; empty lines and lines that begin with `#` are passed over.
    pub fn of_text(text: &str) -> anyhow::Result<Plan> {
        let mut lines = text
            .lines()
            .enumerate()
            .filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
        let Some((_, head)) = lines.next() else { bail!("failed to read a plan: it is empty") };
        let head: Head = serde_json::from_str(head).context("failed to read a plan's head")?;
        let mut steps = Vec::new();
        for (index, line) in lines {
            let step: Step = serde_json::from_str(line)
                .with_context(|| format!("failed to read line {} of a plan", index + 1))?;
            if step.site >= head.sites.len() {
                bail!("failed to read line {} of a plan: it has no such site", index + 1);
            }
            steps.push(step);
        }
        Ok(Plan { head, steps })
    }
}
