//! The SQLite backend: one file, WAL, one writer with group commit, readers beside it.
//!
//! Each method of [`Store`] is one function in a module of its own below; this file only says
//! which. Several processes may have the same file open (`serve` and the verbs of the command
//! line), so nothing that another process can change is kept in memory.

mod ahead;
mod alerts;
mod apply;
mod asks;
mod audit;
mod backup;
mod body;
mod changes;
mod check;
mod cohorts;
mod conflicts;
#[cfg(test)]
mod costs;
mod deliveries;
mod digests;
mod emr;
mod feeds;
mod find;
mod former;
mod history;
mod inbox;
mod index;
mod journal;
mod keys;
mod lag;
mod leaves;
mod link;
mod markers;
mod offer;
mod open;
mod outbox;
mod parked;
mod pause;
mod prepared;
mod publish;
mod queue;
mod reader;
mod received;
mod records;
mod replaced;
mod rows;
mod scope;
mod search;
mod sites;
mod sources;
mod status;
#[cfg(test)]
mod testing;
mod timeline;
mod unlisted;
mod visitors;
mod why;
mod writer;

use std::path::{Path, PathBuf};

use protocol::digest::ShortDigest;
use protocol::feed::{FeedInfo, FeedPage};
use protocol::message::{MessageId, Proof, Receipt};
use protocol::visit::Wanted;
use protocol::{
    Author, ChangeId, CohortName, Digest, Epoch, FeedId, RecordRef, SiteId, Timestamp, Urgency,
};
use rusqlite::Connection;

use crate::model::*;
use crate::{Result, Store};

/// A site's store in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    options: OpenOptions,
    writer: writer::Writer,
    definitions: cohorts::Definitions,
    readers: reader::Readers,
}

impl Store for SqliteStore {
    fn site(&self) -> Result<SiteInfo> {
        status::site(self)
    }
    fn site_status(&self, now: Timestamp) -> Result<SiteStatus> {
        status::site_status(self, now)
    }
    fn site_backup(&self, path: &Path, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        backup::site_backup(self, path, progress)
    }
    fn site_check(&self, progress: &mut dyn FnMut(&str)) -> Result<Vec<String>> {
        check::site_check(self, progress)
    }

    fn record_get(
        &self,
        record: &RecordRef,
        version: Option<u64>,
        scope: &Scope,
    ) -> Result<Option<StoredVersion>> {
        records::record_get(self, record, version, scope)
    }
    fn record_search(&self, query: &SearchQuery, scope: &Scope) -> Result<SearchPage> {
        search::record_search(self, query, scope)
    }
    fn record_history(&self, query: &HistoryQuery, scope: &Scope) -> Result<HistoryPage> {
        history::record_history(self, query, scope)
    }
    fn record_digests(
        &self,
        scope: &DigestScope,
        after: Option<&RecordRef>,
        limit: usize,
    ) -> Result<Vec<(RecordRef, Digest)>> {
        digests::record_digests(self, scope, after, limit)
    }
    fn patient_timeline(
        &self,
        query: &TimelineQuery,
        scope: &Scope,
    ) -> Result<Option<TimelinePage>> {
        timeline::patient_timeline(self, query, scope)
    }

    fn record_why(&self, record: &RecordRef) -> Result<Whereabouts> {
        why::record_why(self, record)
    }

    fn change_record(&self, draft: &Draft, now: Timestamp) -> Result<Recorded> {
        changes::change_record(self, draft, now)
    }
    fn change_apply(
        &self,
        source: &Source,
        lines: &[Incoming],
        now: Timestamp,
    ) -> Result<Vec<Applied>> {
        apply::change_apply(self, source, lines, now)
    }
    fn parked_retry(&self, now: Timestamp, jitter: u64, all: bool) -> Result<u64> {
        parked::parked_retry(self, now, jitter, all)
    }
    fn parked_list(&self, limit: usize) -> Result<Vec<ParkedLine>> {
        status::parked_list(self, limit)
    }
    fn parked_get(&self, key: u64) -> Result<Option<ParkedLine>> {
        queue::parked_get(self, key)
    }

    fn feed_list(&self, scope: &Scope) -> Result<Vec<FeedInfo>> {
        feeds::feed_list(self, scope)
    }
    fn feed_page(
        &self,
        feed: &str,
        number: Option<u64>,
        scope: &Scope,
    ) -> Result<Option<FeedPage>> {
        feeds::feed_page(self, feed, number, scope)
    }
    fn feed_changes(&self, query: &FeedQuery, scope: &Scope) -> Result<Option<FeedSlice>> {
        feeds::feed_changes(self, query, scope)
    }
    fn feed_fetch(
        &self,
        feed: &str,
        records: &[RecordRef],
        scope: &Scope,
    ) -> Result<Option<Vec<StoredVersion>>> {
        feeds::feed_fetch(self, feed, records, scope)
    }

