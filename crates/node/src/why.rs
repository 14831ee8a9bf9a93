//! Why a record is not where it is looked for: the facts of the store, in plain words.

mod emr;

use protocol::Timestamp;
use protocol::delivery::DeliveryState;
use store::{
    ChildPlace, DeliveryInfo, DroppedLine, GoingUp, Here, MessageInfo, ParentHolds, ParkedLine,
    PatientPlace, TimelineVia, Whereabouts,
};

use crate::cli::status::{ago, ahead};
use crate::config::Up;
use crate::pause;

/// Children that are told of one by one; of more, those that lack the record.
const CHILDREN: usize = 10;

/// Says what the facts mean, at the time `now`; `up`: how what is written here goes up.
pub(crate) fn sentences(facts: &Whereabouts, now: Timestamp, up: Up) -> Vec<String> {
    let mut told = Vec::new();
    match &facts.here {
        Some(here) => {
            told.push(standing(facts, here, now));
            told.extend(facts.patients.iter().filter_map(|place| leaving(place, now)));
            told.extend(going_up(facts, here, now, up));
        }
        None => told.extend(absent(facts, now)),
    }
    if facts.has_parent {
        match paused(facts, now) {
            Some(pause) => told.push(format!("Nothing moves: {pause}.")),
            None => told.extend(trouble(facts, now, up)),
        }
    }
    told.extend(facts.dropped.iter().map(|delivery| given_up(facts, delivery, now)));
    told.extend(facts.parked.iter().map(|line| stuck(line, now)));
    told.extend(facts.dropped_lines.iter().map(|line| line_given_up(line, now)));
    told.extend(facts.emr.as_ref().map(|info| emr::standing(info, now)));
    told.extend(facts.conflicts.iter().map(|id| {
        format!("Two sites changed it apart and nobody has decided: `tributary conflict show {id}`")
    }));
    if facts.here.is_some() {
        told.extend(going_down(facts, now));
    }
    told
}

fn standing(facts: &Whereabouts, here: &Here, now: Timestamp) -> String {
    let made = match (&here.origin, here.via) {
        (Some(origin), _) if *origin == facts.site => format!("made here by {}", here.author),
        (Some(origin), _) => format!("made at {origin} by {}", here.author),
        (None, TimelineVia::Here) => format!("made here by {}", here.author),
        (None, _) => "as it was when its patient came".to_owned(),
    };
    let way = match (here.via, &here.child) {
        (TimelineVia::Parent, _) => ", from the parent".to_owned(),
        (TimelineVia::Child, Some(child)) => format!(", brought by {child}"),
        _ => String::new(),
    };
    let (record, site, since) = (&facts.record, &facts.site, ago(now, here.since));
    let state = if here.deleted { "is deleted at" } else { "is here, at" };
    let left = if here.left { " The parent says that it left this site's feed since." } else { "" };
    let sequence = here.sequence;
    format!("{record} {state} {site}, since {since}: change {sequence}, {made}{way}.{left}")
}

/// What is happening to a patient who left this site.
fn leaving(place: &PatientPlace, now: Timestamp) -> Option<String> {
    let (patient, when) = (&place.patient, place.left.map(|at| ago(now, at)));
    let when = when.map_or(String::new(), |when| format!(", {when}"));
    match place.state.as_str() {
        "frozen" => Some(format!(
            "{patient} left this site's cohorts{when}: the records stay and cannot be written."
        )),
        "purging" => Some(format!(
            "{patient} left this site's cohorts{when}: the records go as soon as all that was \
             written here is delivered."
        )),
        _ if !when.is_empty() => Some(format!(
            "{patient} left this site's cohorts{when}: the records stay, and what is changed \
             elsewhere does not come any more."
        )),
        _ => None,
    }
}

fn going_up(facts: &Whereabouts, here: &Here, now: Timestamp, up: Up) -> Vec<String> {
    if !facts.has_parent {
        return Vec::new();
    }
    if facts.up.is_empty() {
        return vec![settled(here, now, up)];
    }
    let is_paused = paused(facts, now).is_some();
    facts.up.iter().map(|going| on_its_way(going, now, (up, is_paused))).collect()
}

