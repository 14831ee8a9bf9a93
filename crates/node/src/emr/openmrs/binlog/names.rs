//! Which records the parts are of, looked up in the database: many with one query.

use std::collections::{BTreeMap, BTreeSet};

use mysql_async::prelude::{FromRow, Queryable as _};
use mysql_async::{Conn, Params, Value};
use protocol::RecordRef;

use super::tables::Part;

/// The group of an immunization and its members, by the concepts of CIEL.
const IMMUNIZATION: &str = "1421AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
/// Rows that one query asks for.
const ROWS: usize = 500;

/// What the parts lead to.
#[derive(Debug, Default)]
pub(super) struct Named {
    /// The records of each group.
    pub groups: Vec<Vec<RecordRef>>,
    /// Those of them that are obs which are no later versions of others.
    pub first: BTreeSet<RecordRef>,
}

/// The records that the parts are of.
pub(super) async fn records(
    conn: &mut Conn,
    groups: Vec<BTreeSet<Part>>,
) -> Result<Named, mysql_async::Error> {
    let mut found = Found::default();
    let parts = groups.iter().flatten().collect::<BTreeSet<_>>();
    found.obs(conn, &parts).await?;
    found.others(conn, &parts).await?;
    let mut named = Vec::new();
    for group in groups {
        let records = group.iter().flat_map(|part| found.of(part)).collect::<BTreeSet<_>>();
        if !records.is_empty() {
            named.push(records.into_iter().collect());
        }
    }
    Ok(Named { groups: named, first: found.first })
}

/// What was found so far.
#[derive(Debug, Default)]
struct Found {
    records: BTreeMap<Part, Vec<RecordRef>>,
    first: BTreeSet<RecordRef>,
}

/// A row of `obs`: its number, its uuid, that of its concept, which one it is a version of.
type Obs = (i64, String, String, Option<i64>);

impl Found {
    fn add(&mut self, part: Part, kind: &str, uuid: &str) {
        self.records.entry(part).or_default().extend(record(kind, uuid));
    }

    /// What a part is of. An obs that is not in the database (any more) was an Observation.
    fn of(&self, part: &Part) -> Vec<RecordRef> {
        match (self.records.get(part), part) {
            (Some(records), _) => records.clone(),
            (None, Part::Uuid(kind, uuid)) => record(kind, uuid).into_iter().collect(),
            (None, Part::Obs(uuid)) => record("Observation", uuid).into_iter().collect(),
            (None, _) => Vec::new(),
        }
    }

    async fn obs(
        &mut self,
        conn: &mut Conn,
        parts: &BTreeSet<&Part>,
    ) -> Result<(), mysql_async::Error> {
        let by = |column: &str| {
            format!(
                "SELECT o.obs_id, o.uuid, c.uuid, o.previous_version FROM obs o \
                 JOIN concept c ON c.concept_id = o.concept_id WHERE o.{column} IN (?)"
            )
        };
        let uuids = parts.iter().filter_map(|part| match part {
            Part::Obs(uuid) => Some(Value::from(uuid)),
            _ => None,
        });
        let numbers = parts.iter().filter_map(|part| match part {
            Part::ObsNumber(number) => Some(Value::from(number)),
            _ => None,
        });
        for (query, keys, is_by_uuid) in [
            (by("uuid"), uuids.collect::<Vec<_>>(), true),
            (by("obs_id"), numbers.collect(), false),
        ] {
            for (number, uuid, concept, previous) in rows::<Obs>(conn, &query, keys).await? {
                let is_shot = concept.trim() == IMMUNIZATION;
                let kind = if is_shot { "Immunization" } else { "Observation" };
                let uuid = uuid.trim();
                if previous.is_none() && !is_shot {
                    self.first.extend(record(kind, uuid));
                }
                let part = match is_by_uuid {
                    true => Part::Obs(uuid.to_owned()),
                    false => Part::ObsNumber(number),
                };
                self.add(part, kind, uuid);
            }
        }
        Ok(())
    }

    async fn others(
        &mut self,
        conn: &mut Conn,
        parts: &BTreeSet<&Part>,
    ) -> Result<(), mysql_async::Error> {
        for (kind, part, query) in OTHERS {
            let keys = parts.iter().filter_map(|one| {
                let number = number(one)?;
                (part(number) == **one).then(|| Value::from(number))
            });
            for (number, uuid) in rows::<(i64, String)>(conn, query, keys.collect()).await? {
                self.add(part(number), kind, uuid.trim());
            }
        }
        Ok(())
    }
}

/// The type of a record, the part with a number, and the query that leads from that to uuids.
type Other = (&'static str, fn(i64) -> Part, &'static str);

/// From the numbers of parts to uuids.
const OTHERS: [Other; 8] = [
    (
        "Patient",
        Part::Person,
        "SELECT p.person_id, p.uuid FROM person p JOIN patient t ON t.patient_id = p.person_id \
         WHERE p.person_id IN (?)",
    ),
    ("Practitioner", Part::Person, "SELECT person_id, uuid FROM provider WHERE person_id IN (?)"),
    (
        "RelatedPerson",
        Part::Person,
        "SELECT person_a, uuid FROM relationship WHERE person_a IN (?)",
    ),
    (
        "MedicationRequest",
        Part::Order,
        "SELECT o.order_id, o.uuid FROM orders o JOIN drug_order d ON d.order_id = o.order_id \
         WHERE o.order_id IN (?)",
    ),
    (
        "ServiceRequest",
        Part::Order,
        "SELECT o.order_id, o.uuid FROM orders o LEFT JOIN drug_order d \
         ON d.order_id = o.order_id WHERE d.order_id IS NULL AND o.order_id IN (?)",
    ),
    (
        "Encounter",
        Part::Encounter,
        "SELECT encounter_id, uuid FROM encounter WHERE encounter_id IN (?)",
    ),
    (
        "AllergyIntolerance",
        Part::Allergy,
        "SELECT allergy_id, uuid FROM allergy WHERE allergy_id IN (?)",
    ),
    (
        "EpisodeOfCare",
        Part::Enrolment,
        "SELECT patient_program_id, uuid FROM patient_program WHERE patient_program_id IN (?)",
    ),
];

/// The number that a part is named by, where it is.
fn number(part: &Part) -> Option<i64> {
    match part {
        Part::Uuid(..) | Part::Obs(_) => None,
        Part::Person(number)
        | Part::ObsNumber(number)
        | Part::Order(number)
        | Part::Encounter(number)
        | Part::Allergy(number)
        | Part::Enrolment(number) => Some(*number),
    }
}

fn record(kind: &str, uuid: &str) -> Option<RecordRef> {
    RecordRef::new(kind.parse().ok()?, uuid.trim()).ok()
}

/// The rows of all these keys, which stand in the place of the query's `?`.
async fn rows<T: FromRow + Send + 'static>(
    conn: &mut Conn,
    query: &str,
    keys: Vec<Value>,
) -> Result<Vec<T>, mysql_async::Error> {
    let mut found = Vec::new();
    for keys in keys.chunks(ROWS) {
        let marks = vec!["?"; keys.len()].join(", ");
        let query = query.replace("(?)", &format!("({marks})"));
        let rows: Vec<T> = conn.exec(query, Params::Positional(keys.to_vec())).await?;
        found.extend(rows);
    }
    Ok(found)
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
