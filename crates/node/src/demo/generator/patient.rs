//! A person: who they are, when they came, and the Patient resource that says so.

use protocol::Timestamp;

use super::concepts::ALLERGENS;
use super::identifier::openmrs_id;
use super::people::PersonName;
use super::random::Random;
use super::reference::{Clinic, reference};
use super::text::{Node, list, literal, object, text};
use super::{DAY, day, local_time};

/// Who a patient is.
#[derive(Debug)]
pub(super) struct Person {
    pub(super) id: String,
    name: PersonName,
    female: bool,
    born: Timestamp,
    registered: Timestamp,
    openmrs_id: String,
    /// Place in `CONDITIONS` of what they live with.
    chronic: Option<usize>,
}

/// What a visit has to know of the one who comes.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) patient_id: String,
    /// As it is shown in references; `None` where only the id is known.
    pub(super) display: Option<String>,
    pub(super) born: Timestamp,
    pub(super) female: bool,
    pub(super) chronic: Option<usize>,
    /// Whether what they live with is to be recorded (once).
    pub(super) first: bool,
}

impl Visitor {
    /// For a patient of whom nothing but the id is known: an adult of either sex.
    pub(super) fn known_by_id(random: &mut Random, patient_id: &str, date: Timestamp) -> Visitor {
        Visitor {
            patient_id: patient_id.to_owned(),
            display: None,
            born: date.plus_millis(-DAY * random.between(20 * 365, 60 * 365)),
            female: random.chance(50),
            chronic: None,
            first: false,
        }
    }

    /// The reference to the patient.
    pub(super) fn reference(&self) -> Node {
        object([
            ("reference", text(format!("Patient/{}", self.patient_id))),
            ("type", text("Patient")),
        ])
        .with_some("display", self.display.as_deref().map(text))
    }
}

/// When clinics open, `days_ago` days before today.
fn opening(today: Timestamp, offset_hours: i64, days_ago: i64) -> Timestamp {
    let day = today.millis().div_euclid(DAY) - days_ago;
    Timestamp::from_millis(day * DAY + (8 - offset_hours) * 3_600_000)
}

const IDENTIFIER_LOCATION: &str = "http://fhir.openmrs.org/ext/patient/identifier#location";
const OPENMRS_ID_TYPE: &str = "05a29f94-c0ed-11e2-94be-8c13b969e334";
const OLD_NUMBER_TYPE: &str = "8d79403a-c2cc-11de-8d13-0010c6dffd0f";

impl Person {
    pub(super) fn new(
        random: &mut Random,
        clinic: &Clinic,
        running: u64,
        today: Timestamp,
    ) -> Person {
        let id = random.uuid();
        let district = clinic.district();
        let people = if random.chance(85) { district.people } else { district.neighbours };
        let female = random.chance(56);
        let days_ago = random.between(30, 3 * 365);
        let registered = opening(today, district.offset_hours, days_ago)
            .plus_millis(random.between(0, 360) * 60_000);
        let age_days = match random.between(1, 100) {
            ..=28 => random.between(1, 5 * 365),
            29..=42 => random.between(5 * 365, 15 * 365),
            43..=90 => random.between(15 * 365, 55 * 365),
            _ => random.between(55 * 365, 88 * 365),
        };
        let adult = age_days > 18 * 365;
        let chronic =
            (adult && random.chance(40)).then(|| *random.pick(&[6, 6, 6, 7, 7, 8, 9, 10, 11, 12]));
        Person {
            id,
            name: people.name(random, female),
            female,
            born: registered.plus_millis(-age_days * DAY),
            registered,
            openmrs_id: openmrs_id(running),
            chronic,
        }
    }

    /// Two to four visits, in order, the first on the day of registration.
    pub(super) fn visit_starts(&self, random: &mut Random, today: Timestamp) -> Vec<Timestamp> {
        let span = today.since(self.registered) / DAY - 1;
        let mut days: Vec<i64> =
            (0..random.between(1, 3)).map(|_| random.between(1, span)).collect();
        days.sort_unstable();
        days.dedup();
        let mut starts = vec![self.registered.plus_millis(1_200_000)];
        let first = self.registered.plus_millis(random.between(-5, 5) * 60_000);
        starts.extend(days.into_iter().map(|day| first.plus_millis(day * DAY)));
        starts
    }

    pub(super) fn visitor(&self, number: u64) -> Visitor {
        Visitor {
            patient_id: self.id.clone(),
            display: Some(format!("{} (OpenMRS ID: {})", self.name.display(), self.openmrs_id)),
            born: self.born,
            female: self.female,
            chronic: self.chronic,
            first: number == 0,
        }
    }

    /// The Patient, and the allergies that were asked for at once.
    pub(super) fn registration(&self, random: &mut Random, clinic: &Clinic) -> Vec<Node> {
        let mut records = vec![self.record(random, clinic)];
        if random.chance(12) {
            records.push(self.allergy(random, clinic));
        }
        records
    }

