//! A site and the record system beside it hold the same, as far as the record system can: nothing
//! is on its way, and nothing is only there.

use std::collections::BTreeSet;

use protocol::resource::Record;
use protocol::{Digest, Limits, RecordRef};
use store::{EmrState, Store};

use super::Rest;
use crate::place::{Place, Up};
use crate::reach::Reach;
use crate::world::Violation;

/// Records whose states are told where some are on their way.
const NAMED: usize = 5;
/// Records that belong to both.
const LISTED: usize = 100;

pub(super) fn check(rest: &Rest<'_>) -> anyhow::Result<Vec<Violation>> {
    let mut found = Vec::new();
    for (place, up) in rest.shared.places.iter().zip(&rest.sites) {
        let Some(system) = &place.system else { continue };
        let beside = At { rest, place, up, system };
        let mut wrong = beside.under_way()?.into_iter().collect::<Vec<_>>();
        for (record, body) in &rest.records[place.index] {
            wrong.extend(beside.here(record, body)?);
        }
        wrong.extend(beside.only_there()?);
        let told = wrong.into_iter().map(|what| format!("{what} at {}", place.id));
        found.extend(told.map(|what| Violation { checker: "beside", what }));
    }
    Ok(found)
}

struct At<'a> {
    rest: &'a Rest<'a>,
    place: &'a Place,
    up: &'a Up,
    system: &'a Reach,
}

impl At<'_> {
    fn store(&self) -> &dyn Store {
        self.up.site.store()
    }

    fn under_way(&self) -> anyhow::Result<Option<String>> {
        let Some(status) = self.store().emr_status()? else {
            return Ok(Some("no record system is known".to_owned()));
        };
        let open = status.due + status.retry + status.waits + status.parked + status.hints;
        if open == 0 && !status.loading {
            return Ok(None);
        }
        let list = self.store().emr_list(&store::EmrChoice::default(), LISTED)?;
        let list = list.into_iter().filter(|info| info.state != EmrState::Kept).take(NAMED);
        let named = list.map(|info| {
            format!("{} {}: {}", info.record, info.state.name(), info.reason.unwrap_or_default())
        });
        let named = named.collect::<Vec<_>>().join(", ");
        let loading = if status.loading { "everything is being read, and " } else { "" };
        Ok(Some(format!("{loading}{open} records are on their way between the two: {named}")))
    }

    /// A record that is here.
    fn here(&self, record: &RecordRef, body: &str) -> anyhow::Result<Option<String>> {
        let shown = self.system.emr.body(record);
        let wanted = self.system.emr.would_show(record, body);
        let known = self.store().record_why(record)?;
        let is_here = known.patients.iter().any(|place| place.state == "here");
        let is_for_it = is_here || known.patients.is_empty() && record.is_reference();
        Ok(match known.emr.map(|info| info.state) {
            _ if protocol::conflict::is_name(record) => {
                shown.map(|_| format!("{record}, a conflict, is in the record system"))
            }
            Some(EmrState::Same) if digest(shown.as_deref()) != digest(wanted.as_deref()) => {
                let shown = shown.unwrap_or_else(|| "nothing".to_owned());
                let wanted = wanted.unwrap_or_else(|| "nothing".to_owned());
                Some(format!("{record} is {shown} in the record system, and should be {wanted}"))
            }
            Some(EmrState::Kept) => {
                wanted.map(|_| format!("{record} is kept, though the record system could hold it"))
            }
            None if is_for_it => Some(format!("{record} was never meant for the record system")),
            _ => None,
        })
    }

    /// What is there and not here, but for what was purged here.
    fn only_there(&self) -> anyhow::Result<Vec<String>> {
        let here = &self.rest.records[self.place.index];
        let there = self.system.emr.records().into_iter().collect::<BTreeSet<_>>();
        let mut wrong = Vec::new();
        for record in there.into_iter().filter(|record| !here.contains_key(record)) {
            if !self.store().emr_left(record.kind)?.contains(&record) {
                wrong.push(format!("{record} is only in the record system"));
            }
        }
        Ok(wrong)
    }
}

fn digest(body: Option<&str>) -> Option<Digest> {
    Some(Record::parse(body?.as_bytes(), &Limits::default()).ok()?.digest)
}