/// That a person has paused the link to the parent, in words.
fn paused(facts: &Whereabouts, now: Timestamp) -> Option<String> {
    let pause = facts.link.paused.as_ref().filter(|pause| pause.holds(now))?;
    Some(pause::words(pause, facts.site.as_str()).trim_end_matches('.').to_owned())
}

/// Nothing of it is on its way up.
fn settled(here: &Here, now: Timestamp, up: Up) -> String {
    let taken = here.taken.as_ref().map(|(at, word)| format!(" ({word} {})", ago(now, *at)));
    let taken = taken.unwrap_or_default();
    match (here.parent, here.via) {
        // What happened to it there since nobody tells: nothing comes down from such a server.
        (ParentHolds::This, _) if up == Up::Fhir => {
            format!("The parent, a FHIR server, has taken this very state{taken}.")
        }
        (_, _) if up == Up::Fhir => format!(
            "Nothing of it waits to be sent{taken}, and the parent, a FHIR server, has not taken \
             this state from here."
        ),
        (ParentHolds::This, TimelineVia::Parent) => "The parent holds this very state.".to_owned(),
        (ParentHolds::This, _) => format!("The parent holds this very state{taken}."),
        (ParentHolds::Other, _) if up == Up::Read => format!(
            "The parent has read all that this site had of it{taken}, and held another state when \
             it said so."
        ),
        (ParentHolds::Nothing, _) if up == Up::Read => format!(
            "Nothing of it waits to be read{taken}, and this site does not know whether the parent \
             holds it: ask there, with the same command."
        ),
        (ParentHolds::Other, _) => format!(
            "The parent has taken all that this site had to send of it{taken}, and held another \
             state when last heard of: that comes with the next round."
        ),
        (ParentHolds::Nothing, _) => format!(
            "Nothing of it waits to be sent{taken}, and this site does not know whether the parent \
             holds it: `tributary verify` asks."
        ),
    }
}

fn on_its_way(going: &GoingUp, now: Timestamp, (up, is_paused): (Up, bool)) -> String {
    let delivery = &going.delivery;
    let since = ago(now, delivery.recorded);
    let how = match delivery.state {
        DeliveryState::Ready if up == Up::Read => "waits for the parent to read it".to_owned(),
        DeliveryState::Retry | DeliveryState::Parked if up == Up::Read => format!(
            "was read and waits there ({}): `tributary queue` at the parent shows it",
            delivery.reason.as_deref().unwrap_or("no reason was given")
        ),
        DeliveryState::Ready | DeliveryState::Retry if going.behind.is_some() => {
            going.behind.as_ref().map_or(String::new(), |before| waits_behind(before, now))
        }
        DeliveryState::Ready if up == Up::Carried => match &going.message {
            Some(message) if message.missing > 0 => format!(
                "waits to be fetched again: {} said that it was delivered, and the parent did not \
                 have it",
                message.carrier
            ),
            _ => "waits for a third party to fetch it".to_owned(),
        },
        DeliveryState::Ready if is_paused => "goes when the link is resumed".to_owned(),
        DeliveryState::Ready => "goes with the next round".to_owned(),
        DeliveryState::Retry => {
            let when = delivery.next_at.map_or(String::new(), |at| format!(" {}", ahead(now, at)));
            format!("is sent again{when}, after {}", attempts(delivery))
        }
        DeliveryState::Parked => format!(
            "is parked after {}: mend the record, or `tributary queue retry {}`",
            attempts(delivery),
            delivery.sequence
        ),
        DeliveryState::Leased => format!("is with {}", lease(going.message.as_ref(), now)),
        DeliveryState::HandedOver => handed(going.message.as_ref(), now),
        DeliveryState::Done => "is held by the parent".to_owned(),
        DeliveryState::Dropped => "was given up".to_owned(),
    };
    format!("Its change {}, of {since}, is not at the parent yet: it {how}.", delivery.sequence)
}

fn attempts(delivery: &DeliveryInfo) -> String {
    let count = delivery.attempts;
    let reason = delivery.reason.as_deref().unwrap_or("no reason was given");
    let times = if count == 1 { "attempt" } else { "attempts" };
    format!("{count} {times} ({reason})")
}

