//! SQL stands only in `store`: one `Store` method is one transaction is one step of the domain.

use super::rust_text::take_apart;
use super::{File, Finding};

/// How statements begin. Capitals only, and with what follows, so that `UPDATED` (a category
/// of Atom entries) and `DELETE` (a method of HTTP) stay words.
const STATEMENTS: &[&str] = &[
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "REPLACE INTO ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE INDEX ",
    "DROP TABLE ",
    "ALTER TABLE ",
    "BEGIN IMMEDIATE",
    "SAVEPOINT ",
    "VACUUM",
    "WITH RECURSIVE ",
    "PRAGMA ",
];

/// `store` is where it belongs; `xtask` has to spell it to find it. The database of OpenMRS is
/// another one: its adapter looks ids up in it, and its tests are that database.
const EXEMPT: &[&str] = &[
    "crates/store/",
    "xtask/",
    "crates/node/src/emr/openmrs/binlog",
    "crates/node/tests/openmrs/",
];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    if EXEMPT.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (line, literal) in take_apart(&file.text).literals {
        let text = literal.split_whitespace().collect::<Vec<_>>().join(" ");
        if STATEMENTS.iter().any(|statement| text.starts_with(statement)) {
            findings.push(Finding::new(&file.path, line, "SQL outside crates/store"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_statement_outside_store_is_found_with_its_line() {
        let text = "fn f() {\n    run(\"\n  SELECT\n  1\");\n}";
        let found = check(&a_file("crates/node/src/a.rs", text));
        assert_eq!(found, [Finding::new("crates/node/src/a.rs", 2, "SQL outside crates/store")]);
        assert_eq!(check(&a_file("crates/store/src/a.rs", text)), []);
    }

    #[test]
    fn words_that_only_begin_like_statements_pass() {
        let text =
            "// \"SELECT 1\"\nlet a = [\"UPDATED\", \"DELETE\", \"SELECTED\", \"Update it\"];";
        assert_eq!(check(&a_file("crates/node/src/a.rs", text)), []);
    }
}
