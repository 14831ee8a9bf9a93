//! Organizations, locations, practitioners and medications: what belongs to no patient.

use super::concepts::{DRUGS, coded};
use super::people::PersonName;
use super::random::Random;
use super::text::{Node, list, literal, object, text};
use super::{ClinicPlace, DISTRICTS};

/// A clinic with its rooms and its staff.
#[derive(Debug)]
pub(super) struct Clinic {
    pub(super) index: usize,
    pub(super) site: String,
    pub(super) name: String,
    ministry: String,
    pub(super) organization: String,
    pub(super) location: String,
    /// Id and name of each room.
    pub(super) rooms: Vec<(String, String)>,
    pub(super) staff: Vec<Staff>,
    /// Ids of `DRUGS`, in their order.
    pub(super) drugs: Vec<String>,
}

/// Someone who works there.
#[derive(Debug)]
pub(super) struct Staff {
    pub(super) id: String,
    pub(super) name: PersonName,
    female: bool,
    qualification: &'static str,
}

const ROOMS: [&str; 6] = [
    "Outpatient Clinic",
    "Laboratory",
    "Pharmacy",
    "Maternity Ward",
    "Inpatient Ward",
    "Registration Desk",
];
const STAFF: [(&str, bool); 6] = [
    ("Clinical Officer", false),
    ("Nurse", true),
    ("Nurse", false),
    ("Midwife", true),
    ("Laboratory Technologist", false),
    ("Medical Officer", true),
];
const LOCATION_TYPE: &str = "http://terminology.hl7.org/CodeSystem/location-physical-type";
const LOCATION_TAG: &str = "http://fhir.openmrs.org/ext/location-tag";

/// A reference as fhir2 writes it: with its type and something to show.
pub(super) fn reference(kind: &str, id: &str, display: &str) -> Node {
    object([
        ("reference", text(format!("{kind}/{id}"))),
        ("type", text(kind)),
        ("display", text(display)),
    ])
}

fn ministry_id(seed: u64) -> String {
    Random::of(seed, &["ministry"]).uuid()
}

fn drug_id(seed: u64, product: &str) -> String {
    Random::of(seed, &["drug", product]).uuid()
}

/// What all clinics share: the organization above them, and the formulary.
pub(super) fn shared_records(seed: u64) -> Vec<Node> {
    let ministry = object([
        ("resourceType", text("Organization")),
        ("id", text(ministry_id(seed))),
        ("active", literal(true)),
        ("type", list([organization_type("govt", "Government")])),
        ("name", text("Regional Health Network")),
    ]);
    let mut records = vec![ministry];
    records.extend(DRUGS.iter().map(|drug| {
        object([
            ("resourceType", text("Medication")),
            ("id", text(drug_id(seed, drug.product))),
            ("extension", list([drug_name(drug.product)])),
            ("code", drug.concept.codeable()),
            ("status", text("active")),
            ("form", object([("text", text(drug.form))])),
        ])
    }));
    records
}

/// fhir2 keeps a drug's name in an extension of its own.
fn drug_name(product: &str) -> Node {
    const URL: &str = "http://fhir.openmrs.org/ext/medicine";
    let name = object([
        ("url", text("http://fhir.openmrs.org/ext/medicine#drugName")),
        ("valueString", text(product)),
    ]);
    object([("url", text(URL)), ("extension", list([name]))])
}

fn organization_type(code: &str, display: &str) -> Node {
    coded("http://terminology.hl7.org/CodeSystem/organization-type", code, display)
}

impl Clinic {
    pub(super) fn new(seed: u64, index: usize, site: &str) -> Clinic {
        let mut random = Random::of(seed, &["clinic", site, &index.to_string()]);
        let district = &DISTRICTS[index % DISTRICTS.len()];
        let kind = random.pick(&["Health Centre", "District Hospital", "Mission Hospital"]);
        let rooms = ROOMS.iter().map(|room| (random.uuid(), (*room).to_owned())).collect();
        let staff = STAFF
            .iter()
            .map(|(qualification, female)| Staff {
                id: random.uuid(),
                name: district.people.name(&mut random, *female),
                female: *female,
                qualification,
            })
            .collect();
        let town = district.villages[(index / DISTRICTS.len()) % district.villages.len()];
        Clinic {
            index,
            site: site.to_owned(),
            name: format!("{town} {kind}"),
            ministry: ministry_id(seed),
            organization: random.uuid(),
            location: random.uuid(),
            rooms,
            staff,
            drugs: DRUGS.iter().map(|drug| drug_id(seed, drug.product)).collect(),
        }
    }

    pub(super) fn place(&self) -> ClinicPlace {
        let district = self.district();
        ClinicPlace {
            site: self.site.clone(),
            name: self.name.clone(),
            organization: format!("Organization/{}", self.organization),
            location: format!("Location/{}", self.location),
            address: [district.country, district.state, district.name].map(str::to_owned),
            villages: district.villages.iter().map(|village| (*village).to_owned()).collect(),
        }
    }

