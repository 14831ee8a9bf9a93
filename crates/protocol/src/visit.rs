//! Patients who are not here: what a child may ask its parent about them, and by which rules.
//! Implements `docs/protocol.md` §2, "Patients who are not here".
//!
//! Deciding only: who looks, keeps count and sends is the site.

mod hit;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

use crate::change::Author;
use crate::error::Refusal;
use crate::id::RecordRef;
use crate::limits::Limits;
use crate::resource::search::SearchValue;

pub use hit::{PatientHit, PatientIdentifier, Seen};

/// Words of a name that are looked for, at the most.
const NAME_WORDS: usize = 6;
/// Characters of the shortest word of a name: a single letter is half the register.
const WORD_CHARS: usize = 2;
/// Characters of the longest value that is looked for.
const VALUE_CHARS: usize = 200;
/// Days of a visit for which none were named, where the parent allows so many.
const DAYS: u32 = 7;

/// What a parent lets its children do about patients whom they do not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Look for patients.
    pub find: bool,
    /// Fetch a patient's record for some days.
    pub fetch: bool,
    /// Days that one fetch may ask for.
    pub days_max: u32,
    /// Characters that a reason has at the least.
    pub reason_min_chars: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Rules { find: true, fetch: true, days_max: 30, reason_min_chars: 3 }
    }
}

/// Why a question is not answered. The text names no patient content and is made for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// The question itself is not complete, or cannot be.
    #[error("{0}")]
    Incomplete(String),
    /// The parent's rules do not allow it.
    #[error("{0}")]
    Forbidden(String),
}

fn incomplete<T>(reason: impl Into<String>) -> Result<T, Denied> {
    Err(Denied::Incomplete(reason.into()))
}

/// What `POST /sync/patients/find` takes. Either an identifier, or a name, a sex and a birth date:
/// a part of them would be fishing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindQuestion {
    /// An identifier's value, and its system where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identifier: Option<PatientIdentifier>,
    /// Beginnings of parts of a name, in any order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `female`, `male`, `other` or `unknown`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sex: Option<String>,
    /// A FHIR date: a day, a month or a year.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub born: Option<String>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// Whom to look for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// Who has this identifier.
    Identifier {
        /// `None`: in any system.
        system: Option<String>,
        /// Its value.
        value: String,
    },
    /// Who has such a name, this sex, and a birth date that may be the same day.
    Person {
        /// Beginnings of parts of the name; all have to be there.
        words: Vec<String>,
        /// A FHIR code.
        sex: String,
        /// First and last millisecond of the birth date that was named.
        born: (i64, i64),
    },
}

impl Wanted {
    /// How it was asked for, for the audit: without what was asked.
    pub fn manner(&self) -> &'static str {
        match self {
            Wanted::Identifier { .. } => "by identifier",
            Wanted::Person { .. } => "by name, sex and birth date",
        }
    }
}

impl FindQuestion {
    /// Whom to look for, or why that is not done.
    pub fn wanted(&self, rules: &Rules) -> Result<Wanted, Denied> {
        if !rules.find {
            let reason = "this site does not let its children look for patients";
            return Err(Denied::Forbidden(reason.to_owned()));
        }
        let person = [&self.name, &self.sex, &self.born];
        let given = person.iter().filter(|part| part.is_some()).count();
        match (&self.identifier, given) {
            (Some(identifier), 0) => by_identifier(identifier),
            (None, 3) => self.by_person(),
            (Some(_), _) => incomplete("ask by an identifier or by name, sex and birth date"),
            (None, _) => {
                incomplete("ask by an identifier, or by name, sex and birth date, all three")
            }
        }
    }

    /// Who asks, as they said.
    pub fn author(&self) -> Option<Author> {
        self.author.as_deref().map(Author::new)
    }

