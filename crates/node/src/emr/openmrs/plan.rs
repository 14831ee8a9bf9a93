//! From the record that is wanted and what OpenMRS last showed of it to the calls that make it
//! so. A whole encounter goes in one call where it is created together with what belongs to it.
//! Pure.

use std::collections::{BTreeMap, BTreeSet};

use protocol::RecordRef;
use serde_json::{Value, json};

use super::element::{referred, text};
use super::known::{Known, Names, Stop};
use super::shape::{Call, Shape};
use super::{allergy, condition, encounter, observation, order, other, patient, person};

/// What OpenMRS shows of a record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Image<'a> {
    /// It never was there.
    Absent,
    /// It is voided.
    Gone,
    /// It is so.
    There(&'a Value),
}

/// The calls of one record.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Plan {
    /// In this order.
    pub calls: Vec<Call>,
    /// Whether it has to be read and planned again after them: it was voided until then.
    pub again: bool,
}

/// How records of a batch go together: by whom each is written, where that is not itself.
pub type Nested = BTreeMap<RecordRef, RecordRef>;

/// The calls that lead from `image` to `wanted` (`None`: deleted). `planned` are the records
/// that are written before it in the same batch, `inner` those that are created with it in its own
/// call.
pub fn plan(
    record: &RecordRef,
    wanted: Option<&Value>,
    image: Image<'_>,
    inner: &[(RecordRef, Value)],
    planned: &BTreeSet<RecordRef>,
    known: &Known,
) -> Result<Plan, Stop> {
    if !person::is_uuid(record.id()) {
        let why = "OpenMRS's uuids have at most 38 letters, digits and '-': this id is none";
        return Err(Stop::Kept(why.to_owned()));
    }
    let wanted = wanted.filter(|wanted| !is_error(wanted));
    let mut planned = planned.clone();
    planned.insert(record.clone());
    planned.extend(inner.iter().map(|(inner, _)| inner.clone()));
    let names = Names::new(known, planned);
    let made = make(record, wanted, image, inner, &names);
    let asked = names.unanswered();
    if !asked.is_empty() {
        return Err(Stop::Ask(asked));
    }
    made
}

fn make(
    record: &RecordRef,
    wanted: Option<&Value>,
    image: Image<'_>,
    inner: &[(RecordRef, Value)],
    names: &Names<'_>,
) -> Result<Plan, Stop> {
    let done = |calls| Ok(Plan { calls, again: false });
    let Some(wanted) = wanted else {
        return match image {
            Image::There(image) => done(vec![Call::void(&place(record, image)?)]),
            Image::Absent | Image::Gone => done(Vec::new()),
        };
    };
    if record.is_patient() && matches!(image, Image::Gone) && patient::is_replaced(wanted) {
        let why = "the patient was merged into another one: OpenMRS has deleted this one";
        return Err(Stop::Kept(why.to_owned()));
    }
    let shape = shape(record, wanted, false, names)?;
    let is_order = shape.place.starts_with("order/");
    match image {
        Image::Absent => {
            if let Some(why) = shape.kept {
                return Err(Stop::Kept(why));
            }
            let mut calls = shape.creation();
            if let Some(call) = calls.last_mut() {
                nest(record, wanted, call, inner, names)?;
            }
            // What is over already must not begin to hold there.
            calls.extend(
                order::stop(&shape, wanted, &Value::Null)
                    .filter(|_| is_order)
                    .into_iter()
                    .flatten(),
            );
            done(calls)
        }
        Image::Gone => {
            let undelete = Call::post(shape.place.clone(), json!({ "deleted": "false" }));
            Ok(Plan { calls: vec![undelete], again: true })
        }
        Image::There(image) => {
            if let Some(calls) = order::stop(&shape, wanted, image).filter(|_| is_order) {
                return done(calls);
            }
            if let Some(why) = shape.kept.as_ref()
                && order::dose(wanted) != order::dose(image)
            {
                return Err(Stop::Kept(why.clone()));
            }
            let old = self::shape(record, image, true, names)?;
            order::spares(&shape, &old, wanted)?;
            let shape = match record.kind.name() {
                "Practitioner" => self::shape(record, wanted, true, names)?,
                _ => shape,
            };
            done(shape.edits(&old).map_err(|why| Stop::Kept(why.to_owned()))?)
        }
    }
}

/// Whether a record says of itself that it was entered by mistake: to OpenMRS it is voided then.
fn is_error(wanted: &Value) -> bool {
    let status = wanted.pointer("/verificationStatus/coding/0/code").and_then(Value::as_str);
    text(wanted, "/status").or(status) == Some("entered-in-error")
}

