//! The records that are measured with: read from files, or made up by the demo's generator, and
//! repeated under other ids where more are wanted than there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use protocol::json;
use protocol::resource::Record;
use protocol::resource::references::{record_named, references};
use protocol::{Limits, RecordRef, ResourceType, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::demo::patients::{Choice, Patients, parsed};
use crate::import::files;

/// The one clinic of the generator's world.
const CLINIC: &str = "bench";
/// Patients that are made up beforehand; more are made when they are asked for.
const GENERATED: u64 = 1;
/// The generator's present day, so that all runs measure the same: 2026-11-23.
const TODAY: i64 = 1_795_392_000_000;

/// Changes to be recorded one after another.
pub type Changes = Vec<Vec<Record>>;

/// Where records come from.
pub struct Data {
    /// The first patients, as they were read; none of them where they are generated.
    patients: Vec<Patient>,
    shared: Vec<Record>,
    ids: BTreeSet<String>,
    generator: Option<Patients>,
    paths: Vec<PathBuf>,
    limits: Limits,
}

/// One patient: the Patient record, and what happened to them, an encounter with all that refers
/// to it being one change.
#[derive(Debug, Clone)]
pub struct Patient {
    /// The Patient.
    pub registration: Vec<Record>,
    /// Oldest first, as the files have them.
    pub visits: Changes,
}

impl Patient {
    /// How many records there are in all.
    pub fn records(&self) -> usize {
        self.registration.len() + self.visits.iter().map(Vec::len).sum::<usize>()
    }
}

impl Data {
    /// Reads the files and folders, or prepares the generator where there are none.
    pub fn load(paths: &[PathBuf], limits: &Limits) -> anyhow::Result<Data> {
        let clinics = [CLINIC.to_owned()];
        let choice = Choice {
            patients: GENERATED,
            clinics: &clinics,
            seed: 1,
            import: paths,
            today: Timestamp::from_millis(TODAY),
        };
        let mut all = Patients::deal(&choice, limits, &|_| {})?;
        let shared = std::mem::take(&mut all.shared);
        let mut data = Data {
            patients: Vec::new(),
            shared,
            ids: BTreeSet::new(),
            generator: None,
            paths: paths.to_vec(),
            limits: limits.clone(),
        };
        if paths.is_empty() {
            data.generator = Some(all);
            return Ok(data);
        }
        for patient in all.clinics.into_iter().flatten() {
            // A file of one patient alone has what belongs to nobody among that patient's records.
            let (shared, own) = patient
                .changes
                .into_iter()
                .flatten()
                .partition::<Vec<_>, _>(|record| record.patients.is_empty());
            data.shared.extend(shared);
            data.patients.push(by_visit(own, limits)?);
        }
        let records = data.patients.iter().flat_map(all_of);
        data.ids = records.map(|record| record.reference.id().to_owned()).collect();
        if data.patients.is_empty() {
            bail!("failed to measure with these files: they hold no patient");
        }
        Ok(data)
    }

    /// What belongs to no patient.
    pub fn shared(&self) -> &[Record] {
        &self.shared
    }

    /// A name for the records in the settings of a figure.
    pub fn name(&self) -> String {
        match self.paths.as_slice() {
            [] => "generated".to_owned(),
            paths => {
                let names = paths.iter().filter_map(|path| path.file_name());
                let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
                names.join(",")
            }
        }
    }

    /// The `number`-th patient, for ever: after the last one of the files come the first again,
    /// all of whose records have other ids.
    pub fn patient(&self, number: u64) -> anyhow::Result<Patient> {
        if let Some(patients) = &self.generator {
            let file = patients.world.patient(number, 0);
            let changes: anyhow::Result<Changes> =
                file.changes.iter().map(|texts| parsed(texts, &self.limits)).collect();
            let mut visits = changes?;
            let mut first = visits.remove(0);
            let rest = first.split_off(1);
            visits.insert(0, rest);
            visits.retain(|visit| !visit.is_empty());
            return Ok(Patient { registration: first, visits });
        }
        let count = self.patients.len() as u64;
        let patient = &self.patients[(number % count) as usize];
        match number / count {
            0 => Ok(patient.clone()),
            copy => Ok(Patient {
                registration: self.copies(&patient.registration, copy)?,
                visits: patient
                    .visits
                    .iter()
                    .map(|visit| self.copies(visit, copy))
                    .collect::<anyhow::Result<_>>()?,
            }),
        }
    }

    fn copies(&self, records: &[Record], copy: u64) -> anyhow::Result<Vec<Record>> {
        let texts = records.iter().filter_map(|record| record.body.as_deref());
        let texts: Vec<String> = texts.map(|text| self.renamed(text, copy)).collect();
        parsed(&texts, &self.limits)
    }

    /// The text with the ids of all patients' records replaced by those of a copy.
    fn renamed(&self, text: &str, copy: u64) -> String {
        let part_of_id = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find(part_of_id) {
            let (before, from) = rest.split_at(start);
            let end = from.find(|letter| !part_of_id(letter)).unwrap_or(from.len());
            let (word, after) = from.split_at(end);
            out.push_str(before);
            if self.ids.contains(word) {
                out.push_str(&id_of_copy(word, copy));
            } else {
                out.push_str(word);
            }
            rest = after;
        }
        out.push_str(rest);
        out
    }

    /// Patients in turn until they have `records` records besides their registrations: all
    /// registrations, and the visits, the last of which is cut short to fit.
    pub fn take(&self, records: usize) -> anyhow::Result<(Changes, Changes)> {
        let (mut registrations, mut visits) = (Changes::new(), Changes::new());
        let mut left = records;
        for number in 0.. {
            if left == 0 {
                break;
            }
            let patient = self.patient(number)?;
            registrations.push(patient.registration);
            for mut visit in patient.visits {
                visit.truncate(left);
                left -= visit.len();
                if !visit.is_empty() {
                    visits.push(visit);
                }
            }
        }
        Ok((registrations, visits))
    }

    /// `count` changes of one new record each, of the first `patients` patients in turn. `run`
    /// tells the ids of one call from those of another.
    pub fn single(&self, count: usize, patients: u64, run: u64) -> anyhow::Result<Changes> {
        let mut pool = Vec::new();
        for number in 0..patients {
            let patient = self.patient(number)?;
            let observation = |record: &&Record| record.reference.kind.name() == "Observation";
            pool.extend(patient.visits.iter().flatten().find(observation).cloned());
        }
        if pool.is_empty() {
            bail!("failed to measure with these records: they hold no Observation");
        }
        let mut changes = Changes::new();
        for number in 0..count {
            let model = &pool[number % pool.len()];
            let body = model.body.as_deref().unwrap_or_default();
            let id = model.reference.id();
            let new = id_of_copy(id, 1_000_000 * (run + 1) + number as u64);
            let text = body.replace(&format!("\"{id}\""), &format!("\"{new}\""));
            changes.push(parsed(&[text], &self.limits)?);
        }
        Ok(changes)
    }

    /// Writes files for an import of at least `records` resources into `folder`; gives what is
    /// to be imported. Files that were given are used as they are, and copied with other ids.
    pub fn write_files(&self, folder: &Path, records: usize) -> anyhow::Result<Vec<PathBuf>> {
        if self.generator.is_some() {
            return self.write_bundles(folder, records);
        }
        let available: usize = self.patients.iter().map(Patient::records).sum();
        let copies = records.div_ceil(available.max(1)).max(1) as u64;
        let mut paths = self.paths.clone();
        let originals: Vec<PathBuf> =
            self.paths.iter().flat_map(|path| files::below(path).0).collect();
        for copy in 1..copies {
            for (number, original) in originals.iter().enumerate() {
                // A compressed file cannot be read as text: it is imported once.
                let Ok(text) = std::fs::read_to_string(original) else { continue };
                let path = folder.join(format!("{copy:04}-{number:04}.json"));
                write(&path, &self.renamed(&text, copy))?;
                paths.push(path);
            }
        }
        Ok(paths)
    }

    fn write_bundles(&self, folder: &Path, records: usize) -> anyhow::Result<Vec<PathBuf>> {
        let mut left = records;
        for number in 0.. {
            if left == 0 {
                break;
            }
            let patient = self.patient(number)?;
            let entries: Vec<String> = all_of(&patient)
                .filter_map(|record| record.body.as_ref())
                .map(|body| format!("{{\"resource\":{body}}}"))
                .collect();
            left = left.saturating_sub(entries.len());
            let entries = entries.join(",");
            let text = format!(
                "{{\"resourceType\":\"Bundle\",\"type\":\"collection\",\"entry\":[{entries}]}}"
            );
            write(&folder.join(format!("{number:06}.json")), &text)?;
        }
        Ok(vec![folder.to_owned()])
    }
}

fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    std::fs::write(path, text).with_context(|| format!("failed to write {}", path.display()))
}