    fn by_person(&self) -> Result<Wanted, Denied> {
        let text = |part: &Option<String>| part.as_deref().unwrap_or("").trim().to_owned();
        let (name, sex, born) = (text(&self.name), text(&self.sex), text(&self.born));
        let words: Vec<String> = name.split_whitespace().map(str::to_owned).collect();
        let is_long = |word: &String| word.chars().count() >= WORD_CHARS;
        if words.is_empty() || !words.iter().all(is_long) {
            return incomplete(format!("each word of the name needs {WORD_CHARS} letters or more"));
        }
        if words.len() > NAME_WORDS || name.chars().count() > VALUE_CHARS {
            return incomplete(format!(
                "a name has at most {NAME_WORDS} words and {VALUE_CHARS} characters"
            ));
        }
        if !["female", "male", "other", "unknown"].contains(&sex.as_str()) {
            return incomplete("the sex is one of female, male, other and unknown");
        }
        let date = if born.len() <= 10 { SearchValue::date(&born) } else { None };
        let Some(SearchValue::Date { low, high }) = date else {
            return incomplete("the birth date is a day, a month or a year: 1984-02-28, 1984-02");
        };
        Ok(Wanted::Person { words, sex, born: (low, high) })
    }
}

fn by_identifier(identifier: &PatientIdentifier) -> Result<Wanted, Denied> {
    let system = identifier.system.as_deref().map(str::trim).filter(|system| !system.is_empty());
    let value = identifier.value.trim();
    if value.is_empty() {
        return incomplete("the identifier has no value");
    }
    if value.chars().count() > VALUE_CHARS {
        return incomplete(format!("an identifier has at most {VALUE_CHARS} characters"));
    }
    Ok(Wanted::Identifier { system: system.map(str::to_owned), value: value.to_owned() })
}

/// What `POST /sync/patients/find` answers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindAnswer {
    /// Who was found.
    pub patients: Vec<PatientHit>,
    /// Whether there are more than these.
    pub more: bool,
    /// The parent of the site that answers, where it has one: it was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// What `POST /sync/patients/fetch` takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FetchQuestion {
    /// `Patient/ID`.
    pub patient: String,
    /// Why, in a person's words; kept in the audit and nowhere else.
    pub reason: String,
    /// For how many days; left out: 7, or as many as the parent allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub days: Option<u32>,
    /// Who asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
}

/// A visit that the rules allow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Visit {
    /// Who visits.
    pub patient: RecordRef,
    /// Why.
    pub reason: String,
    /// For how many days.
    pub days: u32,
}

impl FetchQuestion {
    /// The visit that is asked for, or why it is not granted.
    pub fn visit(&self, rules: &Rules, limits: &Limits) -> Result<Visit, Denied> {
        // Nothing of it can break a line of the audit, or move a terminal.
        let reason = crate::plain::line(&self.reason, usize::MAX);
        let chars = reason.chars().count();
        if reason.is_empty() {
            return incomplete("a patient is fetched for a reason: say which");
        }
        if chars < rules.reason_min_chars {
            let least = rules.reason_min_chars;
            return incomplete(format!("the reason is too short: {least} characters or more"));
        }
        if chars > limits.reason_chars {
            let most = limits.reason_chars;
            return incomplete(format!("the reason is over the limit reason_chars = {most}"));
        }
        let patient = self.patient()?;
        if !rules.fetch {
            let reason = "this site does not let its children fetch patients";
            return Err(Denied::Forbidden(reason.to_owned()));
        }
        let days = self.days.unwrap_or(DAYS.min(rules.days_max));
        if days == 0 {
            return incomplete("a visit lasts a day or more");
        }
        if days > rules.days_max {
            let most = rules.days_max;
            return Err(Denied::Forbidden(format!("a visit may last at most {most} days here")));
        }
        Ok(Visit { patient, reason, days })
    }

    /// The patient who is asked for.
    pub fn patient(&self) -> Result<RecordRef, Denied> {
        let named: Result<RecordRef, Refusal> = self.patient.trim().parse();
        match named {
            Ok(patient) if patient.is_patient() => Ok(patient),
            _ => incomplete("a patient is named Patient/ID"),
        }
    }

    /// Who asks, as they said.
    pub fn author(&self) -> Option<Author> {
        self.author.as_deref().map(Author::new)
    }
}