    /// The clinic as a reference's target.
    pub(super) fn location_reference(&self) -> Node {
        reference("Location", &self.location, &self.name)
    }

    /// A room as a reference's target.
    pub(super) fn room_reference(&self, index: usize) -> Node {
        let (id, name) = &self.rooms[index];
        reference("Location", id, name)
    }

    /// Organization, location, rooms, staff; what is referred to comes first.
    pub(super) fn records(&self) -> Vec<Node> {
        let mut records = vec![self.organization_record(), self.location_record()];
        records.extend(self.rooms.iter().map(|(id, name)| self.room_record(id, name)));
        for person in &self.staff {
            records.push(person.record(self.district().dial));
            records.push(self.role_record(person));
        }
        records
    }

    fn organization_record(&self) -> Node {
        object([
            ("resourceType", text("Organization")),
            ("id", text(&self.organization)),
            ("active", literal(true)),
            ("type", list([organization_type("prov", "Healthcare Provider")])),
            ("name", text(&self.name)),
            ("address", list([self.address()])),
            ("partOf", reference("Organization", &self.ministry, "Regional Health Network")),
        ])
    }

    fn address(&self) -> Node {
        let district = self.district();
        object([
            ("city", text(district.villages[0])),
            ("district", text(district.name)),
            ("state", text(district.state)),
            ("country", text(district.country)),
        ])
    }

    fn location_record(&self) -> Node {
        let (latitude, longitude) = self.district().position;
        let tags = ["Login Location", "Visit Location", "Admission Location"].map(|tag| {
            object([("system", text(LOCATION_TAG)), ("code", text(tag)), ("display", text(tag))])
        });
        object([
            ("resourceType", text("Location")),
            ("id", text(&self.location)),
            ("meta", object([("tag", list(tags))])),
            ("status", text("active")),
            ("name", text(&self.name)),
            ("description", text(format!("{}, {}", self.name, self.district().name))),
            ("address", self.address()),
            ("physicalType", coded(LOCATION_TYPE, "bu", "Building")),
            (
                "position",
                object([("longitude", literal(longitude)), ("latitude", literal(latitude))]),
            ),
            ("managingOrganization", reference("Organization", &self.organization, &self.name)),
        ])
    }

    fn room_record(&self, id: &str, name: &str) -> Node {
        let tag = object([
            ("system", text(LOCATION_TAG)),
            ("code", text("Login Location")),
            ("display", text("Login Location")),
        ]);
        object([
            ("resourceType", text("Location")),
            ("id", text(id)),
            ("meta", object([("tag", list([tag]))])),
            ("status", text("active")),
            ("name", text(name)),
            ("physicalType", coded(LOCATION_TYPE, "ro", "Room")),
            ("partOf", self.location_reference()),
        ])
    }

    fn role_record(&self, person: &Staff) -> Node {
        object([
            ("resourceType", text("PractitionerRole")),
            ("id", text(Random::of(0, &["role", &person.id]).uuid())),
            ("active", literal(true)),
            ("practitioner", person.reference()),
            ("organization", reference("Organization", &self.organization, &self.name)),
            ("code", list([object([("text", text(person.qualification))])])),
            ("location", list([self.location_reference()])),
        ])
    }
}

impl Staff {
    pub(super) fn reference(&self) -> Node {
        reference("Practitioner", &self.id, &self.name.display())
    }

    fn record(&self, dial: &str) -> Node {
        let mut random = Random::of(1, &["staff", &self.id]);
        let mut given = vec![text(&self.name.given)];
        given.extend(self.name.middle.as_deref().map(text));
        let name = object([
            ("id", text(random.uuid())),
            ("family", text(&self.name.family)),
            ("given", Node::List(given)),
        ]);
        let phone = object([
            ("id", text(random.uuid())),
            ("system", text("phone")),
            ("value", text(format!("{dial}{:08}", random.between(10_000_000, 99_999_999)))),
            ("use", text("work")),
        ]);
        let number = format!("{}-{}", random.between(10, 99), random.between(1_000, 9_999));
        let identifier = object([
            ("system", text("http://fhir.openmrs.org/ext/provider/identifier")),
            ("value", text(number)),
        ]);
        object([
            ("resourceType", text("Practitioner")),
            ("id", text(&self.id)),
            ("identifier", list([identifier])),
            ("active", literal(true)),
            ("name", list([name])),
            ("telecom", list([phone])),
            ("gender", text(if self.female { "female" } else { "male" })),
            (
                "qualification",
                list([object([("code", object([("text", text(self.qualification))]))])]),
            ),
        ])
    }
}
