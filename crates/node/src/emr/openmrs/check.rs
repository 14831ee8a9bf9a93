//! What this OpenMRS is, and what it lacks, before it hurts.

use std::collections::BTreeSet;

use protocol::resource::Record;
use serde_json::Value;

use super::OpenMrs;
use super::element::{items, text};
use super::known::{Answer, Known, Need, Stop};
use super::plan::{Image, plan};
use super::rest::failed;
use crate::config::NoticeWay;
use crate::ports::{Capabilities, EmrError};

/// What our user has to be allowed: to read, and to write.
const READS: [&str; 10] = [
    "Get Patients",
    "Get People",
    "Get Encounters",
    "Get Observations",
    "Get Visits",
    "Get Conditions",
    "Get Allergies",
    "Get Orders",
    "Get Concepts",
    "Get Locations",
];
const WRITES: [&str; 16] = [
    "Add Patients",
    "Edit Patients",
    "Delete Patients",
    "Add People",
    "Edit People",
    "Add Encounters",
    "Edit Encounters",
    "Delete Encounters",
    "Add Observations",
    "Delete Observations",
    "Add Visits",
    "Edit Visits",
    "Edit Conditions",
    "Add Allergies",
    "Edit Allergies",
    "Add Orders",
];
/// Modules, and the oldest of each that this adapter was written for.
const MODULES: [(&str, &str); 2] = [("fhir2", "1.5"), ("webservices.rest", "2.24")];
/// Who may do anything.
const ALL_RIGHTS: &str = "System Developer";

impl OpenMrs {
    /// Product, version, modules, and what is missing.
    pub(super) async fn look_at_it(&self) -> Result<Capabilities, EmrError> {
        let session = self.rest.get(&self.server, "session").await?;
        let named = "session?v=custom:(authenticated,user:(uuid,privileges:(name),roles:(name)))";
        let named = self.rest.get(&self.server, named).await?;
        if session.body.get("authenticated") != Some(&Value::Bool(true)) {
            return Err(EmrError::away(match session.body.is_object() {
                true => "OpenMRS does not let us in: check `user` and the password in secret_file",
                false => "there is no OpenMRS with webservices.rest at that address: check `url`",
            }));
        }
        let fhir = self.server.capabilities().await.map_err(failed)?;
        let mut told = Capabilities {
            product: "OpenMRS".to_owned(),
            version: self.version().await?,
            notes: vec![format!(
                "fhir2 shows {} types of records; writes go by webservices.rest",
                fhir.types.len()
            )],
            missing: Vec::new(),
        };
        told.missing.extend(self.rights(&named.body));
        self.modules(&mut told).await?;
        for way in &self.config.openmrs.notice {
            told.notes.push(format!(
                "changes are noticed by {}",
                match way {
                    NoticeWay::LastUpdated => "_lastUpdated",
                    NoticeWay::Atomfeed => "the atomfeed module's feeds",
                    NoticeWay::Binlog => "the binary log of the database",
                }
            ));
        }
        if self.config.mode.captures() && !self.config.openmrs.is_quick() {
            told.missing.push(
                "_lastUpdated alone does not show deletions, nor edits of names, addresses, \
                 identifiers and telephone numbers: read the database's binary log or the atomfeed \
                 module too ([emr.openmrs] notice)"
                    .to_owned(),
            );
        }
        if let Some(binlog) = &self.binlog {
            told.missing.extend(binlog.missing().await?);
        }
        Ok(told)
    }

    /// The privileges that our user lacks; none where they are not shown.
    fn rights(&self, session: &Value) -> Vec<String> {
        let names = |member: &str| {
            let list = session.pointer(&format!("/user/{member}")).and_then(Value::as_array);
            let names = list.into_iter().flatten().filter_map(|one| {
                text(one, "/name").or_else(|| text(one, "/display")).map(str::to_owned)
            });
            names.collect::<BTreeSet<_>>()
        };
        let held = names("privileges");
        if held.is_empty() || names("roles").contains(ALL_RIGHTS) {
            return Vec::new();
        }
        let writes = if self.config.mode.applies() { &WRITES[..] } else { &[] };
        let lacking = READS.iter().chain(writes).filter(|name| !held.contains(**name));
        let lacking = lacking.copied().collect::<Vec<_>>();
        match lacking.is_empty() {
            true => Vec::new(),
            false => vec![format!(
                "our user lacks these privileges: {} (Administration, Manage Roles)",
                lacking.join(", ")
            )],
        }
    }

    async fn version(&self) -> Result<Option<String>, EmrError> {
        let answer = self.rest.get(&self.server, "systeminformation?v=full").await?;
        let known =
            ["/systemInfo/SystemInfo.title.openmrsInformation/SystemInfo.OpenMRSInstallation.\
                      openmrsVersion"];
        Ok(known.iter().find_map(|at| text(&answer.body, at)).map(str::to_owned))
    }

    async fn modules(&self, told: &mut Capabilities) -> Result<(), EmrError> {
        let answer =
            self.rest.get(&self.server, "module?v=custom:(uuid,version,started)&limit=100").await?;
        let modules = items(&answer.body, "results");
        if modules.is_empty() {
            let words = "modules and their versions are not shown to our user (Manage Modules)";
            told.notes.push(words.to_owned());
            return Ok(());
        }
        for (name, oldest) in MODULES {
            let module = modules.iter().find(|module| text(module, "/uuid") == Some(name));
            match module.and_then(|module| text(module, "/version")) {
                Some(version) if numbers(version) < numbers(oldest) => told
                    .missing
                    .push(format!("module {name} is {version}: {oldest} or newer is needed")),
                Some(version) => told.notes.push(format!("module {name} {version}")),
                None => told.missing.push(format!("module {name} is not there: install it")),
            }
        }
        let has_feeds = modules
            .iter()
            .any(|module| matches!(text(module, "/uuid"), Some("atomfeed" | "openmrs-atomfeed")));
        if self.config.openmrs.has(NoticeWay::Atomfeed) && !has_feeds {
            told.missing.push("module atomfeed is not there: install it".to_owned());
        }
        Ok(())
    }

    /// What these records need and this OpenMRS has not, each once.
    pub(super) async fn lacking(&self, records: &[Record]) -> Result<Vec<String>, EmrError> {
        let mut lacks = BTreeSet::new();
        let mut known = Known::new();
        // Whether the records themselves are there is no lack: they come.
        let all = records.iter().map(|record| record.reference.clone()).collect::<BTreeSet<_>>();
        for record in records {
            let body = record.body.as_deref().map(serde_json::from_str::<Value>);
            let Some(Ok(wanted)) = body else { continue };
            for _ in 0..16 {
                let asked =
                    plan(&record.reference, Some(&wanted), Image::Absent, &[], &all, &known);
                match asked {
                    Err(Stop::Ask(needs)) => {
                        let (others, needs): (BTreeSet<_>, _) =
                            needs.into_iter().partition(|need| matches!(need, Need::Record(_)));
                        known.extend(others.into_iter().map(|need| {
                            let id = match &need {
                                Need::Record(record) => record.id().to_owned(),
                                _ => String::new(),
                            };
                            (need, Answer::Uuid(id))
                        }));
                        self.look(needs, &mut known).await?;
                    }
                    Err(Stop::Refused(why)) => {
                        lacks.insert(why);
                        break;
                    }
                    _ => break,
                }
            }
        }
        Ok(lacks.into_iter().collect())
    }
}

/// The numbers of a version, for comparing.
fn numbers(version: &str) -> Vec<u32> {
    let parts = version.split(['.', '-']).map_while(|part| part.parse().ok());
    parts.collect()
}
