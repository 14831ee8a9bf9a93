//! How a record stands with the record system beside the site, in words.

use protocol::Timestamp;
use store::{EmrInfo, EmrState};

use crate::cli::status::{ago, ahead};

pub(super) fn standing(info: &EmrInfo, now: Timestamp) -> String {
    let reason = info.reason.as_deref().unwrap_or("no reason was given").trim_end_matches('.');
    let next = info.next_at.map_or(String::new(), |at| format!(" {}", ahead(now, at)));
    let since = info.since.map_or(String::new(), |at| format!(", since {}", ago(now, at)));
    let record = &info.record;
    match info.state {
        EmrState::Same => {
            "The record system beside this site holds it, as far as it can.".to_owned()
        }
        EmrState::Due => {
            format!("It is still to be written into the record system{since}: its turn comes.")
        }
        EmrState::Retry => format!(
            "Writing it into the record system failed ({reason}); it is tried again{next}, and \
             what else its patient has waits."
        ),
        EmrState::Waits => {
            format!("It waits to be written into the record system{since}: {reason}.")
        }
        EmrState::Parked => format!(
            "The record system refused it{since}: {reason}. Mend that, then `tributary emr retry \
             {record}`; what else its patient has waits."
        ),
        EmrState::Kept => {
            format!("The record system cannot hold it, and it is kept here: {reason}.")
        }
        EmrState::Dropped => format!(
            "It was given up by hand for the record system: {reason}. Its next change goes there, \
             or `tributary emr retry {record}`."
        ),
        EmrState::Unread => format!(
            "It changed in the record system and could not be read there ({reason}); it is read \
             again{next}."
        ),
    }
}
