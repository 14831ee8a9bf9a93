//! Several records of one type by one search of the FHIR API (`_id=a,b,c`). A search shows no
//! voided records, nor what else has a story: what is not in its answer is read by itself.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{RecordRef, ResourceType};

use super::{OpenMrs, person};
use crate::ports::{EmrError, Shown};

/// Records of one search: less than fhir2 gives on a page, and a URL of some 2 kB.
pub(super) const SEVERAL: usize = 50;

impl OpenMrs {
    /// As `capture`, of several records, in their order.
    pub(super) async fn capture_several(
        &self,
        records: &[RecordRef],
    ) -> Vec<Result<Shown, EmrError>> {
        let mut kinds: BTreeMap<ResourceType, Vec<RecordRef>> = BTreeMap::new();
        for record in records.iter().filter(|record| person::is_uuid(record.id())) {
            kinds.entry(record.kind).or_default().push(record.clone());
        }
        let mut found = BTreeMap::new();
        for (kind, records) in kinds.into_iter().filter(|(_, records)| records.len() > 1) {
            found.extend(self.found(kind, records).await.unwrap_or_default());
        }
        let mut shown = Vec::with_capacity(records.len());
        for record in records {
            shown.push(match found.remove(record) {
                Some(body) => self.as_ours(body).await,
                None => self.capture(record).await,
            });
        }
        shown
    }

    /// What a search shows of these records, those of them that stand there under their own names.
    /// It is not believed before it has once shown a record of the type as it is read by itself.
    async fn found(
        &self,
        kind: ResourceType,
        records: Vec<RecordRef>,
    ) -> Result<BTreeMap<RecordRef, Shown>, EmrError> {
        let mut names = BTreeSet::new();
        for record in records {
            if self.place_of(&record).await?.as_ref() == Some(&record) {
                names.insert(record);
            }
        }
        if names.len() < 2 || !self.has(kind.name()).await? {
            return Ok(BTreeMap::new());
        }
        let ids = names.iter().map(RecordRef::id).collect::<Vec<_>>().join(",");
        let path = format!("{kind}?_id={ids}&_count={}", 2 * SEVERAL);
        let page = self.blamed(self.server.pages(&path)?.next().await).await?;
        let mut found = BTreeMap::new();
        for one in page.map(|page| page.found).unwrap_or_default() {
            let (Some(record), Some(body)) = (one.record, one.body) else { continue };
            if names.contains(&record)
                && let Ok(shown @ Shown::Body(_)) = self.shown(&record, body.as_bytes())
            {
                found.insert(record, shown);
            }
        }
        let Some((sample, listed)) = found.iter().next() else { return Ok(found) };
        if !self.alike.lock().await.contains(&kind) {
            if self.show(sample).await?.digest() != listed.digest() {
                return Ok(BTreeMap::new());
            }
            self.alike.lock().await.insert(kind);
        }
        Ok(found)
    }
}
