//! Looking up what a plan asks: concepts, other metadata, records, rows.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde_json::Value;

use super::OpenMrs;
use super::element::{CIEL, items, text};
use super::known::{Answer, Coding, Known, Meta, Need};
use super::person::is_uuid;
use crate::fhir_server::Read;
use crate::ports::EmrError;

/// Names that OpenMRS dictionaries give the sources of codes, by the systems of FHIR.
const SOURCES: [(&str, &[&str]); 6] = [
    (CIEL, &["CIEL"]),
    ("https://openconceptlab.org/orgs/CIEL/sources/CIEL", &["CIEL"]),
    ("http://loinc.org", &["LOINC"]),
    ("http://snomed.info/sct", &["SNOMED CT", "SNOMED-CT"]),
    ("http://hl7.org/fhir/sid/icd-10", &["ICD-10-WHO", "ICD-10"]),
    ("http://www.nlm.nih.gov/research/umls/rxnorm", &["RxNORM", "RXNORM"]),
];

impl OpenMrs {
    /// Looks up all of these; what was found of metadata is remembered, what was not is asked
    /// again the next time: somebody may have added it.
    pub(super) async fn look(
        &self,
        needs: BTreeSet<Need>,
        known: &mut Known,
    ) -> Result<(), EmrError> {
        for need in needs {
            let remembered = self.found.lock().await.get(&need).cloned();
            let answer = match (remembered, self.mapped(&need)) {
                (Some(uuid), _) | (None, Some(uuid)) => Answer::Uuid(uuid),
                (None, None) => self.look_up(&need).await?,
            };
            let is_metadata = matches!(need, Need::Concept(_) | Need::Meta(..));
            if let (Answer::Uuid(uuid), true) = (&answer, is_metadata) {
                self.found.lock().await.insert(need.clone(), uuid.clone());
            }
            known.insert(need, answer);
        }
        Ok(())
    }

    /// What `[emr.map]` says.
    fn mapped(&self, need: &Need) -> Option<String> {
        need.keys().iter().find_map(|key| self.map.get(key)).cloned()
    }

    async fn look_up(&self, need: &Need) -> Result<Answer, EmrError> {
        match need {
            Need::Concept(codings) => self.concept(codings).await,
            Need::Meta(kind, keys) => self.meta(*kind, keys).await,
            Need::Record(record) => self.there(record).await,
            Need::Rows(path) => {
                let rows = self.rest.find(&self.server, path).await?;
                Ok(rows.map_or(Answer::Missing, Answer::Rows))
            }
        }
    }

    /// By uuid first, then by the mappings of the dictionary.
    async fn concept(&self, codings: &[Coding]) -> Result<Answer, EmrError> {
        for (_, code) in codings.iter().filter(|(system, code)| system.is_none() && is_uuid(code)) {
            if let Some(uuid) = self.uuid_at(&format!("concept/{code}?v=custom:(uuid)")).await? {
                return Ok(Answer::Uuid(uuid));
            }
        }
        for (system, code) in codings {
            let Some(system) = system else { continue };
            let sources = SOURCES.iter().find(|(known, _)| known == system);
            for source in sources.map_or(&[system.as_str()][..], |(_, sources)| sources) {
                let query = format!(
                    "concept?source={}&code={}&v=custom:(uuid)",
                    encoded(source),
                    encoded(code)
                );
                let answer = self.rest.find(&self.server, &query).await?.unwrap_or_default();
                let found = items(&answer, "results");
                // A code that several concepts have says nothing.
                if let [only] = found
                    && let Some(uuid) = text(only, "/uuid")
                {
                    return Ok(Answer::Uuid(uuid.to_owned()));
                }
            }
        }
        Ok(Answer::Missing)
    }

    /// By uuid, then by name; a program by the uuid of its concept too.
    async fn meta(&self, kind: Meta, keys: &[String]) -> Result<Answer, EmrError> {
        let path = kind.path();
        for key in keys.iter().filter(|key| is_uuid(key)) {
            if let Some(uuid) = self.uuid_at(&format!("{path}/{key}?v=custom:(uuid)")).await? {
                return Ok(Answer::Uuid(uuid));
            }
        }
        let concept = if kind == Meta::Program { ",concept:(uuid)" } else { "" };
        let all = format!("{path}?v=custom:(uuid,name,display{concept})&limit=100");
        let answer = self.rest.find(&self.server, &all).await?.unwrap_or_default();
        let all = items(&answer, "results");
        let is = |row: &&Value| {
            let names =
                ["/name", "/display", "/concept/uuid"].iter().filter_map(|at| text(row, at));
            names.into_iter().any(|name| keys.iter().any(|key| key.eq_ignore_ascii_case(name)))
        };
        let found = all.iter().find(is).and_then(|row| text(row, "/uuid"));
        Ok(found.map_or(Answer::Missing, |uuid| Answer::Uuid(uuid.to_owned())))
    }

    async fn uuid_at(&self, path: &str) -> Result<Option<String>, EmrError> {
        let found = self.rest.find(&self.server, path).await?.unwrap_or_default();
        Ok(text(&found, "/uuid").map(str::to_owned))
    }

    async fn there(&self, record: &RecordRef) -> Result<Answer, EmrError> {
        if !is_uuid(record.id()) {
            return Ok(Answer::Missing);
        }
        match self.answer_for(record).await? {
            Read::Body(..) => Ok(Answer::Uuid(record.id().to_owned())),
            Read::Gone | Read::Absent => Ok(Answer::Missing),
        }
    }
}

pub(super) fn encoded(text: &str) -> String {
    let pairs = BTreeMap::from([("v", text)]);
    let query = reqwest::Url::parse_with_params("http://localhost/", pairs);
    let query = query.ok().and_then(|url| url.query().map(str::to_owned)).unwrap_or_default();
    query.strip_prefix("v=").unwrap_or_default().to_owned()
}
