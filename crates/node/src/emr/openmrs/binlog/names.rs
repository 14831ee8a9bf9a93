//! Which records the parts are of, looked up in the database.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use protocol::RecordRef;

use super::tables::Part;

/// The records that the parts are of.
pub(super) async fn records(
    conn: &mut Conn,
    groups: Vec<BTreeSet<Part>>,
) -> Result<Vec<Vec<RecordRef>>, mysql_async::Error> {
    let mut known: BTreeMap<Part, Vec<RecordRef>> = BTreeMap::new();
    let mut named = Vec::new();
    for group in groups {
        let mut records = BTreeSet::new();
        for part in group {
            if !known.contains_key(&part) {
                let found = records_of(conn, &part).await?;
                known.insert(part.clone(), found);
            }
            records.extend(known[&part].iter().cloned());
        }
        if !records.is_empty() {
            named.push(records.into_iter().collect());
        }
    }
    Ok(named)
}

/// The group of an immunization and its members, by the concepts of CIEL.
const IMMUNIZATION: &str = "1421AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

async fn records_of(conn: &mut Conn, part: &Part) -> Result<Vec<RecordRef>, mysql_async::Error> {
    let mut found: Vec<(&str, String)> = Vec::new();
    match part {
        Part::Uuid(kind, uuid) => found.push((kind, uuid.clone())),
        Part::Person(person) => {
            for (kind, query) in [
                (
                    "Patient",
                    "SELECT p.uuid FROM person p JOIN patient t ON t.patient_id = p.person_id \
                     WHERE p.person_id = ?",
                ),
                ("Practitioner", "SELECT uuid FROM provider WHERE person_id = ?"),
                ("RelatedPerson", "SELECT uuid FROM relationship WHERE person_a = ?"),
            ] {
                let uuids: Vec<String> = conn.exec(query, (person,)).await?;
                found.extend(uuids.into_iter().map(|uuid| (kind, uuid)));
            }
        }
        Part::Obs(uuid) => {
            let query = "SELECT c.uuid FROM obs o JOIN concept c ON c.concept_id = o.concept_id \
                         WHERE o.uuid = ?";
            let concept: Option<String> = conn.exec_first(query, (uuid,)).await?;
            let is_shot = concept.as_deref() == Some(IMMUNIZATION);
            found.push((if is_shot { "Immunization" } else { "Observation" }, uuid.clone()));
        }
        Part::ObsNumber(number) => {
            let query = "SELECT o.uuid, c.uuid FROM obs o JOIN concept c \
                         ON c.concept_id = o.concept_id WHERE o.obs_id = ?";
            let row: Option<(String, String)> = conn.exec_first(query, (number,)).await?;
            found.extend(row.map(|(uuid, concept)| {
                (if concept == IMMUNIZATION { "Immunization" } else { "Observation" }, uuid)
            }));
        }
        Part::Order(number) => {
            let query = "SELECT o.uuid, d.order_id IS NOT NULL FROM orders o \
                         LEFT JOIN drug_order d ON d.order_id = o.order_id WHERE o.order_id = ?";
            let row: Option<(String, bool)> = conn.exec_first(query, (number,)).await?;
            found.extend(row.map(|(uuid, is_drug)| {
                (if is_drug { "MedicationRequest" } else { "ServiceRequest" }, uuid)
            }));
        }
        Part::Encounter(number) => {
            let query = "SELECT uuid FROM encounter WHERE encounter_id = ?";
            let uuid: Option<String> = conn.exec_first(query, (number,)).await?;
            found.extend(uuid.map(|uuid| ("Encounter", uuid)));
        }
        Part::Allergy(number) => {
            let query = "SELECT uuid FROM allergy WHERE allergy_id = ?";
            let uuid: Option<String> = conn.exec_first(query, (number,)).await?;
            found.extend(uuid.map(|uuid| ("AllergyIntolerance", uuid)));
        }
        Part::Enrolment(number) => {
            let query = "SELECT uuid FROM patient_program WHERE patient_program_id = ?";
            let uuid: Option<String> = conn.exec_first(query, (number,)).await?;
            found.extend(uuid.map(|uuid| ("EpisodeOfCare", uuid)));
        }
    }
    let records = found
        .into_iter()
        .filter_map(|(kind, uuid)| RecordRef::new(kind.parse().ok()?, uuid.trim()).ok());
    Ok(records.collect())
}

/// Into whom the person with this uuid was merged last.
pub(super) async fn winner(
    conn: &mut Conn,
    loser: &str,
) -> Result<Option<String>, mysql_async::Error> {
    let query = "SELECT w.uuid FROM person_merge_log m \
                 JOIN person l ON l.person_id = m.loser_person_id \
                 JOIN person w ON w.person_id = m.winner_person_id \
                 WHERE l.uuid = ? AND m.voided = 0 ORDER BY m.person_merge_log_id DESC";
    let found: Option<String> = conn.exec_first(query, (loser,)).await?;
    Ok(found.map(|uuid| uuid.trim().to_owned()))
}
