use std::sync::atomic::AtomicU64;

use super::*;

fn writer() -> (tempfile::TempDir, Writer) {
    let folder = tempfile::tempdir().unwrap();
    let connection = Connection::open(folder.path().join("a.db")).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.execute_batch("CREATE TABLE t (x INTEGER PRIMARY KEY, y BLOB)").unwrap();
    (folder, Writer::new(connection))
}

fn insert(connection: &Connection, number: u64) -> Result<()> {
    connection.execute("INSERT INTO t (x) VALUES (?1)", [number])?;
    Ok(())
}

fn count(writer: &Writer) -> u64 {
    writer
        .run("count", |c| Ok(c.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?))
        .unwrap()
}

#[test]
fn a_failing_step_takes_nothing_of_others_with_it() {
    let (_folder, writer) = writer();
    let outcomes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8_u64 {
            let (writer, outcomes) = (&writer, &outcomes);
            scope.spawn(move || {
                for step in 0..50 {
                    let number = thread * 1_000 + step;
                    let outcome = writer.run("insert", |connection| {
                        insert(connection, number)?;
                        match step % 5 {
                            // The second insert of one key fails.
                            0 => insert(connection, number),
                            _ => Ok(()),
                        }
                    });
                    assert_eq!(outcome.is_ok(), step % 5 != 0);
                    outcomes.fetch_add(u64::from(outcome.is_ok()), Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(count(&writer), outcomes.load(Ordering::SeqCst));
    assert_eq!(count(&writer), 8 * 40);
}

#[test]
fn a_panicking_step_leaves_the_writer_to_others() {
    let (_folder, writer) = writer();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        writer.run("panic", |connection| -> Result<()> {
            insert(connection, 1)?;
            panic!("on purpose")
        })
    }));
    assert!(panicked.is_err());
    writer.run("insert", |connection| insert(connection, 2)).unwrap();
    assert_eq!(count(&writer), 1);
}

#[test]
fn a_full_disk_refuses_the_write_and_nothing_else() {
    let (_folder, writer) = writer();
    let limit = |pages: u32| {
        let seat = lock(&writer.seat);
        seat.connection
            .pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, u32>(0))
            .unwrap()
    };
    limit(1);
    let fill = |number: u64| {
        writer.run("fill", |connection| {
            connection
                .execute("INSERT INTO t (x, y) VALUES (?1, zeroblob(20000))", [number])
                .map(drop)
                .map_err(StoreError::from)
        })
    };
    assert!(matches!(fill(1), Err(StoreError::Full)));
    assert_eq!(count(&writer), 0);
    assert_eq!(limit(1_000), 1_000);
    fill(2).unwrap();
    assert_eq!(count(&writer), 1);
}

#[test]
fn an_error_has_the_name_of_its_step() {
    let (_folder, writer) = writer();
    let error = writer
        .run("count what is not there", |connection| {
            connection.execute("DELETE FROM nothing", []).map_err(StoreError::from)
        })
        .unwrap_err();
    assert!(error.to_string().contains("count what is not there"), "{error}");
}
