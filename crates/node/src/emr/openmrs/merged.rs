//! Patients who were merged in OpenMRS: the loser is voided there, and what was his is the
//! winner's. The database says who that is; without it only the reason of the voiding says that
//! they were merged, and the winner is whoever has the loser's identifiers now.

use std::collections::BTreeSet;

use protocol::RecordRef;
use protocol::json::{self, Json};

use super::OpenMrs;
use super::element::text;
use super::look::encoded;
use super::person::is_uuid;
use super::rest::failed;
use crate::ports::{EmrError, Shown};

/// With what the reason begins for which OpenMRS voids who was merged.
const REASON: &str = "Merged with patient";

impl OpenMrs {
    /// What became of a patient who is voided: deleted, or merged into another one.
    pub(super) async fn merged(&self, loser: &RecordRef) -> Result<Shown, EmrError> {
        let winner = match &self.binlog {
            Some(binlog) => binlog.winner(loser.id()).await?.filter(|uuid| is_uuid(uuid)),
            None => None,
        };
        let winner = match winner {
            Some(uuid) => RecordRef::new(loser.kind, &uuid).ok(),
            None => self.who_has_his_identifiers(loser).await?,
        };
        let other = winner.filter(|winner| winner != loser);
        Ok(other.map_or(Shown::Gone, Shown::Replaced))
    }

    /// The one patient there who has all identifiers that the loser had, where OpenMRS says that he
    /// was merged.
    async fn who_has_his_identifiers(
        &self,
        loser: &RecordRef,
    ) -> Result<Option<RecordRef>, EmrError> {
        let path = format!("patient/{}?v=custom:(uuid,voided,auditInfo)", loser.id());
        let row = self.row(&path).await?.unwrap_or_default();
        if !text(&row, "/auditInfo/voidReason").is_some_and(|reason| reason.starts_with(REASON)) {
            return Ok(None);
        }
        let name = loser.clone();
        let ours = self.ids.ask(move |store| {
            let ours = store.record_get(&name, None, &store::Scope::Everything)?;
            Ok(ours.and_then(|version| version.body))
        });
        let identifiers = ours.await?.map(|body| identifiers(&body)).unwrap_or_default();
        let mut winners: Option<BTreeSet<RecordRef>> = None;
        for identifier in identifiers {
            let query = format!("Patient?identifier={}&_count=10", encoded(&identifier));
            let page = self.server.pages(&query)?.next().await.map_err(failed)?;
            let found = page.into_iter().flat_map(|page| page.found);
            let found = found.filter_map(|one| one.record).filter(|one| one != loser);
            let found = found.collect::<BTreeSet<_>>();
            winners = Some(match winners {
                Some(winners) => winners.intersection(&found).cloned().collect(),
                None => found,
            });
        }
        let winners = winners.unwrap_or_default();
        Ok(winners.first().cloned().filter(|_| winners.len() == 1))
    }
}

/// The values of a patient's identifiers.
fn identifiers(body: &str) -> BTreeSet<String> {
    let Ok(patient) = json::parse(body.as_bytes(), json::DEPTH_MAX) else { return BTreeSet::new() };
    let all = patient.get("identifier").map(Json::items).unwrap_or_default().iter();
    all.filter_map(|one| Some(one.str_at("value")?.into_owned())).collect()
}
