//! A number never goes to OpenMRS in another unit than the one it was measured in, nor a dose
//! without its unit.

use super::*;

const UCUM: &str = "http://unitsofmeasure.org";

fn quantity(value: f64, unit: &str, code: &str) -> Value {
    json!({ "value": value, "unit": unit, "system": UCUM, "code": code })
}

#[test]
fn a_value_in_another_unit_than_the_concepts_is_kept() {
    for (value, given) in [
        (quantity(135.0, "lb", "[lb_av]"), "lb"),
        (json!({ "value": 135, "unit": " lb " }), "lb"),
        (json!({ "value": 61_500, "system": UCUM, "code": "g" }), "g"),
        // UCUM tells upper case from lower case.
        (json!({ "value": 62.5, "system": UCUM, "code": "KG" }), "KG"),
    ] {
        let wanted = with(&observation(), &[("/valueQuantity", value)]);
        let kept = format!(
            "kept: OpenMRS holds these observations in kg, and this value is in {given}: it is \
             kept here and not written there"
        );
        assert_eq!(planned(Some(&wanted), Image::Absent, &[]), kept);
        assert_eq!(planned(Some(&wanted), Image::There(&observation()), &[]), kept);
    }
}

#[test]
fn a_value_in_the_concepts_unit_or_in_none_is_written() {
    for value in [
        quantity(135.0, "kilogram", "kg"),
        json!({ "value": 135.0, "unit": " kg" }),
        json!({ "value": 135.0, "unit": " " }),
        json!({ "value": 135.0 }),
    ] {
        let wanted = with(&observation(), &[("/valueQuantity", value)]);
        let calls = planned(Some(&wanted), Image::There(&observation()), &[]);
        assert_eq!(calls, r#"POST obs/o1 {"value":135.0}"#);
    }
    // The dictionary does not say in which unit it holds these.
    let code = json!([{ "code": "5090A" }]);
    let value = quantity(135.0, "lb", "[lb_av]");
    let wanted = with(&observation(), &[("/code/coding", code), ("/valueQuantity", value)]);
    let calls = planned(Some(&wanted), Image::Absent, &[]);
    assert!(calls.starts_with("POST obs ") && calls.contains(r#""value":135.0"#), "{calls}");
    // What OpenMRS itself shows is in its own unit, whatever that is called.
    let shown = with(&observation(), &[("/valueQuantity", quantity(62.5, "kilos", "kilos"))]);
    let calls = planned(Some(&observation()), Image::There(&shown), &[]);
    assert_eq!(calls, "");
}

fn dosed(resource: &Value, dose: Value, words: Option<&str>) -> Value {
    let dosage = json!([{ "text": words, "doseAndRate": [{ "doseQuantity": dose }] }]);
    with(resource, &[("/dosageInstruction", dosage)])
}

fn dispense() -> Value {
    json!({
        "resourceType": "MedicationDispense", "id": "md1", "status": "completed",
        "subject": { "reference": "Patient/p1" },
        "medicationCodeableConcept": { "coding": [{ "code": "71160" }] },
    })
}

const KEPT: &str = "kept: OpenMRS holds no dose without its unit, and has no concept for the unit";

#[test]
fn a_dose_is_never_written_without_its_unit() {
    let known = dosed(&drug(), quantity(500.0, "mg", "mg"), Some("one at night"));
    let calls = planned(Some(&known), Image::Absent, &[]);
    assert!(calls.contains(r#""dose":500.0,"doseUnits":"concept-mg""#), "{calls}");
    let unknown = quantity(500.0, "puff", "no-puff");
    for dose in [unknown, json!({ "value": 500.0, "unit": "mg" }), json!({ "value": 500.0 })] {
        for order in [drug(), dispense()] {
            // The words say it all.
            let told = dosed(&order, dose.clone(), Some("one at night"));
            let calls = planned(Some(&told), Image::Absent, &[]);
            assert!(calls.starts_with("POST "), "{calls}");
            assert!(!calls.contains("500") && calls.contains("one at night"), "{calls}");
            let silent = dosed(&order, dose.clone(), None);
            let calls = planned(Some(&silent), Image::Absent, &[]);
            assert!(calls.starts_with(KEPT), "{calls}");
        }
    }
}

#[test]
fn a_dose_that_is_kept_holds_up_neither_a_stop_nor_other_edits() {
    let unknown = || quantity(2.0, "puff", "no-puff");
    let shown = dosed(&drug(), quantity(500.0, "mg", "mg"), None);
    let changed = dosed(&drug(), unknown(), None);
    let calls = planned(Some(&changed), Image::There(&shown), &[]);
    assert!(calls.starts_with("kept: "), "{calls}");
    let stopped = with(&changed, &[("/status", json!("stopped"))]);
    let calls = planned(Some(&stopped), Image::There(&shown), &[]);
    assert!(calls.contains(r#""action":"DISCONTINUE""#), "{calls}");

    let shown = dosed(&dispense(), quantity(500.0, "mg", "mg"), None);
    let changed = dosed(&dispense(), unknown(), None);
    let calls = planned(Some(&changed), Image::There(&shown), &[]);
    assert!(calls.starts_with(KEPT), "{calls}");
    // Words or not, what a person has entered there is not taken away.
    let entered = dosed(&shown, quantity(500.0, "mg", "mg"), Some("two puffs"));
    let told = dosed(&changed, unknown(), Some("two puffs"));
    let calls = planned(Some(&told), Image::There(&entered), &[]);
    assert!(calls.starts_with("kept: OpenMRS holds another dose, and has no concept"), "{calls}");
    let entered = with(&dispense(), &[("/quantity", quantity(30.0, "tablet", "tablet"))]);
    let told = with(&dispense(), &[("/quantity", quantity(2.0, "strip", "no-strip"))]);
    let calls = planned(Some(&told), Image::There(&entered), &[]);
    assert!(calls.starts_with("kept: OpenMRS holds another quantity"), "{calls}");
    let later = with(&changed, &[("/whenHandedOver", json!("2026-03-02"))]);
    let calls = planned(Some(&later), Image::There(&changed), &[]);
    assert_eq!(calls, r#"POST medicationdispense/md1 {"dateHandedOver":"2026-03-02"}"#);
}

#[test]
fn how_much_is_supplied_is_never_written_without_its_unit() {
    for (code, sent) in [("tablet", true), ("no-tablet", false)] {
        let given = quantity(30.0, "tablet", code);
        let order = with(&drug(), &[("/dispenseRequest", json!({ "quantity": given }))]);
        let dispense = with(&dispense(), &[("/quantity", given.clone())]);
        for wanted in [order, dispense] {
            let calls = planned(Some(&wanted), Image::Absent, &[]);
            let pair = r#""quantity":30.0,"quantityUnits":"concept-tablet""#;
            assert_eq!((calls.contains(pair), calls.contains("30")), (sent, sent), "{calls}");
        }
    }
}