    fn record(&self, random: &mut Random, clinic: &Clinic) -> Node {
        let mut given = vec![text(&self.name.given)];
        given.extend(self.name.middle.as_deref().map(text));
        let name = object([
            ("id", text(random.uuid())),
            ("text", text(self.name.display())),
            ("family", text(&self.name.family)),
            ("given", Node::List(given)),
        ]);
        let telecom = random.chance(70).then(|| list([phone(random, clinic)]));
        object([
            ("resourceType", text("Patient")),
            ("id", text(&self.id)),
            ("identifier", Node::List(self.identifiers(random, clinic))),
            ("active", literal(true)),
            ("name", list([name])),
        ])
        .with_some("telecom", telecom)
        .with("gender", text(if self.female { "female" } else { "male" }))
        .with("birthDate", text(self.birth_date(random)))
        .with("deceasedBoolean", literal(false))
        .with("address", list([address(random, clinic)]))
        .with("managingOrganization", reference("Organization", &clinic.organization, &clinic.name))
    }

    /// Where it is estimated, OpenMRS shows the year only, or year and month of a small child.
    fn birth_date(&self, random: &mut Random) -> String {
        let exact = day(self.born);
        let small = self.registered.since(self.born) < 5 * 365 * DAY;
        match random.between(1, 100) {
            ..=70 => exact,
            _ if small => exact.chars().take(7).collect(),
            _ => exact.chars().take(4).collect(),
        }
    }

    fn identifiers(&self, random: &mut Random, clinic: &Clinic) -> Vec<Node> {
        let mut identifiers = vec![identifier(
            random.uuid(),
            ("official", OPENMRS_ID_TYPE, "OpenMRS ID"),
            &self.openmrs_id,
            clinic,
        )];
        if random.chance(20) {
            let old = format!("{:05}/{:02}", random.between(1, 99_999), random.between(4, 19));
            let kind = ("usual", OLD_NUMBER_TYPE, "Old Identification Number");
            identifiers.push(identifier(random.uuid(), kind, &old, clinic));
        }
        identifiers
    }

    fn allergy(&self, random: &mut Random, clinic: &Clinic) -> Node {
        const STATUS: &str = "http://terminology.hl7.org/CodeSystem/allergyintolerance-clinical";
        const VERIFIED: &str =
            "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification";
        let (substance, category, manifestation) = random.pick(&ALLERGENS);
        let (criticality, severity) =
            *random.pick(&[("high", "severe"), ("low", "mild"), ("low", "moderate")]);
        let reaction = object([
            ("substance", substance.codeable()),
            ("manifestation", list([manifestation.codeable()])),
            ("severity", text(severity)),
        ]);
        let offset = clinic.district().offset_hours;
        object([
            ("resourceType", text("AllergyIntolerance")),
            ("id", text(random.uuid())),
            ("clinicalStatus", status(STATUS, "active", "Active")),
            ("verificationStatus", status(VERIFIED, "confirmed", "Confirmed")),
            ("type", text("allergy")),
            ("category", list([text(*category)])),
            ("criticality", text(criticality)),
            ("code", substance.codeable()),
            ("patient", self.visitor(0).reference()),
            ("recordedDate", text(local_time(self.registered.plus_millis(300_000), offset))),
            ("recorder", random.pick(&clinic.staff).reference()),
            ("reaction", list([reaction])),
        ])
    }
}

/// A status of FHIR's own, with the text that fhir2 puts beside it.
pub(super) fn status(system: &str, code: &str, display: &str) -> Node {
    super::concepts::coded(system, code, display).with("text", text(display))
}

fn identifier(id: String, kind: (&str, &str, &str), value: &str, clinic: &Clinic) -> Node {
    let (usage, type_uuid, type_name) = kind;
    let location = object([
        ("url", text(IDENTIFIER_LOCATION)),
        ("valueReference", clinic.location_reference()),
    ]);
    let coding = object([("code", text(type_uuid))]);
    object([
        ("id", text(id)),
        ("extension", list([location])),
        ("use", text(usage)),
        ("type", object([("coding", list([coding])), ("text", text(type_name))])),
        ("value", text(value)),
    ])
}

fn phone(random: &mut Random, clinic: &Clinic) -> Node {
    let dial = clinic.district().dial;
    object([
        ("id", text(random.uuid())),
        ("system", text("phone")),
        ("value", text(format!("{dial}{:08}", random.between(10_000_000, 99_999_999)))),
        ("use", text("mobile")),
    ])
}

fn address(random: &mut Random, clinic: &Clinic) -> Node {
    const URL: &str = "http://fhir.openmrs.org/ext/address";
    let district = clinic.district();
    let near = *random.pick(&[
        "the market",
        "the primary school",
        "the church",
        "the borehole",
        "the mosque",
        "the bus stage",
        "the chief's office",
        "the dispensary",
    ]);
    let line = object([
        ("url", text("http://fhir.openmrs.org/ext/address#address1")),
        ("valueString", text(format!("Near {near}"))),
    ]);
    object([
        ("id", text(random.uuid())),
        ("extension", list([object([("url", text(URL)), ("extension", list([line]))])])),
        ("use", text("home")),
        ("city", text(*random.pick(district.villages))),
        ("district", text(district.name)),
        ("state", text(district.state)),
        ("country", text(district.country)),
    ])
}
