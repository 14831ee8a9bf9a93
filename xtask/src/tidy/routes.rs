//! A route is added together with what it is for: by `Api` and by nothing else.

use super::rust_text::take_apart;
use super::{File, Finding};

/// The program's code.
const FOLDER: &str = "crates/node/src/";
/// Where routes are made of what is described, and a server that is no site's: what a measurement
/// sends to.
const EXEMPT: &[&str] = &["crates/node/src/http/api.rs", "crates/node/src/bench/foreign.rs"];
/// What it takes to make a route.
const MAKERS: &[&str] = &["axum::routing", "Router::new()"];

pub(crate) fn check(file: &File) -> Vec<Finding> {
    if !file.path.starts_with(FOLDER) || EXEMPT.contains(&file.path.as_str()) {
        return Vec::new();
    }
    let code = take_apart(&file.text).code;
    // Tests stand at the end of a file.
    let lines = code.lines().take_while(|line| !line.starts_with("#[cfg(test)]")).enumerate();
    let made = lines.filter(|(_, line)| MAKERS.iter().any(|maker| line.contains(maker)));
    made.map(|(index, _)| {
        let what = "a route without a description: add it by `Api` in http/api.rs";
        Finding::new(&file.path, index + 1, what)
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        check(&a_file(path, text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_route_that_is_not_described_is_found() {
        let text = "use axum::routing::get;\n// Router::new()\nlet all = Router::new();\n";
        assert_eq!(lines_found("crates/node/src/http/admin.rs", text), [1, 3]);
        assert_eq!(lines_found("crates/node/src/http/api.rs", text), [0; 0]);
        assert_eq!(lines_found("crates/node/tests/sync/world.rs", text), [0; 0]);
    }
}
