//! Each failure of earlier systems that this one answers has a test named after its number.
//! The numbers are those of `docs/defects.md`.

use super::rust_text::take_apart;
use super::{File, Finding};

/// First and last of each run of numbers that must have a test.
const NUMBERS: &[(u32, u32)] = &[(1, 14), (16, 44)];

pub(crate) fn check(files: &[File]) -> Vec<Finding> {
    let tested: Vec<u32> =
        files.iter().filter(|file| file.is_rust()).flat_map(|file| tested_in(&file.text)).collect();
    NUMBERS
        .iter()
        .flat_map(|&(first, last)| first..=last)
        .filter(|number| !tested.contains(number))
        .map(|number| {
            let what = format!("defect {number} has no test: no fn defect_{number:02}_...");
            Finding::new("crates", 0, what)
        })
        .collect()
}

/// The numbers that functions of this source are named after.
fn tested_in(source: &str) -> Vec<u32> {
    let code = take_apart(source).code;
    code.split("fn defect_")
        .skip(1)
        .filter_map(|rest| rest.split_once('_'))
        .filter_map(|(number, _)| number.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::a_file;
    use super::*;

    #[test]
    fn a_number_without_a_test_is_found_and_one_with_a_test_is_not() {
        let file = a_file("a.rs", "#[test]\nfn defect_05_capture_survives_a_restart() {}\n");
        let found: Vec<String> = check(&[file]).into_iter().map(|each| each.what).collect();
        assert!(found.iter().any(|what| what.contains("defect_04_")), "{found:?}");
        assert!(!found.iter().any(|what| what.contains("defect_05_")), "{found:?}");
        assert!(!found.iter().any(|what| what.contains("defect_15_")), "{found:?}");
        assert_eq!(found.len(), 42);
    }

    #[test]
    fn a_comment_is_no_test() {
        assert_eq!(tested_in("// fn defect_01_x()"), [0; 0]);
        assert_eq!(tested_in("fn defect_1_x() {} async fn defect_44_y() {}"), [1, 44]);
    }
}