    fn feed_patients(
        &self,
        feed: &str,
        patients: &[RecordRef],
        scope: &Scope,
    ) -> Result<Option<FeedSlice>> {
        feeds::feed_patients(self, feed, patients, scope)
    }

    fn marker_list(&self) -> Result<Vec<Marker>> {
        status::marker_list(self)
    }
    fn marker_set(&self, markers: &[Marker], now: Timestamp) -> Result<()> {
        markers::marker_set(self, markers, now)
    }
    fn marker_compare(
        &self,
        feed: &FeedId,
        page: &[(RecordRef, ShortDigest)],
        range: &DigestRange,
        sequence: u64,
        now: Timestamp,
    ) -> Result<Vec<RecordRef>> {
        markers::marker_compare(self, feed, page, range, sequence, now)
    }
    fn delivery_done(&self, after: u64, limit: usize) -> Result<Vec<(u64, ChangeId)>> {
        unlisted::delivery_done(self, after, limit)
    }
    fn delivery_reopen(&self, sequences: &[u64], now: Timestamp) -> Result<u64> {
        unlisted::delivery_reopen(self, sequences, now)
    }
    fn feed_lost(
        &self,
        feed: &FeedId,
        name: &str,
        policy: LeavePolicy,
        now: Timestamp,
    ) -> Result<()> {
        unlisted::feed_lost(self, feed, name, policy, now)
    }
    fn kept_offer(&self, again: u64, now: Timestamp) -> Result<bool> {
        unlisted::kept_offer(self, again, now)
    }
    fn unlisted_list(&self, limit: usize) -> Result<Vec<(FeedId, RecordRef)>> {
        unlisted::unlisted_list(self, limit)
    }
    fn unlisted_settle(
        &self,
        feed: &FeedId,
        records: &[RecordRef],
        policy: LeavePolicy,
        now: Timestamp,
    ) -> Result<u64> {
        unlisted::unlisted_settle(self, feed, records, policy, now)
    }
    fn joins_ahead(&self, feed: &FeedId, epoch: &Epoch) -> Result<JoinsAhead> {
        ahead::joins_ahead(self, feed, epoch)
    }
    fn joins_looked_at(&self, feed: &FeedId, epoch: &Epoch, joins: &JoinsAhead) -> Result<()> {
        ahead::joins_looked_at(self, feed, epoch, joins)
    }

    fn cohort_set(&self, cohort: &CohortDraft, now: Timestamp) -> Result<CohortChange> {
        cohorts::cohort_set(self, cohort, now)
    }
    fn cohort_list(&self) -> Result<Vec<CohortInfo>> {
        status::cohort_list(self)
    }
    fn cohort_patients(
        &self,
        name: &CohortName,
        after: Option<&RecordRef>,
        limit: usize,
    ) -> Result<Vec<RecordRef>> {
        status::cohort_patients(self, name, after, limit)
    }

    fn patient_find(
        &self,
        wanted: &Wanted,
        child: &SiteId,
        author: &Author,
        now: Timestamp,
    ) -> Result<Asked<PatientsFound>> {
        find::patient_find(self, wanted, child, author, now)
    }
    fn visitor_add(&self, draft: &VisitorDraft, now: Timestamp) -> Result<Asked<Visiting>> {
        visitors::visitor_add(self, draft, now)
    }
    fn visitor_list(&self, child: Option<&SiteId>) -> Result<Vec<VisitorInfo>> {
        visitors::visitor_list(self, child)
    }
    fn visitor_end(&self, child: &SiteId, patient: &RecordRef, now: Timestamp) -> Result<bool> {
        visitors::visitor_end(self, child, patient, now)
    }
    fn visitor_expire(&self, now: Timestamp) -> Result<u64> {
        visitors::visitor_expire(self, now)
    }
    fn ask_refuse(&self, child: &SiteId, row: &AuditRow, now: Timestamp) -> Result<Asked<()>> {
        asks::ask_refuse(self, child, row, now)
    }

