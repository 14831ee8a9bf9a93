//! The patients of the demo, dealt among the clinics: made up by the generator, or read from
//! files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protocol::cohort::{Definition, LocationBy};
use protocol::resource::Record;
use protocol::{Limits, RecordRef, ResourceType, Timestamp};

use crate::demo::generator::World;
use crate::import::document::Resolve;
use crate::import::{document, files, plan};

/// Patients whom each clinic registers while it is cut off.
pub const NEWCOMERS: u64 = 5;

/// One patient's changes, oldest first.
pub struct Patient {
    /// The Patient record.
    pub reference: RecordRef,
    /// Each list is one change.
    pub changes: Vec<Vec<Record>>,
}

impl Patient {
    /// Whether the Patient record itself is among the changes.
    pub fn has_record(&self) -> bool {
        self.changes.iter().flatten().any(|record| record.reference == self.reference)
    }
}

/// Everybody, dealt among the clinics.
pub struct Patients {
    /// The synthetic country: clinics, newcomers and later visits come from it.
    pub world: World,
    /// By clinic.
    pub clinics: Vec<Vec<Patient>>,
    /// What belongs to no patient.
    pub shared: Vec<Record>,
    /// Whether they were read from files: they know nothing of our clinics then.
    pub imported: bool,
    /// What of the files was refused: where and why.
    pub refused: Vec<String>,
    per_clinic: u64,
}

/// How many of whom.
pub struct Choice<'a> {
    /// Generated patients in all.
    pub patients: u64,
    /// Site names of the clinics.
    pub clinics: &'a [String],
    /// Of the generator.
    pub seed: u64,
    /// Files and folders to be read instead.
    pub import: &'a [PathBuf],
    /// The generator's present day.
    pub today: Timestamp,
}

impl Patients {
    /// Makes or reads them all. `progress` hears how many there are so far.
    pub fn deal(
        choice: &Choice<'_>,
        limits: &Limits,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<Patients> {
        let world = World::new(choice.seed, choice.clinics, choice.today);
        let count = choice.clinics.len();
        let per_clinic = choice.patients.div_ceil(count as u64);
        let mut patients = Patients {
            shared: parsed(&world.reference_records(), limits)?,
            world,
            clinics: (0..count).map(|_| Vec::new()).collect(),
            imported: !choice.import.is_empty(),
            refused: Vec::new(),
            per_clinic,
        };
        if patients.imported {
            patients.import(choice.import, limits, progress)?;
            return Ok(patients);
        }
        for number in 0..choice.patients {
            let clinic = (number % count as u64) as usize;
            let patient = patients.generated(number / count as u64, clinic, limits)?;
            patients.clinics[clinic].push(patient);
            progress(number + 1);
        }
        Ok(patients)
    }

    fn generated(&self, number: u64, clinic: usize, limits: &Limits) -> anyhow::Result<Patient> {
        let file = self.world.patient(number, clinic);
        let changes: anyhow::Result<Vec<_>> =
            file.changes.iter().map(|change| parsed(change, limits)).collect();
        let reference = RecordRef::new(ResourceType::PATIENT, &file.patient_id)?;
        Ok(Patient { reference, changes: changes? })
    }

    /// Patients whom `clinic` has not met before.
    pub fn newcomers(&self, clinic: usize, limits: &Limits) -> anyhow::Result<Vec<Patient>> {
        (0..NEWCOMERS)
            .map(|number| self.generated(self.per_clinic + number, clinic, limits))
            .collect()
    }

    /// Which patients a clinic's cohort holds.
    pub fn definition(&self, clinic: usize, limits: &Limits) -> anyhow::Result<Definition> {
        if self.imported {
            let known = self.clinics[clinic].iter().map(|patient| patient.reference.clone());
            let new = self.newcomers(clinic, limits)?.into_iter().map(|patient| patient.reference);
            return Ok(Definition::Patients { patients: known.chain(new).collect() });
        }
        let place = self.world.clinics().nth(clinic).context("failed to find the clinic")?;
        let places = [place.organization.parse()?].into();
        // Whoever is looked after here, or has a card of this clinic beside another one's.
        let by = [LocationBy::Managing, LocationBy::Identifier].into();
        Ok(Definition::Location { places, by })
    }

    fn import(
        &mut self,
        paths: &[PathBuf],
        limits: &Limits,
        progress: &dyn Fn(u64),
    ) -> anyhow::Result<()> {
        let mut all = Vec::new();
        for path in paths {
            let (found, odd) = files::below(path);
            if let Some((path, reason)) = odd.first() {
                bail!("failed to read {}: {reason}", path.display());
            }
            for file in found {
                read_file(&file, limits, &mut all, &mut self.refused);
                progress(all.len() as u64);
            }
        }
        let mut by_patient: BTreeMap<RecordRef, Vec<Vec<Record>>> = BTreeMap::new();
        for change in plan::changes(all, limits) {
            let patient = change.iter().flat_map(|record| &record.patients).next().cloned();
            match patient {
                Some(patient) => by_patient.entry(patient).or_default().push(change),
                None => self.shared.extend(change),
            }
        }
        if by_patient.is_empty() {
            bail!("failed to find a patient in the files to import");
        }
        let count = self.clinics.len();
        let mut dealt: Vec<Patient> = by_patient
            .into_iter()
            .map(|(reference, changes)| Patient { reference, changes })
            .collect();
        // Patients whom the files only refer to come last: nobody can edit what is not there.
        dealt.sort_by_key(|patient| !patient.has_record());
        for (index, patient) in dealt.into_iter().enumerate() {
            self.clinics[index % count].push(patient);
        }
        Ok(())
    }
}

fn read_file(file: &Path, limits: &Limits, all: &mut Vec<Record>, refused: &mut Vec<String>) {
    let name = file.display().to_string();
    let read = files::documents(
        file,
        limits,
        &mut |text, _| match document::read(text, limits, &Resolve::nowhere()) {
            Ok(found) => {
                let reasons = found.refused.iter();
                refused.extend(reasons.map(|(entry, why)| format!("{name} {entry}: {why}")));
                Some(found.records)
            }
            Err(refusal) => {
                refused.push(format!("{name}: {refusal}"));
                None
            }
        },
        &mut |records| {
            all.extend(records);
            true
        },
    );
    if let Err(reason) = read {
        refused.push(format!("{name}: {reason}"));
    }
}

/// Texts into records.
pub fn parsed(texts: &[String], limits: &Limits) -> anyhow::Result<Vec<Record>> {
    let records: Result<Vec<Record>, _> =
        texts.iter().map(|text| Record::parse(text.as_bytes(), limits)).collect();
    Ok(records?)
}
