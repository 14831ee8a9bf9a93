//! What clinics measure, diagnose, prescribe and inject, with the codes of CIEL (the dictionary
//! that most OpenMRS systems of the region share), LOINC, SNOMED CT, ICD-10 and RxNorm.

use super::text::{Node, list, object, text};

/// Something that has a name and codes.
#[derive(Debug)]
pub(super) struct Concept {
    pub(super) display: &'static str,
    /// Code in CIEL; the concept's uuid is the code filled up with `A`.
    pub(super) ciel: Option<&'static str>,
    /// Further codings: system and code.
    pub(super) codes: Codes,
}

/// A quantity that is measured.
#[derive(Debug)]
pub(super) struct Measure {
    pub(super) concept: Concept,
    /// UCUM unit.
    pub(super) unit: &'static str,
    /// Mean and spread in an adult.
    pub(super) adult: (f64, f64),
    /// Decimals that the device shows.
    pub(super) decimals: usize,
    /// What counts as normal.
    pub(super) normal: (f64, f64),
}

/// A test with an answer instead of a number.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) concept: Concept,
    /// Answers; the first is by far the most frequent.
    pub(super) answers: &'static [Concept],
}

/// A medicine as it is stocked, and how it is taken.
#[derive(Debug)]
pub(super) struct Drug {
    pub(super) concept: Concept,
    /// Name and strength of what is on the shelf.
    pub(super) product: &'static str,
    /// `Tablet`, `Capsule`, ...
    pub(super) form: &'static str,
    /// Units at a time, times a day, days.
    pub(super) dose: (&'static str, u32, u32),
    pub(super) instruction: &'static str,
}

/// A vaccine, the day of life when its first dose is due, and its doses (four weeks apart).
#[derive(Debug)]
pub(super) struct Vaccine {
    pub(super) concept: Concept,
    pub(super) due_day: i64,
    pub(super) doses: i64,
}

pub(super) const CIEL: &str = "https://cielterminology.org";
const LOINC: &str = "http://loinc.org";
/// With the slash at its end, as OpenMRS writes it.
const SNOMED: &str = "http://snomed.info/sct/";
const ICD10: &str = "http://hl7.org/fhir/sid/icd-10";
const RXNORM: &str = "http://www.nlm.nih.gov/research/umls/rxnorm";
const CVX: &str = "http://hl7.org/fhir/sid/cvx";

impl Concept {
    /// The uuid of the concept, which a CIEL concept has in every OpenMRS.
    pub(super) fn uuid(&self) -> Option<String> {
        self.ciel.map(|code| format!("{code:A<36}"))
    }