    fn delivery_next_of(
        &self,
        now: Timestamp,
        bytes: usize,
        lanes: &[Urgency],
    ) -> Result<Vec<PushLine>> {
        deliveries::delivery_next(self, now, bytes, lanes)
    }
    fn delivery_settle(&self, settled: &[Settled], now: Timestamp, jitter: u64) -> Result<()> {
        deliveries::delivery_settle(self, settled, now, jitter)
    }
    fn delivery_list(&self, filter: &DeliveryFilter) -> Result<Vec<DeliveryInfo>> {
        status::delivery_list(self, filter)
    }
    fn queue_act(&self, order: &QueueOrder, now: Timestamp, jitter: u64) -> Result<QueueDone> {
        queue::queue_act(self, order, now, jitter)
    }
    fn dropped_list(&self, filter: &QueueFilter, limit: usize) -> Result<Vec<DroppedLine>> {
        queue::dropped_list(self, filter, limit)
    }
    fn patient_purge(&self, now: Timestamp) -> Result<u64> {
        leaves::patient_purge(self, now)
    }

    fn outbox_lease(&self, ask: &LeaseAsk, now: Timestamp) -> Result<Vec<Leased>> {
        outbox::outbox_lease(self, ask, now)
    }
    fn outbox_word(
        &self,
        id: &MessageId,
        lease: (&str, &str),
        word: &CarrierWord,
        now: Timestamp,
        jitter: u64,
    ) -> Result<Noted> {
        outbox::outbox_word(self, id, lease, word, now, jitter)
    }
    fn outbox_get(&self, id: &MessageId) -> Result<Option<MessageInfo>> {
        outbox::outbox_get(self, id)
    }
    fn outbox_unconfirmed(&self, now: Timestamp, limit: usize) -> Result<Vec<Unconfirmed>> {
        outbox::outbox_unconfirmed(self, now, limit)
    }
    fn outbox_answers(
        &self,
        receipts: &[Receipt],
        asked: &[MessageId],
        now: Timestamp,
        jitter: u64,
    ) -> Result<u64> {
        outbox::outbox_answers(self, receipts, asked, now, jitter)
    }
    fn outbox_return(&self, now: Timestamp) -> Result<u64> {
        outbox::outbox_return(self, now)
    }
    fn inbox_take(&self, post: &Post, now: Timestamp) -> Result<Posted> {
        inbox::inbox_take(self, post, now)
    }
    fn inbox_next(&self, now: Timestamp, limit: usize) -> Result<Vec<Inboxed>> {
        inbox::inbox_next(self, now, limit)
    }
    fn inbox_get(&self, key: u64) -> Result<Option<Inboxed>> {
        inbox::inbox_get(self, key)
    }
    fn inbox_apply(
        &self,
        key: u64,
        incoming: &Incoming,
        now: Timestamp,
    ) -> Result<Option<Receipt>> {
        inbox::inbox_apply(self, key, incoming, now)
    }
    fn inbox_defer(&self, key: u64, next: Timestamp) -> Result<()> {
        inbox::inbox_defer(self, key, next)
    }
    fn inbox_receipts(
        &self,
        child: &SiteId,
        asked: &[(ChangeId, Vec<u64>)],
    ) -> Result<Vec<ReceiptWord>> {
        inbox::inbox_receipts(self, child, asked)
    }
    fn inbox_prove(&self, child: &SiteId, text: &str) -> Result<Option<Proof>> {
        inbox::inbox_prove(self, child, text)
    }
    fn inbox_expire(&self, now: Timestamp) -> Result<u64> {
        inbox::inbox_expire(self, now)
    }

    fn patient_follow(&self, now: Timestamp) -> Result<bool> {
        replaced::patient_follow(self, now)
    }
    fn patient_replaced(&self, limit: usize) -> Result<Vec<ReplacedInfo>> {
        replaced::patient_replaced(self, limit)
    }
    fn patient_duplicates(&self, limit: usize) -> Result<Vec<Duplicate>> {
        replaced::patient_duplicates(self, limit)
    }
    fn patient_confirm(&self, loser: &RecordRef, author: &Author, now: Timestamp) -> Result<bool> {
        replaced::patient_confirm(self, loser, author, now)
    }

    fn conflict_list(&self, filter: &ConflictFilter, scope: &Scope) -> Result<ConflictPage> {
        conflicts::conflict_list(self, filter, scope)
    }
    fn conflict_get(&self, id: &str, scope: &Scope) -> Result<Option<ConflictView>> {
        conflicts::conflict_get(self, id, scope)
    }
    fn conflict_decide(&self, order: &ConflictOrder, now: Timestamp) -> Result<ConflictDone> {
        conflicts::conflict_decide(self, order, now)
    }

