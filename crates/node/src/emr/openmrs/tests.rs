//! From wanted and shown to calls: tables of cases.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde_json::{Value, json};

use super::known::{Answer, Known, Need, Stop};
use super::plan::{Image, nested, plan};
use super::shape::Call;

mod orders;
mod units;

/// Everything is there under its own name, but what begins with `no-`.
fn answer(need: &Need) -> Answer {
    match need {
        Need::Concept(codings) => match codings.iter().find(|(_, code)| !code.starts_with("no-")) {
            Some((_, code)) => Answer::Uuid(format!("concept-{}", code.trim_end_matches('A'))),
            None => Answer::Missing,
        },
        Need::Meta(kind, keys) => match keys.iter().find(|key| !key.starts_with("no-")) {
            Some(key) if keys.len() > 1 || key != "default" => {
                Answer::Uuid(format!("{}-{key}", kind.word()))
            }
            _ => Answer::Missing,
        },
        Need::Record(record) if record.id().starts_with("no-") => Answer::Missing,
        Need::Record(record) => Answer::Uuid(record.id().to_owned()),
        Need::Rows(path) if path.starts_with("encounter/") => Answer::Rows(json!({
            "encounterProviders": [{
                "uuid": "row-1", "voided": false, "provider": { "uuid": "prov-1" },
                "encounterRole": { "uuid": "encounter-role-participant" },
            }],
        })),
        Need::Rows(path) if path == "concept/concept-5089?v=full" => {
            Answer::Rows(json!({ "units": "kg " }))
        }
        Need::Rows(path) if path.starts_with("concept/") => Answer::Rows(json!({})),
        Need::Rows(_) => Answer::Rows(json!({ "person": { "uuid": "being" } })),
    }
}

/// Plans, and answers what is asked until there is a plan.
fn planned(wanted: Option<&Value>, image: Image<'_>, inner: &[(RecordRef, Value)]) -> String {
    let shown = match image {
        Image::There(shown) => Some(shown),
        _ => None,
    };
    let resource = wanted.or(shown).unwrap();
    let record = name(resource);
    let mut known = Known::new();
    loop {
        match plan(&record, wanted, image, inner, &BTreeSet::new(), &known) {
            Ok(plan) => {
                let again = if plan.again { "\nagain" } else { "" };
                return plan.calls.iter().map(told).collect::<Vec<_>>().join("\n") + again;
            }
            Err(Stop::Ask(needs)) => {
                let before = known.len();
                known.extend(needs.into_iter().map(|need| {
                    let answer = answer(&need);
                    (need, answer)
                }));
                assert!(known.len() > before, "it asks for what it was told");
            }
            Err(Stop::Refused(why)) => return format!("refused: {why}"),
            Err(Stop::Waits(record)) => return format!("waits for {record}"),
            Err(Stop::Kept(why)) => return format!("kept: {why}"),
        }
    }
}

fn told(call: &Call) -> String {
    match &call.body {
        Some(body) => format!("POST {} {body}", call.path),
        None => format!("DELETE {}", call.path),
    }
}

fn name(resource: &Value) -> RecordRef {
    let text = |member: &str| resource[member].as_str().unwrap();
    format!("{}/{}", text("resourceType"), text("id")).parse().unwrap()
}

fn with(resource: &Value, changes: &[(&str, Value)]) -> Value {
    let mut changed = resource.clone();
    for (pointer, value) in changes {
        let (parent, member) = pointer.rsplit_once('/').unwrap();
        let parent = changed.pointer_mut(parent).unwrap();
        match parent {
            Value::Array(items) if member == "-" => items.push(value.clone()),
            Value::Array(items) => items[member.parse::<usize>().unwrap()] = value.clone(),
            Value::Object(members) if value.is_null() => drop(members.remove(member)),
            parent => parent[member] = value.clone(),
        }
    }
    changed
}

fn patient() -> Value {
    json!({
        "resourceType": "Patient", "id": "p1", "gender": "female", "birthDate": "1990-02-03",
        "name": [{ "id": "n1", "given": ["Amina", "Wanjiru"], "family": "Otieno" }],
        "address": [{ "id": "a1", "city": "Kisumu", "line": ["Plot 4"] }],
        "identifier": [{
            "id": "i1", "use": "official", "value": "100-8", "type": { "text": "OpenMRS ID" },
            "extension": [{
                "url": "http://fhir.openmrs.org/ext/patient/identifier#location",
                "valueReference": { "reference": "Location/l1" },
            }],
        }],
    })
}

