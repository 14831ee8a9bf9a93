//! One visit: the visit itself, its encounters, and what was measured, found and ordered.

use protocol::Timestamp;

use super::concepts::{
    ARM, CONDITIONS, Concept, DRUGS, FIRST_CHRONIC, HEIGHT, HIV, HIV_LABORATORY, LABORATORY,
    Measure, TESTS, VACCINES, VITALS, WEIGHT, coded,
};
use super::patient::{Visitor, status};
use super::random::Random;
use super::reference::{Clinic, Staff, reference};
use super::text::{Node, list, literal, object, text};
use super::{DAY, local_time};

const MINUTE: i64 = 60_000;
const TAG: &str = "http://fhir.openmrs.org/ext/encounter-tag";
const CATEGORY: &str = "http://terminology.hl7.org/CodeSystem/observation-category";

/// An encounter type: uuid and name, the room in which it takes place, and the staff who hold it.
type Kind = (&'static str, &'static str, usize, usize);
const VITALS_TAKEN: Kind = ("67a71486-1a54-468f-ac3e-7091a9a79584", "Vitals", 0, 1);
const NOTE: Kind = ("d7151f82-c1f3-4152-a605-2f9ea7414a79", "Visit Note", 0, 0);
const LABORATORY_RESULTS: Kind = ("3596fafb-6f6f-4396-8c87-6e63a0f1bd71", "Lab Results", 1, 4);
const IMMUNIZATIONS: Kind = ("29c02aff-9a93-46c9-bf6f-48b552fcb1fa", "Immunizations", 3, 3);

/// What all records of one visit share.
struct Scene<'a> {
    clinic: &'a Clinic,
    visitor: &'a Visitor,
    records: Vec<Node>,
    visit_id: String,
}

/// One encounter of it.
struct Contact<'a> {
    id: String,
    at: Timestamp,
    staff: &'a Staff,
}

/// All records of the visit, what is referred to first.
pub(super) fn records(
    random: &mut Random,
    clinic: &Clinic,
    visitor: &Visitor,
    start: Timestamp,
) -> Vec<Node> {
    let mut scene = Scene { clinic, visitor, records: Vec::new(), visit_id: random.uuid() };
    let end = start.plus_millis(random.between(70, 190) * MINUTE);
    scene.visit(start, end);
    let age = start.since(visitor.born) / DAY;
    let vitals = scene.contact(random, VITALS_TAKEN, start.plus_millis(12 * MINUTE), 8);
    scene.body(random, &vitals, age);
    let note = scene.contact(random, NOTE, start.plus_millis(30 * MINUTE), 15);
    scene.findings(random, &note, age);
    if random.chance(55) || visitor.chronic.is_some() {
        let results = scene.contact(random, LABORATORY_RESULTS, start.plus_millis(62 * MINUTE), 5);
        scene.laboratory(random, &results);
    }
    if age < 600 {
        let shots = scene.contact(random, IMMUNIZATIONS, start.plus_millis(48 * MINUTE), 6);
        scene.immunizations(random, &shots, age);
    }
    scene.records
}

impl<'a> Scene<'a> {
    fn time(&self, at: Timestamp) -> Node {
        text(local_time(at, self.clinic.district().offset_hours))
    }

    fn period(&self, start: Timestamp, end: Timestamp) -> Node {
        object([("start", self.time(start)), ("end", self.time(end))])
    }

    fn visit(&mut self, start: Timestamp, end: Timestamp) {
        let record = object([
            ("resourceType", text("Encounter")),
            ("id", text(&self.visit_id)),
            ("meta", tagged("visit", "Visit")),
            ("status", text("unknown")),
            ("class", ambulatory()),
            (
                "type",
                list([coded(
                    "http://fhir.openmrs.org/code-system/visit-type",
                    "7b0f5697-27e3-40c4-8bae-f4049abfb4ed",
                    "Facility Visit",
                )]),
            ),
            ("subject", self.visitor.reference()),
            ("period", self.period(start, end)),
            ("location", list([object([("location", self.clinic.location_reference())])])),
            (
                "serviceProvider",
                reference("Organization", &self.clinic.organization, &self.clinic.name),
            ),
        ]);
        self.records.push(record);
    }