/// All records of a patient, registration first.
pub fn all_of(patient: &Patient) -> impl Iterator<Item = &Record> {
    patient.registration.iter().chain(patient.visits.iter().flatten())
}

/// Another id, always the same for the same id and copy, in the form of a UUID.
fn id_of_copy(id: &str, copy: u64) -> String {
    let hash = Sha256::new().chain_update(id).chain_update(copy.to_le_bytes()).finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
}

/// Takes a patient's records apart: the Patient; then each encounter with what refers to it; in
/// the end what belongs to no encounter.
fn by_visit(records: Vec<Record>, limits: &Limits) -> anyhow::Result<Patient> {
    let mut registration = Vec::new();
    let mut visits: BTreeMap<Option<usize>, Vec<Record>> = BTreeMap::new();
    let mut order: BTreeMap<RecordRef, usize> = BTreeMap::new();
    for record in records {
        if record.reference.kind == ResourceType::PATIENT {
            registration.push(record);
            continue;
        }
        let encounter = encounter_of(&record, limits)?;
        let place = encounter.map(|encounter| {
            let next = order.len();
            *order.entry(encounter).or_insert(next)
        });
        visits.entry(place).or_default().push(record);
    }
    let rest = visits.remove(&None).unwrap_or_default();
    let changes = visits.into_values().chain([rest]);
    let mut visits = Changes::new();
    for mut change in changes {
        change.sort_by_key(|record| record.reference.kind != ResourceType::ENCOUNTER);
        visits.extend(change.chunks(limits.change_records.max(1)).map(<[Record]>::to_vec));
    }
    visits.retain(|visit| !visit.is_empty());
    Ok(Patient { registration, visits })
}

