//! Sending lines: as one transaction, as a message each, or record by record.

use protocol::message::{self, Envelope, MessageId, Urls, Word};
use protocol::resource::order::dependency_order;
use protocol::stream::{OutLine, OutRecord};
use protocol::{Digest, RecordRef};
use store::PushLine;

use super::Foreign;
use crate::config::FhirWay;
use crate::fhir_server::{Action, EntryAnswer, FhirError, Private, told_of, transaction};
use crate::jobs::link::ours;
use crate::ports::LinkError;
use crate::site::Site;

/// What became of one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fate {
    /// The server holds it.
    Held,
    /// It refuses it, and why.
    Refused(String),
    /// It wants it later, and why.
    Later(String),
}

/// What came of sending some lines.
pub(super) struct Sent {
    /// What became of each line, or why nothing is known of any.
    pub(super) fates: Result<Vec<Fate>, FhirError>,
    /// States that the server took of a line that it did not take whole.
    pub(super) done: Vec<(RecordRef, Digest)>,
}

impl From<Result<Vec<Fate>, FhirError>> for Sent {
    fn from(fates: Result<Vec<Fate>, FhirError>) -> Sent {
        Sent { fates, done: Vec::new() }
    }
}

/// One state that is to be written.
struct State<'a> {
    record: &'a RecordRef,
    digest: Digest,
    /// `None`: it is deleted.
    body: Option<&'a str>,
}

/// Sends lines by the way that is taken: several only as a transaction.
pub(super) async fn send(site: &Site, foreign: &Foreign, way: FhirWay, lines: &[PushLine]) -> Sent {
    match (way, lines) {
        (FhirWay::Put, [line]) => one_by_one(foreign, line).await,
        (FhirWay::Message, [line]) => as_message(site, foreign, line).await.map(|f| vec![f]).into(),
        _ => as_transaction(foreign, lines).await.into(),
    }
}

/// The states of a line: one for each record, in the order in which they were sent.
fn states(line: &PushLine) -> impl Iterator<Item = State<'_>> {
    let records = line.lines.iter().flat_map(|part| &part.records);
    let bodies = records.map(|record| match record {
        OutRecord::Resource { body, .. } => Some(body.as_str()),
        OutRecord::Deleted { .. } | OutRecord::Held(_) | OutRecord::Left(_) => None,
    });
    line.sent.iter().zip(bodies).map(|((record, digest), body)| State {
        record,
        digest: *digest,
        body,
    })
}

/// States in the order in which a server that checks references can take them.
fn in_order(states: &[State<'_>]) -> Vec<usize> {
    let named = states.iter().map(|state| (state.record, state.body)).collect::<Vec<_>>();
    dependency_order(&named)
}

fn action<'a>(state: &State<'a>) -> Action<'a> {
    match state.body {
        Some(body) => Action::Put { record: state.record, body, if_match: None },
        None => Action::Delete { record: state.record },
    }
}