fn waits_behind(before: &DeliveryInfo, now: Timestamp) -> String {
    let sequence = before.sequence;
    let why = match before.state {
        DeliveryState::Parked => format!("which is parked after {}", attempts(before)),
        DeliveryState::Retry => {
            let when = before.next_at.map_or(String::new(), |at| format!(" {}", ahead(now, at)));
            format!("which is sent again{when}, after {}", attempts(before))
        }
        DeliveryState::Leased => "which is with a third party".to_owned(),
        DeliveryState::HandedOver => {
            "which a third party has delivered, as it says, and of which no receipt has come"
                .to_owned()
        }
        DeliveryState::Ready | DeliveryState::Done | DeliveryState::Dropped => {
            "which goes first".to_owned()
        }
    };
    let whose = before.patients.first().map_or(String::new(), |patient| format!(" of {patient}"));
    format!("waits behind change {sequence}{whose}, {why}")
}

fn lease(message: Option<&MessageInfo>, now: Timestamp) -> String {
    message.map_or("a third party".to_owned(), |message| {
        let end = match message.until > now {
            true => format!("ends {}", ahead(now, message.until)),
            false => format!("ended {}", ago(now, message.until)),
        };
        format!("{}, whose lease {end}", message.carrier)
    })
}

fn handed(message: Option<&MessageInfo>, now: Timestamp) -> String {
    message.map_or("was handed over, and no receipt has come".to_owned(), |message| {
        let when = message.handed.map_or(String::new(), |at| format!(" {}", ago(now, at)));
        format!(
            "was delivered by {}{when}, as that says; the parent's receipt has not come",
            message.carrier
        )
    })
}

fn trouble(facts: &Whereabouts, now: Timestamp, up: Up) -> Option<String> {
    let link = &facts.link;
    if up == Up::Read && link.last_contact.is_none() && link.failures == 0 {
        // It calls here, and is not called.
        return None;
    }
    let heard = match link.last_contact {
        Some(at) => format!("was heard last {}", ago(now, at)),
        None => "has never been heard".to_owned(),
    };
    if link.failures == 0 {
        return link.last_contact.is_none().then(|| format!("The parent {heard}."));
    }
    let next =
        link.next_attempt.map_or(String::new(), |at| format!(", next try {}", ahead(now, at)));
    let error = link.last_error.as_deref().unwrap_or("no reason is known");
    let failures = link.failures;
    Some(format!(
        "The link to the parent is down: it {heard}, {failures} failures in a row{next}: {error}"
    ))
}

fn stuck(line: &ParkedLine, now: Timestamp) -> String {
    format!(
        "A line from the parent is stuck here since {} ({} position {}, {} attempts): {}. \
         `tributary queue {} L{}` tries it again.",
        ago(now, line.parked),
        line.feed,
        line.position,
        line.attempts,
        line.reason.trim_end_matches('.'),
        if line.held { "unpark" } else { "retry" },
        line.key
    )
}

/// A change that a person gave up, and whether the parent has got it since.
fn given_up(facts: &Whereabouts, delivery: &DeliveryInfo, now: Timestamp) -> String {
    let at = delivery.history.last().map_or(delivery.recorded, |(at, _, _)| *at);
    let why = delivery.reason.as_deref().unwrap_or("no reason was given").trim_end_matches('.');
    let held = facts.here.as_ref().is_some_and(|here| here.parent == ParentHolds::This);
    let since = match held {
        true => "The parent holds the present state all the same.".to_owned(),
        false => format!(
            "It goes up with the next change of the record, when the two sites compare, or by \
             `tributary queue retry {}`.",
            delivery.sequence
        ),
    };
    format!(
        "Its change {}, of {}, was given up by hand {}: {why}. {since}",
        delivery.sequence,
        ago(now, delivery.recorded),
        ago(now, at)
    )
}

fn line_given_up(line: &DroppedLine, now: Timestamp) -> String {
    format!(
        "A line from the parent ({} position {}) was given up by hand {}, by {}: {}. It could not \
         be applied: {}. What it said comes with the parent's next change of the record, or when \
         the two sites compare.",
        line.feed,
        line.position,
        ago(now, line.dropped),
        line.actor,
        line.dropped_because.trim_end_matches('.'),
        line.reason.trim_end_matches('.')
    )
}

