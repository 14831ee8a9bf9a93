//! All metrics, in one list: `docs/metrics.md` has the same, and a test compares the two with what
//! a site shows. Labels have bounded sets of values, and name sites and never patients.

/// What kind of a metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Goes up and down.
    Gauge,
    /// Only grows, until the site starts again.
    Counter,
    /// How long things took.
    Histogram,
    /// Says things in its labels; its value is 1.
    Info,
}

impl Kind {
    /// As the text format has it.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Gauge => "gauge",
            Kind::Counter => "counter",
            Kind::Histogram => "histogram",
            Kind::Info => "info",
        }
    }
}

/// One metric.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// As it is asked for: that of a counter with `_total`.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its labels; a histogram has `le` as well.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

impl Metric {
    /// The name without what its kind adds.
    pub fn family(&self) -> &'static str {
        let added = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(added).unwrap_or(self.name)
    }

    /// Its unit, with which the family's name ends; empty where it counts things.
    pub fn unit(&self) -> &'static str {
        let units = ["seconds", "bytes"];
        let ends = |unit: &&str| self.family().ends_with(&format!("_{unit}"));
        units.into_iter().find(ends).unwrap_or("")
    }
}

macro_rules! metrics {
    ($($id:ident $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric = Metric {
                name: $name,
                kind: Kind::$kind,
                labels: &[$($label),*],
                help: $help,
            };
        )*
        /// All of them, as they are shown.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

metrics! {
    BUILD Info "tributary_build_info" ["site", "version"]
        "Which site it is and the version of its program";

    RECORDS Gauge "tributary_records" []
        "Records that are not deleted";
    PATIENTS Gauge "tributary_patients" []
        "Patients whose Patient record is not deleted";
    PATIENTS_LEFT Gauge "tributary_patients_left" []
        "Patients who left this site's cohorts and whose records are still here";
    CHANGES Counter "tributary_changes_total" []
        "Changes in the history of this store";
    MERGES Counter "tributary_merges_total" []
        "Merges that this site has worked out";
    CONFLICTS_OPEN Gauge "tributary_conflicts_open" []
        "Conflicts that nobody has decided";
    AUDIT_ROWS Counter "tributary_audit_rows_total" []
        "Rows of this site's audit";

    QUEUE Gauge "tributary_queue_changes" ["state"]
        "Changes on their way to the parent, by state; also those that are done or dropped";
    OLDEST_UNDELIVERED Gauge "tributary_oldest_undelivered_age_seconds" []
        "Age of the oldest change that the parent does not hold; 0 where it holds all";
    PARKED_LINES Gauge "tributary_parked_lines" []
        "Lines from the parent or from sources that could not be applied, and those behind them";
    INBOX Gauge "tributary_inbox_messages" []
        "Messages that third parties brought and that wait to be worked off";
    CARRIER_CONTACT Gauge "tributary_carrier_last_contact_timestamp_seconds" []
        "When a third party that carries this site's messages was last here";
    CARRIER_MISSING Gauge "tributary_carrier_missing_messages" []
        "Messages that a carrier says are delivered and that the parent does not have";
    READER_CONTACT Gauge "tributary_reader_last_contact_timestamp_seconds" []
        "When the parent that reads this site was last here";

    PARENT_CONTACT Gauge "tributary_parent_last_contact_timestamp_seconds" []
        "When the parent last answered";
    PARENT_FAILURES Gauge "tributary_parent_failures" []
        "Failures of the link to the parent in a row";
    ROUNDS Counter "tributary_rounds_total" ["outcome"]
        "Rounds with the parent since the start: ok or failed";
    SENT Counter "tributary_sent_changes_total" []
        "Changes that the parent took since the start, where this site sends them itself";
    APPLIED Counter "tributary_applied_lines_total" ["from", "outcome"]
        "Lines that came since the start from parent, child, source or message, and what became \
         of them";
    MARKER Gauge "tributary_marker_position" ["feed", "lane"]
        "Up to where this site has applied a feed of its parent";
    LINK_BYTES Counter "tributary_link_bytes_total" ["link", "direction"]
        "Bytes sent and received, as coded: of the parent in all, of children the bodies \
         since the start";
    LINK_PAUSED Gauge "tributary_link_paused" ["link"]
        "1 where a person has paused the link at this side, else 0";

    EMR_CONTACT Gauge "tributary_emr_last_contact_timestamp_seconds" []
        "When the record system beside the site last answered";
    EMR_FAILURES Gauge "tributary_emr_failures" []
        "Failures in a row of reaching it";
    EMR_LOADING Gauge "tributary_emr_loading" []
        "1 while everything in it is being read, else 0";
    EMR_RECORDS Gauge "tributary_emr_records" ["state"]
        "Records on their way into it: due, retry, waits, parked, kept, dropped; unread: out of it";
    EMR_CAPTURED Counter "tributary_emr_captured_changes_total" []
        "Changes that were recorded from it";
    EMR_APPLIED Counter "tributary_emr_applied_records_total" []
        "States of records that were written into it";
    EMR_OLDEST Gauge "tributary_emr_oldest_due_age_seconds" []
        "Age of the oldest record that is due there; 0 where there is none";

    CHILD Info "tributary_child_info" ["child", "state", "version"]
        "A child: invited, joined or revoked, and the version of its program";
    CHILD_CONTACT Gauge "tributary_child_last_contact_timestamp_seconds" ["child"]
        "When the child was last here";
    CHILD_LAG_CHANGES Gauge "tributary_child_lag_changes" ["child"]
        "Entries of its feeds that the child has not passed";
    CHILD_LAG_PATIENTS Gauge "tributary_child_lag_patients" ["child"]
        "Patients whose whole records the child has not fetched; of a feed 10,000 at the most";
    CHILD_LAG_AGE Gauge "tributary_child_lag_age_seconds" ["child"]
        "Age of the oldest of what the child has not passed; 0 where it is up to date";
    CHILD_CATCH_UP Gauge "tributary_child_catch_up_seconds" ["child"]
        "How long the child will take for that, at the pace of lately";
    CHILD_CLOCK Gauge "tributary_child_clock_offset_seconds" ["child"]
        "The child's clock less this site's when it last reported";
    CHILD_UNDELIVERED Gauge "tributary_child_undelivered_changes" ["child"]
        "Changes that the child has to send, by its last report";
    CHILD_OLDEST Gauge "tributary_child_oldest_undelivered_age_seconds" ["child"]
        "Age of the oldest of them; 0 where there is none";
    CHILD_PARKED Gauge "tributary_child_parked" ["child"]
        "Changes and lines that are parked at the child, by its last report";
    CHILD_CONFLICTS Gauge "tributary_child_conflicts_open" ["child"]
        "Conflicts that are open at the child, by its last report";
    CHILD_STORE Gauge "tributary_child_store_bytes" ["child"]
        "Size of the child's store, by its last report";

    SOURCE_CONTACT Gauge "tributary_source_last_contact_timestamp_seconds" ["source"]
        "When a site below that this site reads last answered";
    SOURCE_FAILURES Gauge "tributary_source_failures" ["source"]
        "Failures in a row of reading a source";
    SOURCE_LAG_CHANGES Gauge "tributary_source_lag_changes" ["source"]
        "Entries that a source has and that were not read";
    SOURCE_LAG_AGE Gauge "tributary_source_lag_age_seconds" ["source"]
        "Age of the oldest of them; 0 where there is none";
    SOURCE_PARKED Gauge "tributary_source_parked_lines" ["source"]
        "Lines of a source that are parked here";

    ALERTS Gauge "tributary_alerts_firing" ["rule"]
        "Alerts that are raised, by rule";
    STORE Gauge "tributary_store_bytes" []
        "Size of the store's file and its log";
    DISK_FREE Gauge "tributary_disk_free_bytes" []
        "What is free for this site of the disk that holds the store";
    DISK_SIZE Gauge "tributary_disk_size_bytes" []
        "Size of the disk that holds the store";
    REQUESTS Counter "tributary_http_requests_total" ["route", "method", "status"]
        "Requests since the start whose answers have gone out whole, or were cut off";
    DURATIONS Histogram "tributary_http_request_duration_seconds" ["route"]
        "How long requests took until their answers had gone out whole, by route";
}