/// The rows of a record: as it is wanted, or as it is shown (`image`).
fn shape(
    record: &RecordRef,
    resource: &Value,
    image: bool,
    names: &Names<'_>,
) -> Result<Shape, Stop> {
    match record.kind.name() {
        "Patient" => patient::shape(record, resource, names),
        "Encounter" => {
            let mut shape = encounter::shape(record, resource, names)?;
            if image {
                encounter::with_uuids(&mut shape, record, names);
            }
            Ok(shape)
        }
        "Observation" => observation::shape(record, resource, image, names),
        "Condition" => condition::shape(record, resource, names),
        "AllergyIntolerance" => allergy::shape(record, resource, names),
        "MedicationRequest" | "ServiceRequest" => order::shape(record, resource, names),
        "MedicationDispense" => other::dispense(record, resource, names),
        "Immunization" => other::immunization(record, resource, names),
        "RelatedPerson" => other::related(record, resource, names),
        "EpisodeOfCare" => other::episode(record, resource, names),
        "Practitioner" => other::practitioner(record, resource, names, image),
        "Location" => other::location(record, resource, names),
        kind => Err(Stop::Kept(format!("OpenMRS has no place for {kind}"))),
    }
}

/// The path at which a record that is there is voided.
fn place(record: &RecordRef, image: &Value) -> Result<String, Stop> {
    let id = record.id();
    let folder = match record.kind.name() {
        "Patient" => "patient",
        "Encounter" if encounter::is_visit(image) => "visit",
        "Encounter" => "encounter",
        "Observation" | "Immunization" => "obs",
        "Condition" if condition::is_diagnosis(image) => "patientdiagnoses",
        "Condition" => "condition",
        "AllergyIntolerance" => {
            let patient = referred(image, "/patient");
            let patient = patient.ok_or_else(|| Stop::Refused("it shows no patient".to_owned()))?;
            return Ok(format!("patient/{}/allergy/{id}", patient.id()));
        }
        "MedicationRequest" | "ServiceRequest" => "order",
        "MedicationDispense" => "medicationdispense",
        "RelatedPerson" => "relationship",
        "EpisodeOfCare" => "programenrollment",
        "Practitioner" => "provider",
        "Location" => "location",
        kind => return Err(Stop::Kept(format!("OpenMRS has no place for {kind}"))),
    };
    Ok(format!("{folder}/{id}"))
}

/// Puts records that are created with another into its call: members of a group into the group,
/// observations, orders and diagnoses into their encounter.
fn nest(
    record: &RecordRef,
    resource: &Value,
    call: &mut Call,
    inner: &[(RecordRef, Value)],
    names: &Names<'_>,
) -> Result<(), Stop> {
    let Some(Value::Object(body)) = call.body.as_mut() else { return Ok(()) };
    let members = observation::members(resource);
    let in_groups = inner
        .iter()
        .flat_map(|(_, resource)| observation::members(resource))
        .collect::<BTreeSet<_>>();
    for (inside, resource) in inner {
        let belongs = match record.kind.name() {
            "Observation" => members.contains(inside),
            "Encounter" => !in_groups.contains(inside),
            _ => false,
        };
        if !belongs {
            continue;
        }
        let member = match inside.kind.name() {
            _ if record.kind.name() == "Observation" => "groupMembers",
            "Observation" | "Immunization" => "obs",
            "Condition" => "diagnoses",
            _ => "orders",
        };
        let mut own = shape(inside, resource, false, names)?.creation();
        let Some(mut own) = own.pop() else { continue };
        nest(inside, resource, &mut own, inner, names)?;
        if let Some(Value::Object(own)) = own.body {
            let own = own.into_iter().filter(|(name, _)| name != "encounter").collect();
            let list = body.entry(member).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(list) = list.as_array_mut() {
                list.push(Value::Object(own));
            }
        }
    }
    Ok(())
}

/// Which records of a batch, all of them wanted and not there yet, are created in whose call.
pub fn nested(new: &[(RecordRef, &Value)]) -> Nested {
    let is_new = |record: &RecordRef| new.iter().any(|(one, _)| one == record);
    let mut nested = Nested::new();
    for (record, resource) in new {
        if record.kind.name() == "Observation" {
            let members = observation::members(resource);
            nested.extend(members.into_iter().filter(&is_new).map(|one| (one, record.clone())));
        }
    }
    for (record, resource) in new {
        let goes_along = match record.kind.name() {
            "Observation" | "Immunization" => true,
            // It is made and stopped, which are two calls of its own.
            "MedicationRequest" | "ServiceRequest" => !order::is_over(resource),
            "Condition" => condition::is_diagnosis(resource),
            _ => false,
        };
        let encounter = referred(resource, "/encounter").filter(|one| goes_along && is_new(one));
        let encounter = encounter.filter(|one| {
            let of_batch = new.iter().find(|(record, _)| record == one);
            of_batch.is_some_and(|(_, resource)| !encounter::is_visit(resource))
        });
        // A group goes with its encounter, its members with the group.
        if let Some(encounter) = encounter {
            nested.entry(record.clone()).or_insert(encounter);
        }
    }
    nested
}