    fn contact(
        &mut self,
        random: &mut Random,
        kind: Kind,
        at: Timestamp,
        minutes: i64,
    ) -> Contact<'a> {
        let (uuid, name, room, usual) = kind;
        let staff = if random.chance(75) {
            &self.clinic.staff[usual]
        } else {
            random.pick(&self.clinic.staff)
        };
        let at = at.plus_millis(random.between(-300, 300) * 1_000);
        let contact = Contact { id: random.uuid(), at, staff };
        let record = object([
            ("resourceType", text("Encounter")),
            ("id", text(&contact.id)),
            ("meta", tagged("encounter", "Encounter")),
            ("status", text("unknown")),
            ("class", ambulatory()),
            (
                "type",
                list([coded("http://fhir.openmrs.org/code-system/encounter-type", uuid, name)]),
            ),
            ("subject", self.visitor.reference()),
            ("participant", list([object([("individual", staff.reference())])])),
            ("period", self.period(at, at.plus_millis(minutes * MINUTE))),
            ("location", list([object([("location", self.clinic.room_reference(room))])])),
            (
                "partOf",
                object([
                    ("reference", text(format!("Encounter/{}", self.visit_id))),
                    ("type", text("Encounter")),
                ]),
            ),
        ]);
        self.records.push(record);
        contact
    }

    /// Vital signs and what a child is measured by.
    fn body(&mut self, random: &mut Random, contact: &Contact<'_>, age: i64) {
        let share = growth(age);
        let weight = random.around(WEIGHT.adult.0, WEIGHT.adult.1) * share;
        self.measure(random, contact, &WEIGHT, weight.max(2.1), "exam");
        let height = random.around(HEIGHT.adult.0, HEIGHT.adult.1) * share.cbrt().max(0.3);
        self.measure(random, contact, &HEIGHT, height, "exam");
        let child = age < 5 * 365;
        for vital in &VITALS {
            let pressure = vital.unit == "mm[Hg]";
            if (pressure && child) || random.chance(12) {
                continue;
            }
            let value = random.around(vital.adult.0, vital.adult.1);
            let value = if vital.unit == "%" { value.min(100.0) } else { value };
            self.measure(random, contact, vital, value, "exam");
        }
        if child {
            let value = random.around(ARM.adult.0, ARM.adult.1);
            self.measure(random, contact, &ARM, value, "exam");
        }
    }

    fn laboratory(&mut self, random: &mut Random, contact: &Contact<'_>) {
        let first = random.between(0, LABORATORY.len() as i64 - 1) as usize;
        for step in 0..random.between(1, 3) as usize {
            let measure = &LABORATORY[(first + step * 3) % LABORATORY.len()];
            let value = random.around(measure.adult.0, measure.adult.1);
            self.measure(random, contact, measure, value, "laboratory");
        }
        if self.visitor.chronic == Some(HIV) {
            for measure in &HIV_LABORATORY {
                let value = random.around(measure.adult.0, measure.adult.1).max(20.0);
                self.measure(random, contact, measure, value, "laboratory");
            }
        }
    }

    /// A quick test, what the clinician thinks of it all, and what they prescribe.
    fn findings(&mut self, random: &mut Random, contact: &Contact<'_>, age: i64) {
        let count = if self.visitor.female && age > 15 * 365 { 4 } else { 3 };
        let test = &TESTS[random.between(0, count - 1) as usize];
        let answer = if random.chance(78) { &test.answers[0] } else { random.pick(test.answers) };
        let value = answer.codeable();
        self.observation(
            random,
            contact,
            &test.concept,
            "laboratory",
            "valueCodeableConcept",
            value,
        );
        if let Some(chronic) = self.visitor.chronic {
            if self.visitor.first {
                self.condition(random, contact, chronic);
            }
            self.prescriptions(random, contact, chronic);
        }
        if random.chance(70) || self.visitor.chronic.is_none() {
            let acute = random.between(0, FIRST_CHRONIC as i64 - 1) as usize;
            self.condition(random, contact, acute);
            self.prescriptions(random, contact, acute);
        }
    }

    fn observation(
        &mut self,
        random: &mut Random,
        contact: &Contact<'_>,
        concept: &Concept,
        category: &str,
        value_key: &'static str,
        value: Node,
    ) {
        let (code, display) =
            if category == "exam" { ("exam", "Exam") } else { ("laboratory", "Laboratory") };
        let record = object([
            ("resourceType", text("Observation")),
            ("id", text(random.uuid())),
            ("status", text("final")),
            ("category", list([coded(CATEGORY, code, display)])),
            ("code", concept.codeable()),
            ("subject", self.visitor.reference()),
            ("encounter", contact.reference()),
            ("effectiveDateTime", self.time(contact.at)),
            ("issued", self.time(contact.at.plus_millis(random.between(20, 400) * 1_000))),
            (value_key, value),
        ]);
        self.records.push(record);
    }

    fn measure(
        &mut self,
        random: &mut Random,
        contact: &Contact<'_>,
        measure: &Measure,
        value: f64,
        category: &str,
    ) {
        let literal_value = written(random, value, measure.decimals);
        let quantity = object([
            ("value", literal(literal_value)),
            ("unit", text(measure.unit)),
            ("system", text("http://unitsofmeasure.org")),
            ("code", text(measure.unit)),
        ]);
        self.observation(random, contact, &measure.concept, category, "valueQuantity", quantity);
        let (low, high) = measure.normal;
        let flag = if value < low {
            Some(("L", "Low"))
        } else if value > high {
            Some(("H", "High"))
        } else {
            None
        };
        let Some(record) = self.records.pop() else { return };
        const FLAG: &str = "http://terminology.hl7.org/CodeSystem/v3-ObservationInterpretation";
        let range = object([
            ("low", object([("value", literal(low))])),
            ("high", object([("value", literal(high))])),
        ]);
        let flag = flag.map(|(code, display)| list([status(FLAG, code, display)]));
        self.records
            .push(record.with_some("interpretation", flag).with("referenceRange", list([range])));
    }

    fn condition(&mut self, random: &mut Random, contact: &Contact<'_>, index: usize) {
        const STATUS: &str = "http://terminology.hl7.org/CodeSystem/condition-clinical";
        const VERIFIED: &str = "http://terminology.hl7.org/CodeSystem/condition-ver-status";
        const KIND: &str = "http://terminology.hl7.org/CodeSystem/condition-category";
        let kind = if index >= FIRST_CHRONIC {
            coded(KIND, "problem-list-item", "Problem List Item")
        } else {
            coded(KIND, "encounter-diagnosis", "Encounter Diagnosis")
        };
        let onset = contact.at.plus_millis(-DAY * random.between(1, 6));
        let record = object([
            ("resourceType", text("Condition")),
            ("id", text(random.uuid())),
            ("clinicalStatus", status(STATUS, "active", "Active")),
            ("verificationStatus", status(VERIFIED, "confirmed", "Confirmed")),
            ("category", list([kind])),
            ("code", CONDITIONS[index].0.codeable()),
            ("subject", self.visitor.reference()),
            ("encounter", contact.reference()),
            ("onsetDateTime", self.time(onset)),
            ("recordedDate", self.time(contact.at)),
            ("recorder", contact.staff.reference()),
        ]);
        self.records.push(record);
    }

    fn prescriptions(&mut self, random: &mut Random, contact: &Contact<'_>, condition: usize) {
        for drug in CONDITIONS[condition].1 {
            self.prescription(random, contact, *drug);
        }
    }

    fn prescription(&mut self, random: &mut Random, contact: &Contact<'_>, index: usize) {
        let drug = &DRUGS[index];
        let (units, times, days) = drug.dose;
        let total = units.parse::<u32>().unwrap_or(1) * times * days;
        let until = contact.at.plus_millis(DAY * i64::from(days));
        let repeat = object([
            ("frequency", literal(times)),
            ("period", literal(1)),
            ("periodUnit", text("d")),
        ])
        .with("boundsDuration", duration(days));
        let dosage = object([
            ("text", text(drug.instruction)),
            ("timing", object([("repeat", repeat), ("code", frequency(times))])),
            ("asNeededBoolean", literal(false)),
            (
                "route",
                object([(
                    "text",
                    text(if drug.form == "Inhaler" { "Inhalation" } else { "Oral" }),
                )]),
            ),
            ("doseAndRate", list([object([("doseQuantity", amount(units, drug.form))])])),
        ]);
        let dispense = object([
            ("validityPeriod", self.period(contact.at, until)),
            ("numberOfRepeatsAllowed", literal(0)),
            ("quantity", amount(&total.to_string(), drug.form)),
        ]);
        let record = object([
            ("resourceType", text("MedicationRequest")),
            ("id", text(random.uuid())),
            ("status", text("active")),
            ("intent", text("order")),
            ("priority", text("routine")),
            (
                "medicationReference",
                reference("Medication", &self.clinic.drugs[index], drug.product),
            ),
            ("subject", self.visitor.reference()),
            ("encounter", contact.reference()),
            ("authoredOn", self.time(contact.at)),
            ("requester", contact.staff.reference()),
            ("dosageInstruction", list([dosage])),
            ("dispenseRequest", dispense),
        ]);
        self.records.push(record);
    }

    /// The doses that are due at this age, up to three at a time.
    fn immunizations(&mut self, random: &mut Random, contact: &Contact<'_>, age: i64) {
        let due = VACCINES.iter().filter(|vaccine| vaccine.due_day <= age);
        for vaccine in due.skip(random.between(0, 1) as usize).take(3) {
            let dose = ((age - vaccine.due_day) / 28 + 1).min(vaccine.doses);
            let lot =
                format!("{}{:04}", random.pick(&["KE", "SII", "BB"]), random.between(1, 9_999));
            let record = object([
                ("resourceType", text("Immunization")),
                ("id", text(random.uuid())),
                ("status", text("completed")),
                ("vaccineCode", vaccine.concept.codeable()),
                ("patient", self.visitor.reference()),
                ("encounter", contact.reference()),
                ("occurrenceDateTime", self.time(contact.at)),
                ("location", self.clinic.location_reference()),
                ("lotNumber", text(lot)),
                ("performer", list([object([("actor", contact.staff.reference())])])),
                ("protocolApplied", list([object([("doseNumberPositiveInt", literal(dose))])])),
            ]);
            self.records.push(record);
        }
    }
}