fn absent(facts: &Whereabouts, now: Timestamp) -> Vec<String> {
    let (record, site) = (&facts.record, &facts.site);
    let mut told = Vec::new();
    let purged = facts.patients.iter().find_map(|place| place.purged);
    match (facts.let_go, purged) {
        (Some(at), _) => told.push(format!(
            "{record} is not at {site}: it left this site's cohorts by itself and was let go {}.",
            ago(now, at)
        )),
        (None, Some(at)) => told.push(format!(
            "{record} is not at {site}: the patient left and the records were removed {}.",
            ago(now, at)
        )),
        (None, None) => told.push(format!(
            "{record} is not at {site}: it has not come, or went with a patient who left."
        )),
    }
    let held = facts.patients.iter().find(|place| !place.feeds.is_empty());
    match held {
        Some(place) => told.push(format!(
            "The parent's feed {} holds the patient for this site: the record is to come with it.",
            place.feeds.join(", ")
        )),
        None if facts.has_parent => told.push(
            "Ask at the parent, with the same command: it says whether it holds the record, and \
             which sites do."
                .to_owned(),
        ),
        None => {}
    }
    if facts.inbox > 0 {
        told.push(format!(
            "{} messages that third parties brought wait to be worked off: it may be in one.",
            facts.inbox
        ));
    }
    told.extend(facts.children.iter().filter_map(|child| may_have(child, now)));
    if !facts.has_parent && told.len() == 1 {
        told.push(
            "No child is known to have anything left to send: look at the name again.".to_owned(),
        );
    }
    told
}

/// Whether a child may have what is not here.
fn may_have(child: &ChildPlace, now: Timestamp) -> Option<String> {
    let name = &child.child;
    match (child.last_seen, child.undelivered) {
        (None, _) => Some(format!("{name} has never been here.")),
        (Some(_), Some(0)) => None,
        (Some(at), Some(count)) => Some(format!(
            "{name} had {count} changes to send when it was here {}: ask there, with the same \
             command.",
            ago(now, at)
        )),
        (Some(at), None) => {
            Some(format!("{name} was here {} and did not say what it has to send.", ago(now, at)))
        }
    }
}

fn going_down(facts: &Whereabouts, now: Timestamp) -> Vec<String> {
    if facts.children.is_empty() {
        return Vec::new();
    }
    if facts.children.len() <= CHILDREN {
        return facts.children.iter().filter_map(|child| at_child(child, now)).collect();
    }
    let has = |child: &&ChildPlace| {
        child.brought || child.feed.as_ref().and_then(store::FeedPlace::passed) == Some(true)
    };
    let lacking = facts.children.iter().filter(|child| !has(child)).collect::<Vec<_>>();
    let all = facts.children.len();
    let mut told = vec![format!("{} of {all} children have it.", all - lacking.len())];
    told.extend(lacking.iter().take(CHILDREN).filter_map(|child| at_child(child, now)));
    if lacking.len() > CHILDREN {
        told.push(format!("{} more lack it or have not said.", lacking.len() - CHILDREN));
    }
    told
}

fn at_child(child: &ChildPlace, now: Timestamp) -> Option<String> {
    let (name, feed) = (&child.child, child.feed.as_ref()?);
    let cohort = &feed.name;
    if feed.left.is_some() {
        return Some(format!(
            "{name} does not get it: its patient left the cohort {cohort}, at position {}.",
            feed.left.unwrap_or_default()
        ));
    }
    if child.brought {
        return Some(format!("{name} has it: it brought this state."));
    }
    let Some(seen) = child.last_seen else {
        return Some(format!("{name} will get it by {cohort} and has never been here."));
    };
    let seen = ago(now, seen);
    Some(match feed.passed() {
        Some(true) => format!("{name} has it, by {cohort} and what it said {seen}."),
        Some(false) => {
            let whole = feed.entry.is_none_or(|entry| feed.live >= Some(entry));
            let what = if whole { "the patient's whole record" } else { "this state" };
            format!(
                "{name} gets it by {cohort} and had not fetched {what} when it was here {seen}."
            )
        }
        None => format!(
            "{name} gets it by {cohort}; when it was here {seen} it did not say how far it is."
        ),
    })
}

#[cfg(test)]
mod tests;
