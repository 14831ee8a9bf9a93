//! The dependency list of a crate is the architecture: what must not be reached is not listed.

use super::rust_text::take_apart;
use super::{File, Finding};

/// What one crate must not reach.
pub(crate) struct Rule {
    package: &'static str,
    /// How deep to look: `None` is all the way down.
    depth: Option<u32>,
    forbidden: &'static [&'static str],
    why: &'static str,
}

pub(crate) const RULES: &[Rule] = &[
    Rule {
        package: "protocol",
        depth: None,
        forbidden: &["tokio", "rusqlite", "axum", "reqwest", "hyper", "zstd-sys"],
        why: "protocol does no I/O",
    },
    Rule {
        package: "store",
        depth: None,
        forbidden: &["axum", "reqwest", "hyper"],
        why: "store does not talk to other sites",
    },
    Rule {
        package: "node",
        depth: Some(1),
        forbidden: &["rusqlite", "rusqlite_migration"],
        why: "SQL stands only in store",
    },
    Rule {
        package: "sim",
        depth: Some(1),
        forbidden: &["rusqlite", "rusqlite_migration"],
        why: "SQL stands only in store",
    },
];

/// Folders whose code must not name the database's crate, however it might be reached.
const WITHOUT_DATABASE: &[&str] = &["crates/node/", "crates/protocol/", "crates/sim/"];

impl Rule {
    /// The arguments to cargo that list what the crate reaches, one `name version` a line.
    pub(crate) fn tree_arguments(&self) -> Vec<String> {
        let edges = if self.depth.is_some() { "normal,build,dev" } else { "normal,build" };
        let depth = self.depth.unwrap_or(u32::MAX).to_string();
        ["tree", "--locked", "--package", self.package, "--edges", edges, "--depth", &depth]
            .into_iter()
            .chain(["--prefix", "none"])
            .map(str::to_owned)
            .collect()
    }
}

/// Looks for what `rule` forbids in what `cargo tree` printed.
pub(crate) fn check_tree(rule: &Rule, tree: &str) -> Vec<Finding> {
    let manifest = format!("crates/{}/Cargo.toml", rule.package);
    let reached = |name: &str| tree.lines().any(|line| line.split(' ').next() == Some(name));
    rule.forbidden
        .iter()
        .filter(|name| reached(name))
        .map(|name| {
            let what = format!("{} reaches {name}: {}", rule.package, rule.why);
            Finding::new(&manifest, 0, what)
        })
        .collect()
}

/// Looks for the database's crate in the code of crates that must not know it.
pub(crate) fn check_text(file: &File) -> Vec<Finding> {
    if !WITHOUT_DATABASE.iter().any(|folder| file.path.starts_with(folder)) {
        return Vec::new();
    }
    let code = take_apart(&file.text).code;
    code.lines()
        .enumerate()
        .filter(|(_, line)| line.contains("rusqlite"))
        .map(|(index, _)| Finding::new(&file.path, index + 1, "rusqlite outside crates/store"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_forbidden_crate_is_found_by_its_whole_name() {
        let found = check_tree(&RULES[0], "protocol v0.1.0 (/x)\nserde v1.0.1\ntokio v1.2.3 (*)\n");
        let expected = "protocol reaches tokio: protocol does no I/O";
        assert_eq!(found, [Finding::new("crates/protocol/Cargo.toml", 0, expected)]);
        assert_eq!(check_tree(&RULES[0], "tokio-util v0.7.0\nserde v1.0.1 (tokio)\n"), []);
    }

    #[test]
    fn the_database_is_named_in_store_only() {
        let text = "// not rusqlite\nuse rusqlite::Connection;\n";
        let expected = Finding::new("crates/node/src/a.rs", 2, "rusqlite outside crates/store");
        assert_eq!(check_text(&a_file("crates/node/src/a.rs", text)), [expected]);
        assert_eq!(check_text(&a_file("crates/store/src/a.rs", text)), []);
    }
}
