//! Every bound on what comes from outside, in one place. All of them can be set in the
//! configuration under `[limits]`; going over one gives an error that names it and its value.

use serde::{Deserialize, Serialize};

/// Most policies by type and element that `[merge]` may hold.
pub const MERGE_RULES: usize = 1_000;

/// The bounds of one site. Sizes are bytes before compression, times are seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of one resource.
    pub resource_bytes: usize,
    /// How deep JSON may nest.
    pub json_depth: usize,
    /// Bytes of the bodies that the record of one conflict carries; the longest are left out.
    pub conflict_bytes: usize,
    /// Records in one change.
    pub change_records: usize,
    /// Bytes of one line of a change stream; a change whose records pass it is sent in parts.
    pub line_bytes: usize,
    /// Bytes of lines in one answer of the change stream.
    pub stream_bytes: usize,
    /// Bytes of one body posted to `/sync` or `/fhir`, after inflation.
    pub body_bytes: usize,
    /// Bytes of one FHIR message that a third party carries, after inflation.
    pub message_bytes: usize,
    /// Messages that are stored here and wait to be worked off; more get 503 with `Retry-After`.
    pub inbox_messages: u64,
    /// Bytes of one file that a courier carries, as it is and before compression.
    pub packet_bytes: usize,
    /// Messages in the answer to one lease.
    pub lease_messages: usize,
    /// For how long a lease is given at the most, and unless it asks for less.
    pub lease_seconds: u64,
    /// After how long a message that was handed over and has no receipt is offered again.
    pub receipt_seconds: u64,
    /// After how long without a third party `status` says so.
    pub carrier_seconds: u64,
    /// For how long rows of the audit wait before they go up, unless there are many.
    pub audit_seconds: u64,
    /// After how long a site compares all that it holds with what its parent lists; 0: never.
    pub compare_seconds: u64,
    /// After how long without its reader the `status` of a site that is read says so.
    pub reader_seconds: u64,
    /// Sources that are read at the same time; of those that failed last, a quarter of that.
    pub sources_at_once: usize,
    /// Bytes of lines that one source may have applied before the next has its turn.
    pub source_bytes: usize,
    /// For how many days a receipt is kept; that the changes were received is known for ever.
    pub receipt_days: u32,
    /// Entries in one page of a feed; fixed when the feed is created.
    pub page_entries: u32,
    /// Entries in one page of a FHIR search or history that did not ask for a number.
    pub search_page: u32,
    /// Most entries that a FHIR search or history page may ask for.
    pub search_page_max: u32,
    /// Values that one FHIR search may compare with, all parameters and alternatives counted.
    pub search_values: usize,
    /// Seconds that a request may take.
    pub request_seconds: u64,
    /// Seconds that an empty answer may be held open.
    pub poll_seconds: u64,
    /// Times that a refused record is tried again before it parks.
    pub attempts: u32,
    /// First pause after a failure; doubles up to `backoff_max_seconds`.
    pub backoff_seconds: u64,
    /// Longest pause after a failure.
    pub backoff_max_seconds: u64,
    /// Clock offset between two sites from which status warns.
    pub clock_offset_seconds: u64,
    /// Days that an enrolment code is good for.
    pub code_days: u32,
    /// Patients in one cohort's explicit list.
    pub cohort_patients: usize,
    /// Files (Patient records) of one person that are followed when one was replaced by another.
    pub merged_patients: usize,
    /// Requests that a site answers at the same time; more get 503 with `Retry-After`.
    pub requests_at_once: usize,
    /// Patients in the answer to one search for who is not here.
    pub find_hits: u32,
    /// Times an hour that one child may look for patients or fetch one who is not its own.
    pub asks_per_hour: u32,
    /// Characters of the reason for a fetch.
    pub reason_chars: usize,
    /// Patients whose whole records are fetched by name in one request.
    pub fetch_patients: usize,
    /// Entries of a feed between its bulk marker and a join, from which on the patient's record
    /// is fetched ahead of the bulk lane.
    pub ahead_entries: u64,
    /// Bytes of the store's disk with less than which the site says that it is not ready.
    pub disk_free_bytes: u64,
}

impl Limits {
    /// Whether clocks that are so many milliseconds apart count as one.
    pub fn clocks_agree(&self, offset_millis: i64) -> bool {
        offset_millis.unsigned_abs() <= self.clock_offset_seconds.saturating_mul(1_000)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            resource_bytes: 2 << 20,
            json_depth: 64,
            conflict_bytes: 512 << 10,
            change_records: 1_000,
            line_bytes: 4 << 20,
            stream_bytes: 8 << 20,
            body_bytes: 8 << 20,
            message_bytes: 16 << 20,
            inbox_messages: 10_000,
            packet_bytes: 64 << 20,
            lease_messages: 500,
            lease_seconds: 600,
            receipt_seconds: 1_800,
            carrier_seconds: 3_600,
            audit_seconds: 600,
            compare_seconds: 86_400,
            reader_seconds: 7_200,
            sources_at_once: 32,
            source_bytes: 1 << 20,
            receipt_days: 30,
            page_entries: 100,
            search_page: 50,
            search_page_max: 500,
            search_values: 200,
            request_seconds: 60,
            poll_seconds: 55,
            attempts: 5,
            backoff_seconds: 5,
            backoff_max_seconds: 900,
            clock_offset_seconds: 300,
            code_days: 7,
            cohort_patients: 1_000_000,
            merged_patients: 64,
            requests_at_once: 256,
            find_hits: 20,
            asks_per_hour: 120,
            reason_chars: 500,
            fetch_patients: 20,
            ahead_entries: 50,
            disk_free_bytes: 64 << 20,
        }
    }
}