/// The encounter that a record is, or that it refers to first.
fn encounter_of(record: &Record, limits: &Limits) -> anyhow::Result<Option<RecordRef>> {
    if record.reference.kind == ResourceType::ENCOUNTER {
        return Ok(Some(record.reference.clone()));
    }
    let body = record.body.as_deref().unwrap_or_default();
    let parsed = json::parse(body.as_bytes(), limits.json_depth)?;
    let named = references(&parsed);
    let mut named = named.iter().filter_map(|(_, text)| record_named(&text.decode()));
    Ok(named.find(|named| named.kind == ResourceType::ENCOUNTER))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &str = r#"{"resourceType":"Bundle","type":"collection","entry":[
        {"resource":{"resourceType":"Patient","id":"p-1"}},
        {"resource":{"resourceType":"Observation","id":"o-1","status":"final",
            "subject":{"reference":"Patient/p-1"},"encounter":{"reference":"Encounter/e-1"}}},
        {"resource":{"resourceType":"Encounter","id":"e-1","status":"finished",
            "subject":{"reference":"Patient/p-1"}}},
        {"resource":{"resourceType":"Location","id":"l-1"}}]}"#;

    fn of_file() -> (tempfile::TempDir, Data) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("one.json"), BUNDLE).unwrap();
        let data = Data::load(&[folder.path().to_owned()], &Limits::default()).unwrap();
        (folder, data)
    }

    #[test]
    fn an_encounter_goes_before_what_refers_to_it_and_with_it() {
        let (_folder, data) = of_file();
        let patient = data.patient(0).unwrap();
        let visit = &patient.visits[0];
        let names: Vec<String> = visit.iter().map(|r| r.reference.to_string()).collect();
        assert_eq!(names, ["Encounter/e-1", "Observation/o-1"]);
    }

    #[test]
    fn a_copy_has_other_ids_and_refers_to_itself() {
        let (_folder, data) = of_file();
        let (first, copy) = (data.patient(0).unwrap(), data.patient(1).unwrap());
        let (old, new) = (&first.registration[0].reference, &copy.registration[0].reference);
        assert_ne!(old, new);
        for record in copy.visits.iter().flatten() {
            assert!(record.patients.contains(new), "{} is not the copy's", record.reference);
        }
        assert_eq!(data.patient(1).unwrap().registration[0].reference, *new);
    }

    #[test]
    fn as_many_records_are_taken_as_were_asked_for() {
        let (_folder, data) = of_file();
        let generated = Data::load(&[], &Limits::default()).unwrap();
        for data in [data, generated] {
            let (_, visits) = data.take(101).unwrap();
            assert_eq!(visits.iter().map(Vec::len).sum::<usize>(), 101);
        }
    }

    #[test]
    fn single_changes_of_different_runs_are_different_records() {
        let (_folder, data) = of_file();
        let ids = |run| {
            let changes = data.single(3, 1, run).unwrap();
            changes.concat().iter().map(|r| r.reference.clone()).collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(1).len(), 3);
        assert!(ids(1).is_disjoint(&ids(2)));
    }
}
