use super::*;
use crate::conformance::START;
use crate::conformance::builders::{an_observation, delete, put};
use crate::sqlite::testing::World;
use crate::{Draft, Store as _};

fn rows_of(conn: &Connection) -> Result<Vec<(String, u64, Option<String>)>> {
    let mut statement = conn.prepare(
        "SELECT r.id, f.upto, p.id FROM former_patient AS f JOIN record AS r ON r.key = f.record
         LEFT JOIN patient AS p ON p.key = f.patient ORDER BY r.id, f.upto, p.id",
    )?;
    let found = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(found.collect::<rusqlite::Result<_>>()?)
}

/// Observations that moved in all ways.
fn drafts() -> Vec<Draft> {
    let nobodys = || an_observation("b", "").with("subject", r#"{"display":"nobody"}"#);
    let both = |id: &str, one: &str, other: &str| {
        let also = format!(r#"[{{"reference":"Patient/{other}"}}]"#);
        an_observation(id, one).with("performer", &also)
    };
    vec![
        put(&[an_observation("a", "amina"), nobodys(), an_observation("stays", "amina")]),
        put(&[an_observation("a", "beno"), an_observation("b", "beno"), both("c", "x", "y")]),
        put(&[an_observation("stays", "amina").with("note", "1"), both("c", "x", "z")]),
        delete("Observation/a"),
        put(&[an_observation("a", "clara"), an_observation("d", "amina")]),
        put(&[both("d", "amina", "beno")]),
        delete("Observation/d"),
    ]
}

#[test]
fn an_older_store_is_filled_with_what_a_store_notes_as_it_goes() {
    let world = World::new();
    for draft in drafts() {
        world.store.change_record(&draft, START).unwrap();
    }
    let noted = world.write(rows_of);
    let row = |id: &str, upto, patient: Option<&str>| {
        (id.to_owned(), upto, patient.map(ToOwned::to_owned))
    };
    assert_eq!(
        noted,
        [
            row("a", 1, Some("amina")),
            row("a", 4, Some("beno")),
            row("b", 1, None),
            row("c", 2, Some("x")),
            row("c", 2, Some("y")),
            row("d", 5, Some("amina")),
        ]
    );
    world.write(|conn| Ok(conn.execute("DELETE FROM former_patient", [])?));
    world.write(|conn| {
        fill(conn).unwrap();
        assert_eq!(rows_of(conn)?, noted);
        Ok(())
    });
}