    /// A CodeableConcept as fhir2 writes it: the local coding first, and it has no system.
    pub(super) fn codeable(&self) -> Node {
        let mut codings = Vec::new();
        if let (Some(uuid), Some(code)) = (self.uuid(), self.ciel) {
            codings.push(object([("code", text(uuid)), ("display", text(self.display))]));
            codings.push(object([("system", text(CIEL)), ("code", text(code))]));
        }
        for (system, code) in self.codes {
            codings.push(object([("system", text(*system)), ("code", text(*code))]));
        }
        let name = ("text", text(self.display));
        if codings.is_empty() {
            object([name])
        } else {
            object([("coding", Node::List(codings)), name])
        }
    }
}

/// A CodeableConcept with one coding.
pub(super) fn coded(system: &str, code: &str, display: &str) -> Node {
    let coding =
        object([("system", text(system)), ("code", text(code)), ("display", text(display))]);
    object([("coding", list([coding]))])
}

const fn concept(display: &'static str, ciel: &'static str, codes: Codes) -> Concept {
    Concept { display, ciel: Some(ciel), codes }
}

type Codes = &'static [(&'static str, &'static str)];

/// For what has no code in CIEL that we are sure of.
const fn uncoded(display: &'static str, codes: Codes) -> Concept {
    Concept { display, ciel: None, codes }
}

const fn measure(
    display: &'static str,
    ciel: &'static str,
    codes: Codes,
    unit: &'static str,
    adult: (f64, f64),
    decimals: usize,
    normal: (f64, f64),
) -> Measure {
    Measure { concept: concept(display, ciel, codes), unit, adult, decimals, normal }
}

const fn drug(
    concept: Concept,
    product: &'static str,
    form: &'static str,
    dose: (&'static str, u32, u32),
    instruction: &'static str,
) -> Drug {
    Drug { concept, product, form, dose, instruction }
}

const fn vaccine(
    display: &'static str,
    ciel: &'static str,
    codes: Codes,
    due_day: i64,
    doses: i64,
) -> Vaccine {
    Vaccine { concept: concept(display, ciel, codes), due_day, doses }
}

#[rustfmt::skip]
pub(super) static WEIGHT: Measure =
    measure("Weight (kg)", "5089", &[(LOINC, "3141-9"), (SNOMED, "27113001")],
     "kg", (62.0, 11.0), 1, (0.0, 250.0));
#[rustfmt::skip]
pub(super) static HEIGHT: Measure =
    measure("Height (cm)", "5090", &[(LOINC, "8302-2"), (SNOMED, "50373000")],
     "cm", (164.0, 8.0), 0, (10.0, 272.0));
#[rustfmt::skip]
pub(super) static ARM: Measure =
    measure("MUAC", "1343", &[(LOINC, "56072-2")],
     "cm", (14.1, 1.0), 1, (12.5, 30.0));

/// Vital signs that everyone has taken.
#[rustfmt::skip]
pub(super) static VITALS: [Measure; 6] = [
    measure("Temperature (C)", "5088", &[(LOINC, "8310-5"), (SNOMED, "386725007")],
        "Cel", (36.9, 0.6), 1, (36.0, 37.5)),
    measure("Pulse", "5087", &[(LOINC, "8867-4"), (SNOMED, "78564009")],
        "/min", (82.0, 12.0), 0, (55.0, 100.0)),
    measure("Respiratory rate", "5242", &[(LOINC, "9279-1"), (SNOMED, "86290005")],
        "/min", (18.0, 3.0), 0, (12.0, 22.0)),
    measure("Systolic blood pressure", "5085", &[(LOINC, "8480-6"), (SNOMED, "271649006")],
        "mm[Hg]", (124.0, 15.0), 0, (90.0, 140.0)),
    measure("Diastolic blood pressure", "5086", &[(LOINC, "8462-4"), (SNOMED, "271650006")],
        "mm[Hg]", (78.0, 10.0), 0, (60.0, 90.0)),
    measure("Arterial blood oxygen saturation (pulse oximeter)", "5092",
        &[(LOINC, "59408-5"), (SNOMED, "103228002")],
        "%", (97.0, 1.3), 0, (94.0, 100.0)),
];

/// Laboratory values.
#[rustfmt::skip]
pub(super) static LABORATORY: [Measure; 10] = [
    measure("Haemoglobin", "21", &[(LOINC, "718-7")],
        "g/dL", (12.4, 1.9), 1, (12.0, 16.0)),
    measure("Serum glucose", "887", &[(LOINC, "14749-6")],
        "mmol/L", (5.6, 1.2), 1, (3.9, 7.8)),
    measure("Serum creatinine (umol/L)", "790", &[(LOINC, "14682-9")],
        "umol/L", (78.0, 18.0), 0, (53.0, 106.0)),
    measure("White blood cells", "678", &[(LOINC, "6690-2")],
        "10*3/uL", (6.8, 2.1), 2, (4.0, 11.0)),
    measure("Platelets", "729", &[(LOINC, "777-3")],
        "10*3/uL", (241.0, 60.0), 0, (150.0, 400.0)),
    measure("Alanine aminotransferase", "654", &[(LOINC, "1742-6")],
        "U/L", (27.0, 9.0), 0, (7.0, 56.0)),
    measure("Haemoglobin A1c", "159644", &[(LOINC, "4548-4")],
        "%", (6.1, 1.0), 1, (4.0, 6.0)),
    measure("Mean corpuscular volume", "851", &[(LOINC, "787-2")],
        "fL", (86.0, 6.0), 1, (80.0, 100.0)),
    measure("Serum potassium", "1133", &[(LOINC, "2823-3")],
        "mmol/L", (4.2, 0.4), 2, (3.5, 5.1)),
    measure("Total cholesterol", "1006", &[(LOINC, "14647-2")],
        "mmol/L", (4.6, 0.9), 2, (0.0, 5.2)),
];

/// Laboratory values of people who live with HIV.
#[rustfmt::skip]
pub(super) static HIV_LABORATORY: [Measure; 2] = [
    measure("CD4 count", "5497", &[(LOINC, "24467-3")],
        "/uL", (462.0, 180.0), 0, (500.0, 1600.0)),
    measure("HIV viral load", "856", &[(LOINC, "20447-9")],
        "{copies}/mL", (140.0, 110.0), 0, (0.0, 1000.0)),
];

const NEGATIVE: Concept = concept("Negative", "664", &[(SNOMED, "260385009")]);
const POSITIVE: Concept = concept("Positive", "703", &[(SNOMED, "10828004")]);

/// Tests with an answer.
#[rustfmt::skip]
pub(super) static TESTS: [Test; 4] = [
    Test {
        concept: concept("Rapid test for malaria", "1643", &[(LOINC, "70569-9")]),
        answers: &[NEGATIVE, POSITIVE],
    },
    Test {
        concept: concept("HIV rapid test 1, qualitative", "1040", &[(LOINC, "68961-2")]),
        answers: &[NEGATIVE, POSITIVE, concept("Indeterminate", "1138", &[(SNOMED, "82334004")])],
    },
    Test {
        concept: concept("Malaria smear impression", "32", &[(LOINC, "32700-7")]),
        answers: &[NEGATIVE, POSITIVE],
    },
    Test {
        concept: concept("Urine pregnancy test", "45", &[(LOINC, "2106-3")]),
        answers: &[NEGATIVE, POSITIVE],
    },
];

/// Diagnoses, each with the drugs (by place in `DRUGS`) that are given for it.
#[rustfmt::skip]
pub(super) static CONDITIONS: [(Concept, &[usize]); 13] = [
    (concept("Malaria", "116128", &[(SNOMED, "61462000"), (ICD10, "B54")]), &[0, 3]),
    (concept("Pneumonia", "114100", &[(SNOMED, "233604007"), (ICD10, "J18.9")]), &[2, 3]),
    (concept("Diarrhea", "142412", &[(SNOMED, "62315008"), (ICD10, "A09")]), &[7, 8]),
    (concept("Urinary tract infection", "111633", &[(SNOMED, "68566005"), (ICD10, "N39.0")]), &[2]),
    (concept("Anemia", "121629", &[(SNOMED, "271737000"), (ICD10, "D64.9")]), &[9]),
    (concept("Malnutrition", "115122", &[(SNOMED, "2492009"), (ICD10, "E46")]), &[8]),
    (concept("HIV disease", "138405", &[(SNOMED, "86406008"), (ICD10, "B24")]), &[1, 6]),
    (concept("Hypertension", "117399", &[(SNOMED, "38341003"), (ICD10, "I10")]), &[5]),
    (concept("Diabetes mellitus", "119481", &[(SNOMED, "73211009"), (ICD10, "E14.9")]), &[4]),
    (concept("Tuberculosis", "112141", &[(SNOMED, "56717001"), (ICD10, "A16.9")]), &[10]),
    (concept("Asthma", "121375", &[(SNOMED, "195967001"), (ICD10, "J45.9")]), &[11]),
    (concept("Epilepsy", "155", &[(SNOMED, "84757009"), (ICD10, "G40.9")]), &[12]),
    (concept("Depression", "119537", &[(SNOMED, "35489007"), (ICD10, "F32.9")]), &[]),
];
/// Where in `CONDITIONS` HIV disease stands.
pub(super) const HIV: usize = 6;
/// Diagnoses from this place on stay with a person.
pub(super) const FIRST_CHRONIC: usize = 6;

/// The essential medicines of these clinics.
#[rustfmt::skip]
pub(super) static DRUGS: [Drug; 13] = [
    drug(uncoded("Artemether / lumefantrine", &[(RXNORM, "282448")]),
        "Artemether 20 mg / lumefantrine 120 mg", "Tablet", ("4", 2, 3), "With food or milk"),
    drug(uncoded("Tenofovir / lamivudine / dolutegravir", &[]),
        "TDF 300 mg / 3TC 300 mg / DTG 50 mg", "Tablet", ("1", 1, 90),
        "Every evening at the same hour"),
    drug(concept("Amoxicillin", "71160", &[(SNOMED, "27658006"), (RXNORM, "723")]),
        "Amoxicillin 500 mg", "Capsule", ("1", 3, 7), "Finish the whole course"),
    drug(concept("Paracetamol", "70116", &[(SNOMED, "90332006"), (RXNORM, "161")]),
        "Paracetamol 500 mg", "Tablet", ("2", 3, 3), "For fever or pain"),
    drug(concept("Metformin", "79651", &[(RXNORM, "6809")]),
        "Metformin 500 mg", "Tablet", ("1", 2, 30), "With meals"),
    drug(concept("Amlodipine", "71137", &[(RXNORM, "17767")]),
        "Amlodipine 5 mg", "Tablet", ("1", 1, 30), "Every morning"),
    drug(concept("Sulfamethoxazole / trimethoprim", "105281", &[(RXNORM, "10831")]),
        "Co-trimoxazole 960 mg", "Tablet", ("1", 1, 30), "Prophylaxis"),
    drug(concept("Oral rehydration salts", "351", &[]),
        "Oral rehydration salts, sachet for 1 L", "Sachet", ("1", 3, 2), "After each loose stool"),
    drug(uncoded("Zinc sulfate", &[(RXNORM, "39954")]),
        "Zinc sulfate 20 mg", "Tablet", ("1", 1, 10), "Dissolve in clean water"),
    drug(concept("Ferrous sulfate", "75896", &[(RXNORM, "24947")]),
        "Ferrous sulfate 200 mg", "Tablet", ("1", 2, 30), "On an empty stomach"),
    drug(uncoded("Rifampicin / isoniazid / pyrazinamide / ethambutol", &[]),
        "RHZE 150/75/400/275 mg", "Tablet", ("3", 1, 28), "Directly observed"),
    drug(concept("Salbutamol", "83982", &[(RXNORM, "435")]),
        "Salbutamol inhaler 100 ug", "Inhaler", ("2", 4, 30), "When wheezing"),
    drug(concept("Carbamazepine", "72555", &[(RXNORM, "2002")]),
        "Carbamazepine 200 mg", "Tablet", ("1", 2, 30), "Never stop at once"),
];

/// The childhood vaccines.
#[rustfmt::skip]
pub(super) static VACCINES: [Vaccine; 6] = [
    vaccine("Bacillus Calmette-Guerin vaccine", "886", &[(CVX, "19")], 0, 1),
    vaccine("Polio vaccination, oral", "783", &[(CVX, "02")], 0, 4),
    vaccine("Diphtheria, pertussis, tetanus, hepatitis B and Hib vaccine", "1685", &[(CVX,
        "198")], 42, 3),
    vaccine("Pneumococcal conjugate vaccine", "162342", &[(CVX, "133")], 42, 3),
    vaccine("Rotavirus vaccine", "159698", &[(CVX, "119")], 42, 2),
    vaccine("Measles vaccination", "36", &[(CVX, "05")], 270, 2),
];

/// What people do not bear, with its category and what it does to them.
#[rustfmt::skip]
pub(super) static ALLERGENS: [(Concept, &str, Concept); 5] = [
    (concept("Penicillin", "81724", &[(SNOMED, "764146007")]), "medication",
        concept("Rash", "512", &[(SNOMED, "271807003")])),
    (concept("Sulfonamides", "162170", &[(SNOMED, "387406002")]), "medication",
        concept("Rash", "512", &[(SNOMED, "271807003")])),
    (concept("Aspirin", "71617", &[(SNOMED, "387458008")]), "medication",
        concept("Urticaria", "111061", &[(SNOMED, "126485001")])),
    (concept("Eggs", "162301", &[(SNOMED, "102263004")]), "food",
        concept("Vomiting", "122983", &[(SNOMED, "422400008")])),
    (concept("Bee venom", "162536", &[(SNOMED, "288328004")]), "environment",
        concept("Swelling", "125198", &[(SNOMED, "65124004")])),
];
