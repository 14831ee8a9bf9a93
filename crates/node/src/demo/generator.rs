//! Synthetic patients as the OpenMRS of an East or Southern African district would hold them
//! and show them through its FHIR module (fhir2). Nobody in here has ever lived.
//!
//! A world is a pure function of its seed, its clinics and its day: no clock, no randomness of
//! its own, and each patient comes out the same whichever others were asked for before.

mod concepts;
mod identifier;
mod patient;
mod people;
mod places;
mod random;
mod reference;
#[cfg(test)]
mod tests;
mod text;
mod visit;

use protocol::Timestamp;

use places::{DISTRICTS, District};
use random::Random;
use reference::Clinic;
use text::Node;

/// Milliseconds of a day.
const DAY: i64 = 86_400_000;

/// The synthetic country: clinics with their staff, and as many patients as are asked for.
#[derive(Debug)]
pub struct World {
    seed: u64,
    today: Timestamp,
    clinics: Vec<Clinic>,
}

/// A clinic, as much of it as someone who sets up a site for it wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClinicPlace {
    /// The site's name that was given to `World::new`.
    pub site: String,
    /// What people call it.
    pub name: String,
    /// `Organization/id`: the `managingOrganization` of the patients that it registered.
    pub organization: String,
    /// `Location/id`: where its encounters take place, and of the identifiers that it gave out.
    pub location: String,
    /// Where its patients live: country, state, district.
    pub address: [String; 3],
    /// Its villages, for someone who moves house.
    pub villages: Vec<String>,
}

/// A patient with everything that happened up to the world's day. Texts are compact JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatientFile {
    /// The id of the Patient resource.
    pub patient_id: String,
    /// One transaction each: first the registration (the Patient and what was known at once),
    /// then visit by visit (visit, encounters, observations, diagnoses, orders).
    pub changes: Vec<Vec<String>>,
}

/// Names for `count` clinics of different districts, fit to be site ids: `kisumu`, `siaya`, ...
pub fn clinic_names(count: usize) -> Vec<String> {
    (0..count)
        .map(|index| {
            let slug = DISTRICTS[index % DISTRICTS.len()].slug;
            match index / DISTRICTS.len() {
                0 => slug.to_owned(),
                round => format!("{slug}-{}", round + 1),
            }
        })
        .collect()
}

impl World {
    /// A world with these clinics, whose last visits lie shortly before `today`.
    pub fn new(seed: u64, clinics: &[String], today: Timestamp) -> World {
        let clinics = clinics
            .iter()
            .enumerate()
            .map(|(index, site)| Clinic::new(seed, index, site))
            .collect();
        World { seed, today, clinics }
    }

    /// The clinics, in the order in which they were given.
    pub fn clinics(&self) -> impl Iterator<Item = ClinicPlace> {
        self.clinics.iter().map(Clinic::place)
    }

    /// What belongs to no patient: organizations, locations, practitioners, medications; what is
    /// referred to comes first.
    pub fn reference_records(&self) -> Vec<String> {
        let mut records = reference::shared_records(self.seed);
        for clinic in &self.clinics {
            records.extend(clinic.records());
        }
        records.iter().map(Node::to_json).collect()
    }

    /// The `number`-th patient that the clinic at place `clinic` (modulo their count) registered.
    /// No two (clinic, number) share an id or an OpenMRS ID.
    pub fn patient(&self, number: u64, clinic: usize) -> PatientFile {
        let index = clinic % self.clinics.len().max(1);
        let clinic = &self.clinics[index];
        let mut random = Random::of(self.seed, &["patient", &clinic.site, &number.to_string()]);
        let running = number * self.clinics.len() as u64 + index as u64;
        let person = patient::Person::new(&mut random, clinic, running, self.today);
        let mut changes = vec![texts(&person.registration(&mut random, clinic))];
        for (start, number) in person.visit_starts(&mut random, self.today).into_iter().zip(0..) {
            let visitor = person.visitor(number);
            changes.push(texts(&visit::records(&mut random, clinic, &visitor, start)));
        }
        PatientFile { patient_id: person.id, changes }
    }

    /// One more visit of a known patient (also of one that this world did not make), at the
    /// clinic at place `clinic`, on the day of `date`. `number` tells visits of one patient apart.
    pub fn visit(
        &self,
        patient_id: &str,
        clinic: usize,
        number: u64,
        date: Timestamp,
    ) -> Vec<String> {
        let clinic = &self.clinics[clinic % self.clinics.len().max(1)];
        let mut random =
            Random::of(self.seed, &["visit", patient_id, &clinic.site, &number.to_string()]);
        let visitor = patient::Visitor::known_by_id(&mut random, patient_id, date);
        texts(&visit::records(&mut random, clinic, &visitor, date))
    }
}

impl Clinic {
    fn district(&self) -> &'static District {
        &DISTRICTS[self.index % DISTRICTS.len()]
    }
}

fn texts(nodes: &[Node]) -> Vec<String> {
    nodes.iter().map(Node::to_json).collect()
}

/// A point in time as a clinic's clock shows it: `2026-11-23T11:15:30+03:00`.
fn local_time(at: Timestamp, offset_hours: i64) -> String {
    let seconds = at.millis().div_euclid(1_000) * 1_000;
    let shown = Timestamp::from_millis(seconds).plus_millis(offset_hours * 3_600_000).to_string();
    format!("{}+{offset_hours:02}:00", shown.trim_end_matches('Z'))
}

/// The day, `2026-11-23`.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}