/// Many lines in one Bundle: all or nothing. A line without anything that the server lacks is held.
async fn as_transaction(foreign: &Foreign, lines: &[PushLine]) -> Result<Vec<Fate>, FhirError> {
    let owned = lines.iter().enumerate();
    let (of, states): (Vec<usize>, Vec<State<'_>>) =
        owned.flat_map(|(at, line)| states(line).map(move |state| (at, state))).unzip();
    let mut fates = vec![Fate::Held; lines.len()];
    if states.is_empty() {
        return Ok(fates);
    }
    if let Some(state) = states.iter().find(|state| matches!(state.record.id(), "." | "..")) {
        return Err(FhirError::Refused(format!("no URL can name {}", state.record)));
    }
    let order = in_order(&states);
    let bundle =
        transaction(foreign.server.base(), order.iter().map(|place| action(&states[*place])));
    let bodies = states.iter().filter_map(|state| state.body).collect::<Vec<_>>();
    let names = states.iter().map(|state| state.record).collect::<Vec<_>>();
    let private = Private { bodies: &bodies, names: &names };
    let deletes = order.iter().map(|place| states[*place].body.is_none()).collect::<Vec<_>>();
    let answers = foreign.server.transact(bundle, &private, &deletes).await;
    let answers = answers.map_err(|error| match error {
        // Of several it need not say which; where there is only one it is known.
        FhirError::Refused(why) if states.len() == 1 => {
            FhirError::Refused(format!("{}: {why}", states[0].record))
        }
        FhirError::TooMuch(why) if states.len() == 1 => {
            FhirError::TooMuch(format!("{}: {why}", states[0].record))
        }
        other => other,
    })?;
    for (place, answer) in order.into_iter().zip(answers) {
        if let EntryAnswer::Refused(why) = answer {
            fates[of[place]] = Fate::Refused(format!("{}: {why}", states[place].record));
        }
    }
    Ok(fates)
}

/// One line record by record. What was taken before one was refused is told.
pub(super) async fn one_by_one(foreign: &Foreign, line: &PushLine) -> Sent {
    let states = states(line).collect::<Vec<_>>();
    let mut done = Vec::new();
    for place in in_order(&states) {
        let state = &states[place];
        let written = match state.body {
            Some(body) => foreign.server.put(state.record, body, None).await.map(drop),
            None => foreign.server.delete(state.record).await,
        };
        let name = |why: String| format!("{}: {why}", state.record);
        let fates = match written {
            Ok(()) => {
                done.push((state.record.clone(), state.digest));
                continue;
            }
            Err(FhirError::Refused(why) | FhirError::TooMuch(why)) => {
                Err(FhirError::Refused(name(why)))
            }
            Err(FhirError::Unclear(why)) => Err(FhirError::Unclear(name(why))),
            Err(other) => Err(other),
        };
        return Sent { fates, done };
    }
    Sent { fates: Ok(vec![Fate::Held]), done: Vec::new() }
}

/// One line as a FHIR message.
async fn as_message(site: &Site, foreign: &Foreign, line: &PushLine) -> Result<Fate, FhirError> {
    let Some(whole) = whole(line) else { return Ok(Fate::Held) };
    let info = site.read(|store| store.site()).await.map_err(|error| ours(&error))?;
    let parent = foreign.link.parent();
    let (to, at) = (parent.site.clone(), site.now());
    let envelope = Envelope { from: info.site, epoch: info.epoch, to, attempt: 1, at };
    let target = format!("{}/$process-message", parent.url);
    let urls = Urls { base: &site.config().public_url, target: &target };
    let text = message::write(&whole, &envelope, urls);
    let (Some(text), Some(id)) = (text, &whole.id) else {
        return Err(FhirError::Refused("no message can be made of it".to_owned()));
    };
    if text.len() > site.config().limits.message_bytes {
        let most = site.config().limits.message_bytes;
        return Err(FhirError::Refused(format!(
            "its message is over limits.message_bytes = {most}"
        )));
    }
    let states = states(line).collect::<Vec<_>>();
    let bodies = states.iter().filter_map(|state| state.body).collect::<Vec<_>>();
    let names = states.iter().map(|state| state.record).collect::<Vec<_>>();
    let private = Private { bodies: &bodies, names: &names };
    let answer = foreign.server.process_message(text, &private).await?;
    word_in(&answer, &MessageId::of(id), &private)
}

/// The line as one, whatever its parts; `None` where nothing of it is lacked there.
fn whole(line: &PushLine) -> Option<OutLine> {
    let first = line.lines.first()?;
    let records = line.lines.iter().flat_map(|part| part.records.clone()).collect::<Vec<_>>();
    (!records.is_empty()).then(|| OutLine { part: None, records, ..first.clone() })
}

/// What an answer to a message says. Without a body the status was all of it: taken.
fn word_in(answer: &[u8], name: &MessageId, private: &Private<'_>) -> Result<Fate, FhirError> {
    let odd = |why: &str| LinkError(format!("what it answers to a message cannot be read: {why}"));
    if answer.trim_ascii().is_empty() {
        return Ok(Fate::Held);
    }
    let text = std::str::from_utf8(answer).map_err(|_| odd("it is not UTF-8"))?;
    let response = message::read_response(text, name).map_err(|refusal| odd(&refusal.reason))?;
    let told = response.outcome.and_then(|outcome| told_of(outcome.as_bytes(), private));
    let told = told.filter(|told| !told.is_empty());
    let told = told.map_or(String::new(), |told| format!(": {told}"));
    Ok(match response.word {
        Word::Taken => Fate::Held,
        Word::Later => Fate::Later(format!("the server cannot take it now{told}")),
        Word::Refused => Fate::Refused(format!("the server refuses it{told}")),
    })
}
