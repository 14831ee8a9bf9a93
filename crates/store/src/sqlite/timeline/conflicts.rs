//! A conflict in a timeline: not by what differs in its record, but as what it is.

use protocol::conflict::{self, Compared, Conflict, State};

use crate::{ConflictTold, RecordStep};

/// What a change from `before` to `after` did to the conflict that they are; `None` where they are
/// none that can be read, or nobody opened or closed it.
pub(super) fn told(
    before: Option<&str>,
    after: Option<&str>,
) -> Option<(RecordStep, ConflictTold)> {
    let after = read(after?)?;
    let before = before.and_then(read);
    if before.is_some_and(|before| before.round == after.round && before.state == after.state) {
        return None;
    }
    let (step, how) = match &after.state {
        State::Open(None) => (RecordStep::ConflictOpened, None),
        State::Open(Some(_)) => (RecordStep::ConflictReopened, None),
        State::Confirmed(_) => (RecordStep::ConflictConfirmed, None),
        State::Decided(decision) => (RecordStep::ConflictDecided, Some(decision.how.clone())),
    };
    let elements = contested(&after);
    let told = ConflictTold {
        record: after.record,
        parent: after.parent_site,
        child: after.child_site,
        how,
        by: after.state.mark().cloned(),
        elements,
    };
    Some((step, told))
}

/// What only claims to be a conflict is a record as any other.
fn read(body: &str) -> Option<Conflict> {
    conflict::read(body).ok().flatten()
}

/// The contested elements in words, with what stood after the change. Bodies come from other
/// sites: where one is no resource, the elements are named at least.
fn contested(conflict: &Conflict) -> Vec<Compared> {
    let stood = match &conflict.state {
        State::Decided(decision) => &decision.version,
        _ => &conflict.result,
    };
    let compared = conflict::compare(conflict, stood.body.text()).unwrap_or_default();
    let known: Vec<_> = compared.into_iter().filter(|row| row.rule.is_some()).collect();
    if !known.is_empty() {
        return known;
    }
    let named = conflict.elements.iter().map(|element| Compared {
        path: element.path.clone(),
        rule: Some(element.rule.clone()),
        base: None,
        parent: None,
        child: None,
        now: None,
        stands: "other",
    });
    named.collect()
}