impl Contact<'_> {
    fn reference(&self) -> Node {
        object([("reference", text(format!("Encounter/{}", self.id))), ("type", text("Encounter"))])
    }
}

fn tagged(code: &str, display: &str) -> Node {
    let tag = object([("system", text(TAG)), ("code", text(code)), ("display", text(display))]);
    object([("tag", list([tag]))])
}

fn ambulatory() -> Node {
    object([
        ("system", text("http://terminology.hl7.org/CodeSystem/v3-ActCode")),
        ("code", text("AMB")),
    ])
}

fn amount(value: &str, form: &str) -> Node {
    object([("value", literal(value)), ("unit", text(form))])
}

fn duration(days: u32) -> Node {
    object([
        ("value", literal(days)),
        ("unit", text("days")),
        ("system", text("http://unitsofmeasure.org")),
        ("code", text("d")),
    ])
}

fn frequency(times: u32) -> Node {
    let words = match times {
        1 => "Once daily",
        2 => "Twice daily",
        3 => "Thrice daily",
        _ => "Four times daily",
    };
    object([("text", text(words))])
}

/// How much of an adult's weight someone of this age (in days) has.
fn growth(age: i64) -> f64 {
    (0.055 + age as f64 / (18.0 * 365.0) * 0.945).min(1.0)
}

/// A number as someone writes it down: now and then with one more decimal than the device shows,
/// which is a zero.
fn written(random: &mut Random, value: f64, decimals: usize) -> String {
    let mut literal = format!("{value:.decimals$}");
    if random.chance(15) {
        literal.push_str(if decimals == 0 { ".0" } else { "0" });
    }
    literal
}
