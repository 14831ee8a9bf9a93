//! Queues are empty in the end: nothing waits to be sent, nothing is parked.

use store::DeliveryFilter;

use super::Rest;
use crate::world::Violation;

/// Deliveries that are looked at for their reasons, and reasons that are told.
const LISTED: usize = 100;
const NAMED: usize = 3;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for up in &rest.sites {
        let status = up.site.store().site_status(up.site.now())?;
        for (state, count) in &status.deliveries {
            if state != "done" && *count > 0 {
                let state = state.as_str();
                let filter = DeliveryFilter { limit: LISTED, ..DeliveryFilter::default() };
                let waiting = up.site.store().delivery_list(&filter)?;
                let reasons = waiting.into_iter().filter_map(|one| one.reason).take(NAMED);
                let reasons = reasons.collect::<Vec<_>>();
                let what =
                    format!("{count} deliveries of {} are {state}: {reasons:?}", status.site);
                found.push(Violation { checker: "drained", what });
            }
        }
        if status.parked_lines > 0 {
            let reasons = up.site.store().parked_list(3)?;
            let what =
                format!("{} lines are parked at {}: {reasons:?}", status.parked_lines, status.site);
            found.push(Violation { checker: "drained", what });
        }
    }
    Ok(found)
}