    fn audit_list(&self, filter: &AuditFilter) -> Result<Vec<AuditEntry>> {
        audit::audit_list(self, filter)
    }
    fn audit_events(&self, filter: &EventFilter) -> Result<Vec<AuditEvent>> {
        audit::audit_events(self, filter)
    }
    fn audit_verify(&self) -> Result<AuditProof> {
        audit::audit_verify(self)
    }
    fn audit_append(&self, row: &AuditRow, now: Timestamp) -> Result<()> {
        audit::audit_append(self, row, now)
    }
    fn disclosed(&self, disclosure: &Disclosure, now: Timestamp) -> Result<()> {
        audit::disclosed(self, disclosure, now)
    }
    fn audit_who(&self, record: &RecordRef) -> Result<AuditWho> {
        audit::audit_who(self, record)
    }
    fn audit_pending(&self, before: Timestamp, many: u64) -> Result<Option<AuditBatch>> {
        audit::audit_pending(self, before, many)
    }
    fn audit_passed(&self, site: &SiteId, at: &AuditPlace, now: Timestamp) -> Result<bool> {
        audit::audit_passed(self, site, at, now)
    }
    fn audit_places(&self, site: &SiteId) -> Result<Vec<AuditPlace>> {
        audit::audit_places(self, site)
    }
    fn audit_from(&self, site: &SiteId, after: AuditPlace) -> Result<AuditBatch> {
        audit::audit_from(self, site, after)
    }
    fn audit_take(&self, child: &SiteId, batch: &AuditBatch, now: Timestamp) -> Result<AuditTaken> {
        audit::audit_take(self, child, batch, now)
    }
    fn audit_common(&self, site: &SiteId, places: &[AuditPlace]) -> Result<AuditPlace> {
        audit::audit_common(self, site, places)
    }
    fn audit_verify_copy(&self, site: &SiteId) -> Result<Option<AuditProof>> {
        audit::audit_verify_copy(self, site)
    }
    fn child_add(&self, child: &ChildDraft, now: Timestamp) -> Result<()> {
        sites::child_add(self, child, now)
    }
    fn child_list(&self) -> Result<Vec<ChildInfo>> {
        sites::child_list(self)
    }
    fn child_revoke(&self, site: &SiteId, now: Timestamp) -> Result<bool> {
        sites::child_revoke(self, site, now)
    }
    fn child_allow(&self, allowance: &Allowance, now: Timestamp) -> Result<bool> {
        sites::child_allow(self, allowance, now)
    }
    fn child_redeem(
        &self,
        code_hash: &[u8; 32],
        site: &SiteId,
        epoch: &Epoch,
        token_hash: &[u8; 32],
        now: Timestamp,
    ) -> Result<Option<Vec<CohortName>>> {
        sites::child_redeem(self, code_hash, site, epoch, token_hash, now)
    }
    fn child_seen(
        &self,
        site: &SiteId,
        epoch: &Epoch,
        report: Option<&str>,
        now: Timestamp,
    ) -> Result<()> {
        sites::child_seen(self, site, epoch, report, now)
    }
    fn child_at(&self, site: &SiteId, positions: &[FeedPosition], now: Timestamp) -> Result<()> {
        lag::child_at(self, site, positions, now)
    }
    fn token_add(&self, token: &TokenDraft, now: Timestamp) -> Result<()> {
        sites::token_add(self, token, now)
    }
    fn token_list(&self) -> Result<Vec<TokenInfo>> {
        sites::token_list(self)
    }
    fn token_revoke(&self, name: &str, now: Timestamp) -> Result<bool> {
        sites::token_revoke(self, name, now)
    }
    fn credential_holder(&self, hash: &[u8; 32], now: Timestamp) -> Result<Option<Holder>> {
        sites::credential_holder(self, hash, now)
    }

    fn parent_set(&self, now: Timestamp, feed: &FeedId) -> Result<()> {
        link::parent_set(self, now, feed)
    }
    fn link_pause(&self, draft: &PauseDraft, now: Timestamp) -> Result<()> {
        pause::link_pause(self, draft, now)
    }
    fn link_resume(&self, link: &LinkName, actor: &str, now: Timestamp) -> Result<bool> {
        pause::link_resume(self, link, actor, now)
    }
    fn link_paused(&self, link: &LinkName, now: Timestamp) -> Result<Option<Pause>> {
        pause::link_paused(self, link, now)
    }
    fn link_note(&self, event: &LinkEvent, now: Timestamp) -> Result<()> {
        link::link_note(self, event, now)
    }
    fn budget_lift(&self, month: u32, reason: &str, actor: &str, now: Timestamp) -> Result<()> {
        link::budget_lift(self, month, reason, actor, now)
    }
    fn link_get(&self) -> Result<LinkInfo> {
        status::link_get(self)
    }
}
