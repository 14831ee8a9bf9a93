//! The queue as the command line and `/admin/queue` show it and act on it: the same of both.

use protocol::delivery::DeliveryState;
use protocol::{Limits, Timestamp, plain};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use store::{
    ConflictFilter, ConflictInfo, DeliveryFilter, DeliveryInfo, DroppedLine, EmrChoice, EmrInfo,
    EmrState, ParkedLine, QueueDone, QueueFilter, QueueId, QueueOrder, Scope, Store, StoreError,
};

use crate::config::Config;
use crate::jobs::gate::Closed;
use crate::told;

/// Why nothing is set aside at a site that its parent reads.
pub const NO_PARKING: &str = "the parent reads this site's changes in their order; what it cannot \
                              take it parks itself";

/// Lines from the parent that are looked at.
const LINES: usize = 10_000;

/// What waits and what is stuck.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing {
    /// Changes on their way up, oldest first.
    pub deliveries: Vec<DeliveryInfo>,
    /// Lines from the parent that are stuck here.
    pub parked_lines: Vec<ParkedLine>,
    /// Lines from the parent that were given up; only where `dropped` was asked for.
    pub dropped_lines: Vec<DroppedLine>,
    /// Open conflicts; only where no state, age or reason was asked for.
    pub conflicts: Vec<ConflictInfo>,
    /// Records on their way to the record system beside the site or from it; not those that it
    /// cannot hold (`tributary emr list --state kept`).
    pub emr: Vec<EmrInfo>,
    /// Lanes of the link to the parent that do not move now, and why.
    pub held: Vec<Closed>,
}

/// Reads what fits, at most `limit` of each.
pub fn list(
    store: &dyn Store,
    (config, now): (&Config, Timestamp),
    filter: &QueueFilter,
    after: u64,
    limit: usize,
) -> Result<Listing, StoreError> {
    let deliveries = store.delivery_list(&DeliveryFilter {
        state: filter.state,
        before: filter.before,
        reason: filter.reason.clone(),
        patient: filter.patient.clone(),
        sequence: None,
        after,
        limit,
    })?;
    let mut parked_lines = store.parked_list(LINES)?;
    parked_lines.retain(|line| wants(filter, line));
    parked_lines.truncate(limit);
    let dropped_lines = match filter.state {
        Some(DeliveryState::Dropped) => store.dropped_list(filter, limit)?,
        _ => Vec::new(),
    };
    // A conflict has no state of a delivery, no reason and holds nothing up.
    let conflicts = match is_narrow(filter) {
        true => Vec::new(),
        false => {
            let open = ConflictFilter {
                open: Some(true),
                patient: filter.patient.clone(),
                limit,
                ..ConflictFilter::default()
            };
            store.conflict_list(&open, &Scope::Everything)?.conflicts
        }
    };
    let emr = beside(store, filter, limit)?;
    let held = told::held(config, &store.link_get()?, now);
    Ok(Listing { deliveries, parked_lines, dropped_lines, conflicts, emr, held })
}

/// What is on its way to the record system or from it, of what was asked for.
fn beside(
    store: &dyn Store,
    filter: &QueueFilter,
    limit: usize,
) -> Result<Vec<EmrInfo>, StoreError> {
    let states: &[EmrState] = match filter.state {
        None => {
            &[EmrState::Parked, EmrState::Retry, EmrState::Waits, EmrState::Due, EmrState::Unread]
        }
        Some(DeliveryState::Parked) => &[EmrState::Parked],
        Some(DeliveryState::Retry) => &[EmrState::Retry],
        Some(DeliveryState::Ready) => &[EmrState::Due],
        Some(DeliveryState::Dropped) => &[EmrState::Dropped],
        Some(_) => &[],
    };
    let mut all = Vec::new();
    for state in states {
        let patient = filter.patient.clone();
        let choice = EmrChoice { patient, state: Some(*state), ..EmrChoice::default() };
        all.extend(store.emr_list(&choice, LINES)?);
    }
    all.retain(|info| {
        let words = |words: &String| info.reason.as_ref().is_some_and(|why| why.contains(words));
        filter.reason.as_ref().is_none_or(words)
            && filter.before.is_none_or(|before| info.since.is_some_and(|at| at < before))
    });
    all.truncate(limit);
    Ok(all)
}

/// Whether only a kind of what waits was asked for.
pub fn is_narrow(filter: &QueueFilter) -> bool {
    filter.state.is_some() || filter.before.is_some() || filter.reason.is_some()
}

/// Of lines from the parent, which are all parked, those that were asked for.
fn wants(filter: &QueueFilter, line: &ParkedLine) -> bool {
    filter.state.is_none_or(|state| state == DeliveryState::Parked)
        && filter.patient.as_ref().is_none_or(|patient| line.patients.contains(patient))
        && filter.reason.as_ref().is_none_or(|words| line.reason.contains(words))
        && filter.before.is_none_or(|before| line.parked < before)
}

/// One of them with all that is known of it: a change with its attempts, a line that is stuck or
/// was given up. `None`: there is no such thing.
pub fn show(store: &dyn Store, id: QueueId) -> Result<Option<Value>, StoreError> {
    let told = match id {
        QueueId::Change(sequence) => {
            let sequence = Some(sequence);
            let filter = DeliveryFilter { sequence, limit: 1, ..DeliveryFilter::default() };
            let Some(delivery) = store.delivery_list(&filter)?.into_iter().next() else {
                return Ok(None);
            };
            let name = delivery.message.as_ref().and_then(|name| name.parse().ok());
            let message = name.map(|name| store.outbox_get(&name)).transpose()?.flatten();
            let mut told = json(&delivery);
            if let Some(message) = message {
                told["carried"] = json(&message);
            }
            Some(told)
        }
        QueueId::Line(key) => match store.parked_get(key)? {
            Some(line) => Some(json(&line)),
            None => {
                let all = store.dropped_list(&QueueFilter::default(), LINES)?;
                all.iter().find(|line| line.key == key).map(json)
            }
        },
    };
    Ok(told)
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Acts until all that was chosen is acted on.
pub fn act(
    store: &dyn Store,
    order: &QueueOrder,
    now: Timestamp,
    jitter: u64,
) -> Result<QueueDone, StoreError> {
    let mut order = order.clone();
    let mut all = QueueDone::default();
    loop {
        let done = store.queue_act(&order, now, jitter)?;
        all.changes += done.changes;
        all.lines += done.lines;
        all.kept += done.kept;
        all.leased += done.leased;
        let Some(next) = done.next else { return Ok(all) };
        order.after = next;
    }
}

/// The reason that a person gives, as it may be kept; or what is wrong with it.
pub fn reason(text: &str, limits: &Limits) -> Result<String, String> {
    let text = text.trim();
    let limit = limits.reason_chars;
    if text.is_empty() {
        return Err("the reason is empty: say why".to_owned());
    }
    if text.chars().count() > limit {
        return Err(format!("the reason is over the limit reason_chars = {limit}"));
    }
    match plain::line(text, limit) {
        line if line.is_empty() => Err("the reason has no words: say why".to_owned()),
        line => Ok(line),
    }
}
