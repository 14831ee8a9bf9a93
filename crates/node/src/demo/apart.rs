//! A chapter of the story: three clinics edit ONE patient in all ways while they are cut off, and
//! hold the same bytes a round after the links return. What they contradict each other in, a person
//! decides at one clinic, and it is decided at all sites.

use anyhow::{Context as _, bail};
use protocol::cohort::Definition;
use protocol::resource::Record;
use protocol::{Limits, RecordRef};
use serde::Serialize;
use store::{Scope, TimelineQuery};

use crate::cli::patient::timeline;
use crate::demo::edit;
use crate::demo::generator::ClinicPlace;
use crate::demo::patients::Patients;
use crate::demo::site::DemoSite;
use crate::demo::story::{Cast, Narrator, set_cohort};

/// Clinics that edit the patient.
const CLINICS: usize = 3;
/// By which OpenMRS says where an identifier was given.
const IDENTIFIER_LOCATION: &str = "http://fhir.openmrs.org/ext/patient/identifier#location";
const PATIENT: &str = "Patient/known-everywhere";
const NOTE: &str = "Observation/known-everywhere-pulse";
const PHONES: [&str; CLINICS] = ["+254 700 000 011", "+254 700 000 012", "+254 700 000 013"];
const BIRTH_DATES: [&str; 2] = ["1984-02-17", "1984-07-12"];

/// How the chapter ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Apart {
    /// Who was edited.
    pub patient: RecordRef,
    /// Sites that edited, and the centre.
    pub sites: usize,
    /// Rounds of each clinic after which all held the same bytes.
    pub rounds: usize,
    /// Conflicts that all sites list, each the same.
    pub conflicts: usize,
    /// Those of them that a person at one clinic decided, and that are closed at all sites.
    pub decided: usize,
    /// Entries of the patient's timeline at the centre.
    pub timeline: usize,
}

