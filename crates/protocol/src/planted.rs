//! Faults that are planted in production code, to see that the simulator finds each of them.
//!
//! Without the feature `planted-faults`, which no default build has, [`planted`] is a constant
//! `false`: nothing of this is left in the program.

/// A fault that can be planted: what goes wrong where [`planted`] says that it is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The marker moves to the head of the feed, though the answer was cut.
    MarkerPastCut,
    /// The first part of a line moves the marker.
    MarkerAtFirstPart,
    /// Changes that were taken before are taken again, as they came.
    TakenTwice,
    /// A pushed line counts as received with its first part, and what its sender hears to be
    /// missing is not offered again.
    ReceivedAtFirstPart,
    /// Any child may read any feed.
    FeedForAnyone,
    /// Records are fetched by name without a look at the cohort.
    FetchForAnyone,
    /// The versions of a record from before it was a patient's are shown with the record.
    HistoryForAnyone,
    /// Where both sides moved, this site's state stands.
    LocalPreferred,
    /// What this site holds is taken for what both sides agreed on.
    BaseIsOurs,
    /// A conflict is decided, and not noted.
    ConflictUnnoted,
    /// Now and then a change has no entry in the feeds of cohorts.
    EntrySkipped,
    /// Changes are done as soon as they are sent.
    DoneWhenSent,
    /// The parent's word on one change settles all that were made before it.
    SettledTooMuch,
    /// What the parent holds otherwise is taken for held as it was sent.
    DifferenceUnsaid,
    /// A record that another child brought is said to be held by the reader.
    HeldByAnyone,
    /// Leaves are passed over by the child.
    LeaveIgnored,
    /// Leaves are never told by the parent.
    LeaveUntold,
    /// Patients who left are purged with what was not sent.
    PurgedBeforeSent,
    /// Joins bring no records.
    JoinEmpty,
    /// A line that cannot be applied is passed over.
    FailedLineSkipped,
    /// What a third party says to have delivered is done.
    CarrierBelieved,
    /// What a record system does not show of a record is taken for deleted there.
    ShownIsAll,
    /// An edit in a record system is taken for one of what this site holds by now.
    EditIsOfOurs,
    /// What was to be written into a record system is taken for written, though no answer came.
    WrittenUnheard,
    /// What changed in a record system and cannot be read is forgotten.
    UnreadForgotten,
}

#[cfg(feature = "planted-faults")]
impl Fault {
    /// All of them.
    pub const ALL: &'static [Fault] = &[
        Fault::MarkerPastCut,
        Fault::MarkerAtFirstPart,
        Fault::TakenTwice,
        Fault::ReceivedAtFirstPart,
        Fault::FeedForAnyone,
        Fault::FetchForAnyone,
        Fault::HistoryForAnyone,
        Fault::LocalPreferred,
        Fault::BaseIsOurs,
        Fault::ConflictUnnoted,
        Fault::EntrySkipped,
        Fault::DoneWhenSent,
        Fault::SettledTooMuch,
        Fault::DifferenceUnsaid,
        Fault::HeldByAnyone,
        Fault::LeaveIgnored,
        Fault::LeaveUntold,
        Fault::PurgedBeforeSent,
        Fault::JoinEmpty,
        Fault::FailedLineSkipped,
        Fault::CarrierBelieved,
        Fault::ShownIsAll,
        Fault::EditIsOfOurs,
        Fault::WrittenUnheard,
        Fault::UnreadForgotten,
    ];
}

#[cfg(feature = "planted-faults")]
std::thread_local! {
    static CHOSEN: std::cell::Cell<Option<Fault>> = const { std::cell::Cell::new(None) };
}

/// Plants a fault in whatever this thread runs from now on; `None` takes it away.
#[cfg(feature = "planted-faults")]
pub fn plant(fault: Option<Fault>) {
    CHOSEN.set(fault);
}

/// Whether a fault is planted.
#[cfg(feature = "planted-faults")]
pub fn planted(fault: Fault) -> bool {
    CHOSEN.get() == Some(fault)
}

/// Whether a fault is planted: never, in this build.
#[cfg(not(feature = "planted-faults"))]
#[inline(always)]
pub const fn planted(_: Fault) -> bool {
    false
}