#[test]
fn a_new_patient_is_one_call_that_keeps_all_ids() {
    let calls = planned(Some(&patient()), Image::Absent, &[]);
    let body: Value = serde_json::from_str(calls.strip_prefix("POST patient ").unwrap()).unwrap();
    let expected = json!({
        "uuid": "p1",
        "person": {
            "uuid": "p1", "gender": "F", "birthdate": "1990-02-03", "birthdateEstimated": false,
            "dead": false,
            "names": [{
                "uuid": "n1", "givenName": "Amina", "middleName": "Wanjiru",
                "familyName": "Otieno", "preferred": true,
            }],
            "addresses": [{ "uuid": "a1", "cityVillage": "Kisumu", "address1": "Plot 4" }],
        },
        "identifiers": [{
            "uuid": "i1", "identifier": "100-8", "identifierType": "identifier-type-OpenMRS ID",
            "location": "l1", "preferred": true,
        }],
    });
    assert_eq!(body, expected);
}

#[test]
fn an_edit_of_a_patient_touches_only_what_changed() {
    let shown = patient();
    for (changes, calls) in [
        (vec![], ""),
        (vec![("/gender", json!("male"))], r#"POST person/p1 {"gender":"M"}"#),
        (vec![("/name/0/given/1", json!("W."))], r#"POST person/p1/name/n1 {"middleName":"W."}"#),
        (
            vec![("/name/0/given", json!(["A"]))],
            r#"POST person/p1/name/n1 {"givenName":"A","middleName":null}"#,
        ),
        (
            vec![("/address/0/city", Value::Null)],
            r#"POST person/p1/address/a1 {"cityVillage":null}"#,
        ),
        (
            vec![("/address", json!([]))],
            "DELETE person/p1/address/a1?reason=deleted+at+another+site",
        ),
        (
            vec![("/name/-", json!({ "id": "n2", "family": "Odhiambo" }))],
            r#"POST person/p1/name {"uuid":"n2","familyName":"Odhiambo","preferred":false}"#,
        ),
        (
            vec![("/birthDate", json!("1990"))],
            r#"POST person/p1 {"birthdate":"1990-01-01","birthdateEstimated":true}"#,
        ),
        (
            vec![("/deceasedDateTime", json!("2026-01-02T01:30:00+03:00"))],
            r#"POST person/p1 {"dead":true,"deathDate":"2026-01-01T22:30:00.000+0000"}"#,
        ),
        (
            vec![("/identifier/0/value", json!("101-6"))],
            r#"POST patient/p1/identifier/i1 {"identifier":"101-6"}"#,
        ),
        // What OpenMRS has no column for changes nothing there.
        (vec![("/maritalStatus", json!({ "text": "married" }))], ""),
    ] {
        let wanted = with(&shown, &changes);
        let planned = planned(Some(&wanted), Image::There(&shown), &[]);
        let order = |text: &str| {
            let lines = text.lines().map(|line| match line.split_once(" {") {
                Some((call, body)) => {
                    let body: Value = serde_json::from_str(&format!("{{{body}")).unwrap();
                    format!("{call} {body}")
                }
                None => line.to_owned(),
            });
            lines.collect::<Vec<_>>()
        };
        assert_eq!(order(&planned), order(calls), "{changes:?}");
    }
    let own_name = with(&shown, &[("/name/0/id", Value::Null)]);
    assert_eq!(planned(Some(&own_name), Image::There(&shown), &[]), "", "the same without an id");
}

#[test]
fn defect_21_a_birth_date_is_sent_as_the_day_it_is() {
    for (date, sent) in
        [("1990-02-03", "1990-02-03"), ("1990-02", "1990-02-01"), ("1990", "1990-01-01")]
    {
        let wanted = with(&patient(), &[("/birthDate", json!(date))]);
        let calls = planned(Some(&wanted), Image::Absent, &[]);
        assert!(calls.contains(&format!(r#""birthdate":"{sent}""#)), "{calls}");
        assert!(calls.contains(&format!(r#""birthdateEstimated":{}"#, date.len() < 10)), "{calls}");
    }
}

#[test]
fn defect_24_what_is_too_long_is_refused_and_never_cut() {
    let wanted = with(&patient(), &[("/name/0/family", json!("x".repeat(51)))]);
    let why = planned(Some(&wanted), Image::Absent, &[]);
    assert!(why.starts_with("refused: the name's familyName is longer than the 50"), "{why}");
    let wanted = with(&patient(), &[("/name/0/family", json!("é".repeat(50)))]);
    assert!(planned(Some(&wanted), Image::Absent, &[]).starts_with("POST patient"));
}

#[test]
fn defect_17_what_refers_to_what_is_not_there_waits_for_it() {
    let place = json!({ "reference": "Location/no-l" });
    let wanted = with(&patient(), &[("/identifier/0/extension/0/valueReference", place)]);
    assert_eq!(planned(Some(&wanted), Image::Absent, &[]), "waits for Location/no-l");
    let wanted = with(&encounter(), &[("/subject/reference", json!("Patient/no-p"))]);
    assert_eq!(planned(Some(&wanted), Image::Absent, &[]), "waits for Patient/no-p");
    let wanted = with(&encounter(), &[("/partOf/reference", json!("Encounter/no-v"))]);
    assert_eq!(planned(Some(&wanted), Image::Absent, &[]), "waits for Encounter/no-v");
}

#[test]
fn what_this_openmrs_lacks_is_named_with_what_to_do() {
    let wanted = with(&patient(), &[("/identifier/0/type/text", json!("no-ID"))]);
    assert_eq!(
        planned(Some(&wanted), Image::Absent, &[]),
        "refused: OpenMRS has no identifier type no-ID: add it on this site, or map it in \
         [emr.map] (\"identifier-type no-ID\" = \"its uuid\")"
    );
    let code = json!([{ "system": "http://loinc.org", "code": "no-1" }]);
    let wanted = with(&observation(), &[("/code/coding", code)]);
    let why = planned(Some(&wanted), Image::Absent, &[]);
    assert!(why.contains("OpenMRS has no concept http://loinc.org|no-1: add it"), "{why}");
}

fn encounter() -> Value {
    json!({
        "resourceType": "Encounter", "id": "e1", "status": "finished", "class": { "code": "AMB" },
        "subject": { "reference": "Patient/p1" }, "partOf": { "reference": "Encounter/v1" },
        "type": [{ "coding": [{ "code": "consult" }] }],
        "period": { "start": "2026-03-01T09:00:00Z" },
        "location": [{ "location": { "reference": "Location/l1" } }],
        "participant": [{ "individual": { "reference": "Practitioner/prov-1" } }],
    })
}

fn observation() -> Value {
    json!({
        "resourceType": "Observation", "id": "o1", "status": "final",
        "code": { "coding": [{ "code": "5089A" }] },
        "subject": { "reference": "Patient/p1" }, "encounter": { "reference": "Encounter/e1" },
        "effectiveDateTime": "2026-03-01T09:10:00Z", "valueQuantity": { "value": 62.50 },
    })
}

#[test]
fn a_whole_encounter_is_one_call() {
    let group = with(
        &observation(),
        &[
            ("/id", json!("g1")),
            ("/valueQuantity", Value::Null),
            ("/hasMember", json!([{ "reference": "Observation/m1" }])),
        ],
    );
    let member = with(&observation(), &[("/id", json!("m1"))]);
    let diagnosis = json!({
        "resourceType": "Condition", "id": "d1", "subject": { "reference": "Patient/p1" },
        "category": [{ "coding": [{ "code": "encounter-diagnosis" }] }],
        "code": { "coding": [{ "code": "116128" }] },
        "encounter": { "reference": "Encounter/e1" },
    });
    let problem = with(&diagnosis, &[("/id", json!("c1")), ("/category", json!([]))]);
    let encounter = encounter();
    let observation = observation();
    let all = [&encounter, &member, &observation, &group, &diagnosis, &problem];
    let new = all.map(|one| (name(one), one));
    let nested = nested(&new);
    let told = nested.iter().map(|(inner, outer)| format!("{inner} in {outer}"));
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            "Condition/d1 in Encounter/e1",
            "Observation/g1 in Encounter/e1",
            "Observation/m1 in Observation/g1",
            "Observation/o1 in Encounter/e1",
        ]
    );
    let inner = nested.keys().map(|inner| {
        let (name, resource) = new.iter().find(|(name, _)| name == inner).unwrap();
        (name.clone(), (*resource).clone())
    });
    let calls = planned(Some(&encounter), Image::Absent, &inner.collect::<Vec<_>>());
    let body: Value = serde_json::from_str(calls.strip_prefix("POST encounter ").unwrap()).unwrap();
    assert_eq!(body["uuid"], "e1");
    assert_eq!(body["encounterProviders"][0]["provider"], "prov-1");
    let obs = body["obs"].as_array().unwrap();
    let uuids = obs.iter().map(|obs| obs["uuid"].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(uuids, ["g1", "o1"]);
    assert_eq!(obs[0]["groupMembers"][0]["uuid"], "m1");
    assert_eq!(obs[0].get("encounter"), None);
    assert_eq!(obs[1]["value"], 62.5);
    assert_eq!(body["diagnoses"][0]["diagnosis"]["coded"], "concept-116128");
}

#[test]
fn an_edit_of_an_encounter_takes_providers_away_by_their_rows() {
    let shown = encounter();
    let wanted =
        with(&shown, &[("/participant/0/individual/reference", json!("Practitioner/prov-2"))]);
    assert_eq!(planned(Some(&shown), Image::There(&shown), &[]), "");
    assert_eq!(
        planned(Some(&wanted), Image::There(&shown), &[]),
        "POST encounter/e1/encounterprovider/row-1 {\"provider\":\"prov-2\"}"
    );
    let none = with(&shown, &[("/participant", json!([]))]);
    assert_eq!(
        planned(Some(&none), Image::There(&shown), &[]),
        "DELETE encounter/e1/encounterprovider/row-1?reason=deleted+at+another+site"
    );
    let later = with(&shown, &[("/period/start", json!("2026-03-01T12:30:00+03:00"))]);
    assert_eq!(
        planned(Some(&later), Image::There(&shown), &[]),
        "POST encounter/e1 {\"encounterDatetime\":\"2026-03-01T09:30:00.000+0000\"}"
    );
}

#[test]
fn defect_20_deletions_void_and_undeletions_take_it_back() {
    let mistake = with(&observation(), &[("/status", json!("entered-in-error"))]);
    let visit = with(
        &encounter(),
        &[(
            "/meta",
            json!({ "tag": [{
            "system": "http://fhir.openmrs.org/ext/encounter-tag", "code": "visit",
        }] }),
        )],
    );
    let allergy = allergy();
    for (shown, path) in [
        (patient(), "patient/p1"),
        (encounter(), "encounter/e1"),
        (visit, "visit/e1"),
        (observation(), "obs/o1"),
        (allergy, "patient/p1/allergy/al1"),
    ] {
        let void = format!("DELETE {path}?reason=deleted+at+another+site");
        assert_eq!(planned(None, Image::There(&shown), &[]), void);
        let back = format!("POST {path} {{\"deleted\":\"false\"}}\nagain");
        assert_eq!(planned(Some(&shown), Image::Gone, &[]), back);
    }
    let void = "DELETE obs/o1?reason=deleted+at+another+site";
    assert_eq!(planned(Some(&mistake), Image::There(&observation()), &[]), void);
    assert_eq!(planned(Some(&mistake), Image::Absent, &[]), "");
}

fn allergy() -> Value {
    json!({
        "resourceType": "AllergyIntolerance", "id": "al1", "category": ["medication"],
        "patient": { "reference": "Patient/p1" }, "code": { "coding": [{ "code": "162298" }] },
        "reaction": [{
            "severity": "moderate", "manifestation": [{ "coding": [{ "code": "121629" }] }],
        }],
    })
}

fn drug() -> Value {
    json!({
        "resourceType": "MedicationRequest", "id": "m1", "status": "active", "intent": "order",
        "subject": { "reference": "Patient/p1" }, "encounter": { "reference": "Encounter/e1" },
        "requester": { "reference": "Practitioner/prov-1" },
        "medicationCodeableConcept": { "coding": [{ "code": "71160" }] },
        "dosageInstruction": [{ "text": "one at night" }],
    })
}

#[test]
fn each_resource_has_its_call() {
    for (wanted, begins, holds) in [
        (allergy(), "POST patient/p1/allergy ", r#""severity":{"uuid":"concept-1499"}"#),
        (drug(), "POST order ", r#""dosingInstructions":"one at night""#),
        (
            json!({ "resourceType": "EpisodeOfCare", "id": "x1",
                "patient": { "reference": "Patient/p1" }, "period": { "start": "2026-01-05" },
                "type": [{ "coding": [{ "code": "hiv" }] }] }),
            "POST programenrollment ",
            r#""program":"program-hiv""#,
        ),
        (
            json!({ "resourceType": "Location", "id": "l2", "name": "Ward",
                "partOf": { "reference": "Location/l1" }, "position": { "latitude": -0.0917 } }),
            "POST location ",
            r#""latitude":"-0.0917""#,
        ),
        (
            json!({ "resourceType": "Practitioner", "id": "w1", "name": [{ "family": "Were" }],
                "identifier": [{ "value": "N-7" }] }),
            "POST provider ",
            r#""identifier":"N-7""#,
        ),
        (
            json!({ "resourceType": "RelatedPerson", "id": "r1", "name": [{ "family": "Were" }],
                "patient": { "reference": "Patient/p1" },
                "relationship": [{ "text": "Parent" }] }),
            "POST person ",
            r#""relationshipType":"relationship-type-Parent""#,
        ),
        (
            json!({ "resourceType": "Immunization", "id": "im1", "status": "completed",
                "patient": { "reference": "Patient/p1" },
                "encounter": { "reference": "Encounter/e1" },
                "occurrenceDateTime": "2026-02-03", "lotNumber": "L-1",
                "vaccineCode": { "coding": [{ "code": "783" }] } }),
            "POST obs ",
            r#""value":"L-1""#,
        ),
        (
            json!({ "resourceType": "MedicationDispense", "id": "md1", "status": "completed",
                "subject": { "reference": "Patient/p1" },
                "authorizingPrescription": [{ "reference": "MedicationRequest/m1" }],
                "medicationCodeableConcept": { "coding": [{ "code": "71160" }] } }),
            "POST medicationdispense ",
            r#""drugOrder":"m1""#,
        ),
        (
            json!({ "resourceType": "Condition", "id": "c1",
                "subject": { "reference": "Patient/p1" }, "code": { "text": "odd cough" },
                "clinicalStatus": { "coding": [{ "code": "resolved" }] } }),
            "POST condition ",
            r#""condition":{"nonCoded":"odd cough"}"#,
        ),
    ] {
        let calls = planned(Some(&wanted), Image::Absent, &[]);
        assert!(calls.starts_with(begins) && calls.contains(holds), "{calls}");
        // Shown as it was written, there is nothing to write.
        assert_eq!(planned(Some(&wanted), Image::There(&wanted), &[]), "", "{wanted}");
    }
}

#[test]
fn what_openmrs_has_no_place_for_is_kept() {
    let range = json!({ "low": { "value": 1 } });
    for (wanted, why) in [
        (with(&observation(), &[("/component", json!([]))]), "components"),
        (
            with(&observation(), &[("/valueQuantity", Value::Null), ("/valueRange", range)]),
            "valueRange",
        ),
        (with(&observation(), &[("/valueQuantity/comparator", json!("<"))]), "comparator"),
        (with(&patient(), &[("/identifier", Value::Null)]), "without an identifier"),
        (with(&patient(), &[("/id", json!("x".repeat(39)))]), "38 letters"),
        (json!({ "resourceType": "Basic", "id": "b1" }), "no place for Basic"),
    ] {
        let told = planned(Some(&wanted), Image::Absent, &[]);
        assert!(told.starts_with("kept: ") && told.contains(why), "{told}");
    }
    let edited = with(&observation(), &[("/valueQuantity/value", json!(63))]);
    let told = planned(Some(&edited), Image::There(&observation()), &[]);
    assert_eq!(told, r#"POST obs/o1 {"value":63}"#);
    let group =
        |value: Value| with(&value, &[("/hasMember", json!([{ "reference": "Observation/o2" }]))]);
    let told = planned(Some(&group(edited)), Image::There(&group(observation())), &[]);
    assert!(told.starts_with("kept: OpenMRS makes a group of observations anew"), "{told}");
    let same = with(&observation(), &[("/valueQuantity/value", json!(62.5))]);
    assert_eq!(planned(Some(&same), Image::There(&observation()), &[]), "");
}

#[test]
fn plans_of_one_thing_are_the_same_every_time() {
    let plans = (0..3).map(|_| planned(Some(&encounter()), Image::Absent, &[]));
    assert_eq!(plans.map(|plan| (plan, ())).collect::<BTreeMap<_, _>>().len(), 1);
}
