//! The durable state of one Tributary site.
//!
//! [`Store`] is the seam: one method is one transaction is one step of the domain. SQL stands in
//! this crate and nowhere else. [`sqlite`] is the backend; [`conformance`] is the suite that any
//! other backend has to pass too.

pub mod conformance;
pub mod dictionary;
mod emr;
pub mod error;
pub mod model;
mod sources;
pub mod sqlite;
mod watch;

use std::path::Path;
use std::sync::Arc;

use protocol::message::{MessageId, Proof, Receipt};
use protocol::visit::Wanted;
use protocol::{
    Author, ChangeId, CohortName, Digest, Epoch, RecordRef, SiteId, Timestamp, Urgency,
};

pub use emr::{EmrStore, looks_lost};
pub use error::StoreError;
pub use model::*;
pub use sources::SourceStore;
pub use watch::WatchStore;

/// What every method gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// The durable state of one site. Methods block; call them off the async threads. A method that
/// writes returns after its transaction is durable.
pub trait Store: SourceStore + WatchStore + EmrStore + Send + Sync + 'static {
    // -- the site ---------------------------------------------------------------------------

    /// Which site this is, its epoch and its newest sequence. Cheap.
    fn site(&self) -> Result<SiteInfo>;
    /// Counts for people: records, queues, parked, conflicts, children, link.
    fn site_status(&self, now: Timestamp) -> Result<SiteStatus>;
    /// Writes a consistent copy of the running store to `path`, which must not exist.
    /// `progress` hears pages done and pages in all.
    fn site_backup(&self, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()>;
    /// Reads the whole store for damage and for broken rules between tables (audit chain
    /// included); gives one sentence a finding.
    fn site_check(&self, progress: &mut dyn FnMut(&str)) -> Result<Vec<String>>;

    // -- records ----------------------------------------------------------------------------

    /// The current version of a record, or the one of `version` (a sequence). `None` where there
    /// is none or `scope` may not see it: the record now, and whose it was in that version. A
    /// deleted one is given, without body.
    fn record_get(
        &self,
        record: &RecordRef,
        version: Option<u64>,
        scope: &Scope,
    ) -> Result<Option<StoredVersion>>;
    /// Current records that match.
    fn record_search(&self, query: &SearchQuery, scope: &Scope) -> Result<SearchPage>;
    /// Versions, newest first: those that `record_get` would give.
    fn record_history(&self, query: &HistoryQuery, scope: &Scope) -> Result<HistoryPage>;
    /// References and digests of the current records of a feed (deleted ones included), in the
    /// order of their references, from after `after`, at most `limit`.
    /// At a child, `DigestScope::Held` gives what this site holds of the parent's feed.
    fn record_digests(
        &self,
        scope: &DigestScope,
        after: Option<&RecordRef>,
        limit: usize,
    ) -> Result<Vec<(RecordRef, Digest)>>;
    /// What happened to a patient, page by page: changes of the patient's records with what
    /// differs, joins and leaves. `None` where the patient is unknown here, or in none of the
    /// cohorts of `scope` now. Of a record that was another patient's once, what was that one's
    /// is left out where `scope` does not reach that patient.
    fn patient_timeline(
        &self,
        query: &TimelineQuery,
        scope: &Scope,
    ) -> Result<Option<TimelinePage>>;

    /// Where a record is on its way, all from one moment: how it stands here, what of it is still
    /// to go up, what holds it back, and which children have it. Facts for people, ids only.
    fn record_why(&self, record: &RecordRef) -> Result<Whereabouts>;

    // -- changes ----------------------------------------------------------------------------

    /// Records one change made here: whole or not at all. Writes that change nothing make no
    /// version; a change of none makes no change.
    fn change_record(&self, draft: &Draft, now: Timestamp) -> Result<Recorded>;
    /// Applies lines from the parent or a child, each in a transaction of its own (all in one
    /// commit), in order; gives one result a line.
    fn change_apply(
        &self,
        source: &Source,
        lines: &[Incoming],
        now: Timestamp,
    ) -> Result<Vec<Applied>>;
    /// Lines parked by `change_apply` that are due: tries each again, in order by patient.
    /// Gives how many went in. `all`: also those that are not due yet.
    fn parked_retry(&self, now: Timestamp, jitter: u64, all: bool) -> Result<u64>;
    /// Lines parked, oldest first.
    fn parked_list(&self, limit: usize) -> Result<Vec<ParkedLine>>;
    /// One of them by its key.
    fn parked_get(&self, key: u64) -> Result<Option<ParkedLine>>;

    // -- feeds (publishing) -----------------------------------------------------------------

    /// The feeds that `scope` may read.
    fn feed_list(&self, scope: &Scope) -> Result<Vec<protocol::feed::FeedInfo>>;
    /// A page of a feed, `None` for the recent one. `Ok(None)`: no such feed or page for `scope`.
    fn feed_page(
        &self,
        feed: &str,
        number: Option<u64>,
        scope: &Scope,
    ) -> Result<Option<protocol::feed::FeedPage>>;
    /// The next lines of a stream: at most about `query.bytes` of bodies, from one snapshot.
    /// `Ok(None)`: no such feed for `scope`.
    fn feed_changes(&self, query: &FeedQuery, scope: &Scope) -> Result<Option<FeedSlice>>;
    /// Whole current records by reference, as far as `feed` holds them for `scope`.
    fn feed_fetch(
        &self,
        feed: &str,
        records: &[RecordRef],
        scope: &Scope,
    ) -> Result<Option<Vec<StoredVersion>>>;

    /// The whole records of patients who are in `feed` now, each as the bulk lane would bring it
    /// with its join, whatever the reader may hold of it. Who is not in it is left out; `more`
    /// where the rest would have passed `stream_bytes`. `Ok(None)`: no such feed for `scope`.
    fn feed_patients(
        &self,
        feed: &str,
        patients: &[RecordRef],
        scope: &Scope,
    ) -> Result<Option<FeedSlice>>;

    // -- markers (reading) ------------------------------------------------------------------

    /// All markers.
    fn marker_list(&self) -> Result<Vec<Marker>>;
    /// Sets the markers of a feed after a reconciliation or at the first contact, and forgets
    /// those of other epochs of the same feed.
    fn marker_set(&self, markers: &[Marker], now: Timestamp) -> Result<()>;
    /// After the parent's epoch changed: one page of comparisons. Records equal on both sides
    /// become agreed; those of which the parent holds an ancestor of ours are offered again;
    /// gives the references to be fetched, because theirs is unknown here. While the markers stand
    /// the parent has lost nothing: all that it holds in another state is to be fetched.
    fn marker_compare(
        &self,
        feed: &protocol::FeedId,
        page: &[(RecordRef, protocol::digest::ShortDigest)],
        range: &DigestRange,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Vec<RecordRef>>;

    /// Changes that the parent took, by their sequences, from after one of them: after it was
    /// restored it is asked which of them it holds still.
    fn delivery_done(&self, after: u64, limit: usize) -> Result<Vec<(u64, ChangeId)>>;
    /// Queues changes again that a restored parent has lost, under their own numbers; gives how
    /// many. Their records are no longer taken for held by the parent. None: it was asked about
    /// all.
    fn delivery_reopen(&self, sequences: &[u64], now: Timestamp) -> Result<u64>;
    /// A feed that we had is not in the parent's new life: offers what we hold of it, and forgets
    /// its markers. Its records wait for `unlisted_settle`.
    fn feed_lost(
        &self,
        feed: &protocol::FeedId,
        name: &str,
        policy: LeavePolicy,
        now: Timestamp,
    ) -> Result<()>;
    /// Offers the parent, which asks for the `again`th time, what it has let go of and this site
    /// keeps: records of patients whom none of its feeds holds, some at a time. `false`: that was
    /// all, and those below are asked as well.
    fn kept_offer(&self, again: u64, now: Timestamp) -> Result<bool>;
    /// Records that we hold of a feed, that the parent did not list when it was compared, and of
    /// which nothing is undelivered: it is to be asked once more. At most `limit`.
    fn unlisted_list(&self, limit: usize) -> Result<Vec<(protocol::FeedId, RecordRef)>>;
    /// The parent was asked: those that it has not sent meanwhile left the feed, and their patients
    /// of whom nothing else is in it. Gives how many records left.
    fn unlisted_settle(
        &self,
        feed: &protocol::FeedId,
        records: &[RecordRef],
        policy: LeavePolicy,
        now: Timestamp,
    ) -> Result<u64>;

    /// Patients of whose join in a parent's feed the live lane has told since this was last asked
    /// about, and whose records are more than `ahead_entries` away on the bulk lane; before them,
    /// those who joined again without what was purged here.
    fn joins_ahead(&self, feed: &protocol::FeedId, epoch: &Epoch) -> Result<JoinsAhead>;
    /// Notes up to which join that was decided, and that these patients' records were asked for.
    fn joins_looked_at(
        &self,
        feed: &protocol::FeedId,
        epoch: &Epoch,
        joins: &JoinsAhead,
    ) -> Result<()>;

    // -- cohorts ----------------------------------------------------------------------------

    /// Creates a cohort (and its feed, of `id`) or changes its definition; joins and leaves
    /// follow in the same transaction. `None` as definition where only the title changes.
    fn cohort_set(&self, cohort: &CohortDraft, now: Timestamp) -> Result<CohortChange>;
    /// All cohorts, by name.
    fn cohort_list(&self) -> Result<Vec<CohortInfo>>;
    /// The patients of a cohort, in order of their ids, from after `after`.
    fn cohort_patients(
        &self,
        name: &CohortName,
        after: Option<&RecordRef>,
        limit: usize,
    ) -> Result<Vec<RecordRef>>;

    // -- patients who are not a child's own ---------------------------------------------------

    /// Looks for patients in a child's name, at most `find_hits` of them; in the audit with whom
    /// it was shown.
    fn patient_find(
        &self,
        wanted: &Wanted,
        child: &SiteId,
        author: &Author,
        now: Timestamp,
    ) -> Result<Asked<PatientsFound>>;
    /// Makes a patient a visitor of a child, or lets a visitor stay longer; in the audit with the
    /// reason, also where it is refused. The first makes the child's cohort of visitors.
    fn visitor_add(&self, draft: &VisitorDraft, now: Timestamp) -> Result<Asked<Visiting>>;
    /// The visitors of a child, or of all children.
    fn visitor_list(&self, child: Option<&SiteId>) -> Result<Vec<VisitorInfo>>;
    /// Ends a visit at once. `false`: there is no such visitor.
    fn visitor_end(&self, child: &SiteId, patient: &RecordRef, now: Timestamp) -> Result<bool>;
    /// Ends the visits whose time is over; gives how many.
    fn visitor_expire(&self, now: Timestamp) -> Result<u64>;
    /// Notes in the audit that a child was refused what it asked, if it may ask at all by now.
    fn ask_refuse(&self, child: &SiteId, row: &AuditRow, now: Timestamp) -> Result<Asked<()>>;

    // -- deliveries -------------------------------------------------------------------------

    /// The next lines for the parent, coalesced, at most one a patient, at most about `bytes` of
    /// whole changes; one change at least.
    fn delivery_next(&self, now: Timestamp, bytes: usize) -> Result<Vec<PushLine>> {
        self.delivery_next_of(now, bytes, &Urgency::ALL)
    }
    /// The same, of these lanes only, those of the first ahead of the others. What waits in another
    /// lane holds back what comes after it of the same patients.
    fn delivery_next_of(
        &self,
        now: Timestamp,
        bytes: usize,
        lanes: &[Urgency],
    ) -> Result<Vec<PushLine>>;
    /// What the parent said of lines that `delivery_next` gave.
    fn delivery_settle(&self, settled: &[Settled], now: Timestamp, jitter: u64) -> Result<()>;
    /// Deliveries that are not done, oldest first; with `sequence`, that one with its attempts.
    fn delivery_list(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryInfo>>;
    /// What a person does to the queue: retries, parks, frees or gives up changes on their way up
    /// and lines from the parent. At most 10,000 changes a call; `next` says where to go on.
    fn queue_act(&self, order: &QueueOrder, now: Timestamp, jitter: u64) -> Result<QueueDone>;
    /// The same as the operator, by one of the choices that programs make; gives how many changes.
    fn delivery_act(
        &self,
        which: &DeliveryChoice,
        action: &DeliveryAction,
        now: Timestamp,
    ) -> Result<u64> {
        let order = QueueOrder {
            which: which.in_queue(),
            action: action.clone(),
            actor: "operator".to_owned(),
            dry_run: false,
            after: 0,
        };
        self.queue_act(&order, now, 0).map(|done| done.changes)
    }
    /// Lines from the parent that were given up, newest first.
    fn dropped_list(&self, filter: &QueueFilter, limit: usize) -> Result<Vec<DroppedLine>>;
    /// Purges patients who left (policy `purge`) and have nothing undelivered; gives how many.
    fn patient_purge(&self, now: Timestamp) -> Result<u64>;

    // -- messages that third parties carry ------------------------------------------------------

    /// Leases the next messages, oldest first, at most one a patient that is not confirmed. What
    /// was away for too long is taken back before.
    fn outbox_lease(&self, ask: &LeaseAsk, now: Timestamp) -> Result<Vec<Leased>>;
    /// What a third party says of a message that it has leased (its name, its lease).
    fn outbox_word(
        &self,
        id: &MessageId,
        lease: (&str, &str),
        word: &CarrierWord,
        now: Timestamp,
        jitter: u64,
    ) -> Result<Noted>;
    /// One message, with what happened to it.
    fn outbox_get(&self, id: &MessageId) -> Result<Option<MessageInfo>>;
    /// Messages of which the parent is to be asked by now.
    fn outbox_unconfirmed(&self, now: Timestamp, limit: usize) -> Result<Vec<Unconfirmed>>;
    /// What the parent said: settles what it holds or refused. Of those that were `asked` about and
    /// are not settled, it is asked again later. Gives how many were settled.
    fn outbox_answers(
        &self,
        receipts: &[Receipt],
        asked: &[MessageId],
        now: Timestamp,
        jitter: u64,
    ) -> Result<u64>;
    /// Takes back what was leased for too long, or handed over without a receipt; gives how many.
    fn outbox_return(&self, now: Timestamp) -> Result<u64>;
    /// Stores a message that a third party brought, until `inbox_apply`.
    fn inbox_take(&self, post: &Post, now: Timestamp) -> Result<Posted>;
    /// Messages that wait to be worked off, oldest first.
    fn inbox_next(&self, now: Timestamp, limit: usize) -> Result<Vec<Inboxed>>;
    /// One message that waits, due or not.
    fn inbox_get(&self, key: u64) -> Result<Option<Inboxed>>;
    /// Applies what a message brought, as its sender's own push would be, and keeps the receipt.
    /// `None`: it does not wait any more.
    fn inbox_apply(&self, key: u64, incoming: &Incoming, now: Timestamp)
    -> Result<Option<Receipt>>;
    /// Puts a message off that failed by no fault of its own.
    fn inbox_defer(&self, key: u64, next: Timestamp) -> Result<()>;
    /// What is known of messages of a child: of changes with all numbers that they cover.
    fn inbox_receipts(
        &self,
        child: &SiteId,
        asked: &[(ChangeId, Vec<u64>)],
    ) -> Result<Vec<ReceiptWord>>;
    /// The proof of a receipt's text that only this child can check; `None` where it has no access.
    fn inbox_prove(&self, child: &SiteId, text: &str) -> Result<Option<Proof>>;
    /// Lets go of receipts older than `receipt_days`; gives how many.
    fn inbox_expire(&self, now: Timestamp) -> Result<u64>;

    // -- merged patients --------------------------------------------------------------------

    /// One portion of what was left to do when a Patient was replaced by another, or was so no
    /// more: records that follow, or go back, at a site without a parent. Gives whether there was
    /// anything: then call again.
    fn patient_follow(&self, now: Timestamp) -> Result<bool>;
    /// Who says to be replaced by whom, by the losers' ids.
    fn patient_replaced(&self, limit: usize) -> Result<Vec<ReplacedInfo>>;
    /// Patients who have one identifier in common and are not merged: perhaps one person.
    fn patient_duplicates(&self, limit: usize) -> Result<Vec<Duplicate>>;
    /// Believes what only a child has said of this loser, which does not hold both patients.
    /// `false`: there was nothing to believe.
    fn patient_confirm(&self, loser: &RecordRef, author: &Author, now: Timestamp) -> Result<bool>;

    // -- conflicts --------------------------------------------------------------------------

    /// Conflicts that `scope` may see, newest first.
    fn conflict_list(&self, filter: &ConflictFilter, scope: &Scope) -> Result<ConflictPage>;
    /// One conflict with all its versions. `None`: there is none, or `scope` may not see it.
    fn conflict_get(&self, id: &str, scope: &Scope) -> Result<Option<ConflictView>>;
    /// Decides, confirms or opens a conflict again: one change of the conflict's own record and
    /// of the one that it is about as it is now, and a row in the audit. `Closed` where somebody
    /// else was first.
    fn conflict_decide(&self, order: &ConflictOrder, now: Timestamp) -> Result<ConflictDone>;

    // -- people, children, programs ---------------------------------------------------------

    /// Rows of the audit, oldest first unless the filter says otherwise. Of a record that was
    /// purged or let go, its changes are found by its patient only.
    fn audit_list(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>>;
    /// Rows of our audit and of those of the sites below, the newest first.
    fn audit_events(&self, filter: &EventFilter) -> Result<Vec<AuditEvent>>;
    /// Reads the whole audit: whether each row follows from the one before.
    fn audit_verify(&self) -> Result<AuditProof>;
    /// Adds a row to the audit.
    fn audit_append(&self, row: &AuditRow, now: Timestamp) -> Result<()>;
    /// Notes in the audit that somebody was shown records, with the patients they are of.
    fn disclosed(&self, disclosure: &Disclosure, now: Timestamp) -> Result<()>;
    /// Who has seen a patient's records, or those of a record's patients: by this site's rows and
    /// by those of the sites below.
    fn audit_who(&self, record: &RecordRef) -> Result<AuditWho>;
    /// Rows of our audit, or of one of a site below, that the parent has not: where it was told
    /// nothing of that chain since `before`, or where there are `many`. Without lines where what
    /// the parent was told is not of that chain any more.
    fn audit_pending(&self, before: Timestamp, many: u64) -> Result<Option<AuditBatch>>;
    /// The parent holds a chain up to there. `false`: that is no row of this chain.
    fn audit_passed(&self, site: &SiteId, at: &AuditPlace, now: Timestamp) -> Result<bool>;
    /// Places of a chain for `audit_common` at the parent: the newest first, the beginning last.
    fn audit_places(&self, site: &SiteId) -> Result<Vec<AuditPlace>>;
    /// Rows after a place in common, to begin a new life of the chain at the parent.
    fn audit_from(&self, site: &SiteId, after: AuditPlace) -> Result<AuditBatch>;
    /// Keeps rows that a child passed on, if they follow from what is held.
    fn audit_take(&self, child: &SiteId, batch: &AuditBatch, now: Timestamp) -> Result<AuditTaken>;
    /// The first of these places that stands in what is held of a chain.
    fn audit_common(&self, site: &SiteId, places: &[AuditPlace]) -> Result<AuditPlace>;
    /// Whether the rows that are held of a site below follow from one another. `None`: there are
    /// none of that site.
    fn audit_verify_copy(&self, site: &SiteId) -> Result<Option<AuditProof>>;
    /// Invites a child, or gives a known one a new code. Fails where a cohort does not exist.
    fn child_add(&self, child: &ChildDraft, now: Timestamp) -> Result<()>;
    /// All children.
    fn child_list(&self) -> Result<Vec<ChildInfo>>;
    /// Ends a child's access at once. `false`: no such child.
    fn child_revoke(&self, site: &SiteId, now: Timestamp) -> Result<bool>;
    /// A person lets a child change records of which nothing here says that it had them, and says
    /// why; in the audit. `false`: no such child.
    fn child_allow(&self, allowance: &Allowance, now: Timestamp) -> Result<bool>;
    /// Exchanges a one-time code for a credential: `Ok(None)` where the code is unknown, used,
    /// expired, or of another site.
    fn child_redeem(
        &self,
        code_hash: &[u8; 32],
        site: &SiteId,
        epoch: &Epoch,
        token_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Vec<CohortName>>>;
    /// Notes that a child was here, or was read, in this epoch, and what it reported of itself
    /// (JSON).
    fn child_seen(
        &self,
        site: &SiteId,
        epoch: &Epoch,
        report: Option<&str>,
        now: Timestamp,
    ) -> Result<()>;
    /// Notes where a child is in its feeds in this epoch of this site. Writes only what is new.
    fn child_at(&self, site: &SiteId, positions: &[FeedPosition], now: Timestamp) -> Result<()>;
    /// Gives a program a credential; fails where the name is taken.
    fn token_add(&self, token: &TokenDraft, now: Timestamp) -> Result<()>;
    /// All programs' credentials.
    fn token_list(&self) -> Result<Vec<TokenInfo>>;
    /// Ends a program's access at once. `false`: no such name.
    fn token_revoke(&self, name: &str, now: Timestamp) -> Result<bool>;
    /// Whose credential this is; `None` where it is unknown, expired or revoked.
    fn credential_holder(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<Holder>>;

    // -- the link to the parent -------------------------------------------------------------

    /// Makes this site a child: everything here that did not come from a parent is queued for
    /// it, and the `outgoing` feed begins. Does nothing where it is one already.
    fn parent_set(&self, now: Timestamp, feed: &protocol::FeedId) -> Result<()>;
    /// Pauses a link, or changes for how long and why. Fails where there is no such link.
    fn link_pause(&self, draft: &PauseDraft, now: Timestamp) -> Result<()>;
    /// Ends a pause. `false`: the link was not paused.
    fn link_resume(&self, link: &LinkName, actor: &str, now: Timestamp) -> Result<bool>;
    /// Whether a link is paused now. Cheap: it is asked with every request on the link.
    fn link_paused(&self, link: &LinkName, now: Timestamp) -> Result<Option<Pause>>;
    /// An operator lets more move on the link to the parent than the budget of a month allows; in
    /// the audit with the reason.
    fn budget_lift(&self, month: u32, reason: &str, actor: &str, now: Timestamp) -> Result<()>;
    /// Notes what happened on the link.
    fn link_note(&self, event: &LinkEvent, now: Timestamp) -> Result<()>;
    /// The link as it was last seen.
    fn link_get(&self) -> Result<LinkInfo>;
}

/// A store that can be shared.
pub type SharedStore = Arc<dyn Store>;