impl Cast {
    /// Lives through the chapter; fails unless all sites hold the same bytes at its end.
    pub(super) async fn edit_one_patient_apart(
        &mut self,
        patients: &Patients,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<Apart> {
        let (patient, note): (RecordRef, RecordRef) = (PATIENT.parse()?, NOTE.parse()?);
        self.introduce(patients, &patient).await?;
        self.catch_up(narrator).await?;
        let clinics = self.clinics.len().min(CLINICS);
        for clinic in &self.clinics {
            clinic.switch().set(false);
        }
        for (index, clinic) in self.clinics.iter().take(clinics).enumerate() {
            edit_at(clinic, index, &patient, &note).await?;
        }
        narrator.tell(&format!(
            "{patient} is known at {clinics} clinics, and all are cut off. Each adds a telephone \
             number; two set the birth date, each to another day; one notes a marriage; one \
             deletes a measurement that another corrects."
        ));
        for clinic in &self.clinics {
            clinic.switch().set(true);
        }
        // One round brings each clinic's edits up, the next one what the others brought.
        let rounds = 2;
        for _ in 0..rounds {
            self.round_of_all(narrator).await?;
        }
        self.check_same_bytes(clinics, &[patient.clone(), note]).await?;
        narrator.tell(&format!(
            "The links return. A round later all {} sites hold the same bytes, with every edit \
             in them that no other contradicts.",
            clinics + 1
        ));
        let conflicts = self.same_conflicts(clinics, &patient).await?;
        let decided = self.decide(clinics, &patient, narrator).await?;
        let timeline = self.tell_timeline(&patient, narrator).await?;
        let conflicts = conflicts.len();
        Ok(Apart { patient, sites: clinics + 1, rounds, conflicts, decided, timeline })
    }

    /// A patient who has a card of each of the clinics.
    async fn introduce(&self, patients: &Patients, patient: &RecordRef) -> anyhow::Result<()> {
        let clinics = self.clinics.len().min(CLINICS);
        let card = |place: ClinicPlace| {
            serde_json::json!({
                "system": format!("urn:tributary:demo:card:{}", place.site), "value": "7",
                "extension": [{
                    "url": IDENTIFIER_LOCATION,
                    "valueReference": {"reference": place.organization},
                }],
            })
        };
        let cards: Vec<_> = patients.world.clinics().take(clinics).map(card).collect();
        let person = serde_json::json!({
            "resourceType": "Patient", "id": patient.id(), "gender": "female",
            "identifier": cards, "birthDate": "1984",
            "name": [{"use": "official", "family": "Achieng", "given": ["Mercy"]}],
        });
        let pulse = serde_json::json!({
            "resourceType": "Observation", "id": note_id()?, "status": "preliminary",
            "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4",
                "display": "Heart rate"}]},
            "subject": {"reference": PATIENT},
            "valueQuantity": {"value": 71, "unit": "/min"},
        });
        self.centre.record("registrar", &[person.to_string(), pulse.to_string()]).await?;
        let limits = self.centre.site().config().limits.clone();
        for index in (0..clinics).filter(|_| patients.imported) {
            self.admit(patients, index, patient, &limits).await?;
        }
        Ok(())
    }

    /// Puts the patient onto the list of a clinic's cohort.
    async fn admit(
        &self,
        patients: &Patients,
        index: usize,
        patient: &RecordRef,
        limits: &Limits,
    ) -> anyhow::Result<()> {
        let mut definition = patients.definition(index, limits)?;
        if let Definition::Patients { patients } = &mut definition {
            patients.insert(patient.clone());
        }
        let name = self.clinics[index].id().as_str().parse()?;
        set_cohort(&self.centre, &name, definition).await
    }

    async fn check_same_bytes(&self, clinics: usize, records: &[RecordRef]) -> anyhow::Result<()> {
        for record in records {
            let there = self.centre.text(record).await?;
            for clinic in self.clinics.iter().take(clinics) {
                if clinic.text(record).await? != there {
                    bail!("failed to merge {record}: {} and the centre differ", clinic.id());
                }
            }
        }
        let text = self.centre.text(&records[0]).await?;
        let lost = PHONES.iter().take(clinics).find(|phone| !text.contains(**phone));
        if let Some(lost) = lost {
            bail!("failed to merge {}: the number {lost} is lost", records[0]);
        }
        Ok(())
    }

    /// Tells the patient's timeline as the centre has it; gives how many entries it has.
    async fn tell_timeline(
        &self,
        patient: &RecordRef,
        narrator: &dyn Narrator,
    ) -> anyhow::Result<usize> {
        let query = TimelineQuery {
            patient: patient.clone(),
            since: None,
            reverse: false,
            limit: 100,
            after: None,
        };
        let read =
            move |store: &dyn store::Store| store.patient_timeline(&query, &Scope::Everything);
        let page = self.centre.site().read(read).await?;
        let entries = page.with_context(|| format!("failed to find {patient}"))?.entries;
        let lines: String = entries.iter().map(timeline::text).collect();
        narrator.tell(&format!("{patient} as the centre recorded it:{lines}"));
        Ok(entries.len())
    }
}

fn note_id() -> anyhow::Result<String> {
    Ok(NOTE.parse::<RecordRef>()?.id().to_owned())
}

/// What the clinic number `index` does to the patient's records, by itself.
async fn edit_at(
    clinic: &DemoSite,
    index: usize,
    patient: &RecordRef,
    note: &RecordRef,
) -> anyhow::Result<()> {
    let mut text = edit::with_phone(&clinic.text(patient).await?, PHONES[index])?;
    text = match BIRTH_DATES.get(index) {
        Some(date) => edit::with_birth_date(&text, date)?,
        None => edit::with_marital_status(&text, "Married")?,
    };
    clinic.record("nurse", &[text]).await?;
    match index {
        0 => {
            clinic.record_all("nurse", vec![Record::deleted(note.clone())]).await?;
        }
        1 => {
            let corrected = clinic.text(note).await?.replace("71", "76");
            clinic.record("nurse", &[corrected]).await?;
        }
        _ => {}
    }
    Ok(())
}
