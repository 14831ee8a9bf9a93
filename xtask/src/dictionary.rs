//! Builds the dictionary that the store and the wire compress with (`store::dictionary`).
//!
//! It is made of two things, and of nobody's data: the records of `demo::generator`, and the
//! skeletons of `xtask/corpus`, which were written by hand. The skeletons stand at the end, where
//! a reference costs fewest bits. What differs from record to record (ids, times) is blanked in
//! the content, for it would only give matches too short to pay, but is filled in in the samples
//! from which zstd learns its entropy tables.
//!
//! The same corpus and generator give the same bytes; `--check` says whether the file is still
//! what they give. A dictionary that was released never changes, whatever they give later: then
//! the file is the truth, and a better one gets the next number.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use node::demo::generator::{World, clinic_names};
use protocol::Timestamp;

/// Bytes of the generator's part.
const GENERATED_BYTES: usize = 16_000;
/// Bytes from which zstd is given room to learn its tables.
const TRAINED_BYTES: usize = 110_000;
/// Bytes that the dictionary may have.
const MOST_BYTES: usize = 112 << 10;
/// Names the dictionary in each frame that was made with it; from the range for private use.
const ID: u32 = 0x5452_4201;
/// The last twelve bytes before a dictionary's content: the first three recent offsets.
const OFFSETS: [u8; 12] = [1, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0, 0];

/// Writes `crates/store/dictionary/v1.zdict`, or compares it.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<ExitCode> {
    let dictionary = build(root)?;
    let path = root.join("crates/store/dictionary/v1.zdict");
    if !check {
        std::fs::write(&path, &dictionary)
            .with_context(|| format!("failed to write {}", path.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    if std::fs::read(&path)? != dictionary {
        bail!("{} is not what xtask/corpus and the generator give", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

fn build(root: &Path) -> anyhow::Result<Vec<u8>> {
    let skeletons = skeletons(&root.join("xtask/corpus"))?;
    let records = generated();
    let wrapped: Vec<String> =
        records.iter().map(|record| format!("{{\"resource\":{}}},", blanked(record))).collect();
    let trained = zstd::dict::from_samples(&wrapped, GENERATED_BYTES)?;
    let mut content = split(&trained)?.1.to_vec();
    for skeleton in &skeletons {
        content.extend(filled(skeleton, |blank| blank_text(blank).to_owned()).bytes());
    }

    let mut random = Random(1);
    let mut samples = Vec::new();
    let whole = || skeletons.iter().filter(|line| line.starts_with("{\"resource\":{"));
    for _ in 0..12 {
        samples.extend(whole().map(|line| filled(line, |blank| random.text(blank))));
    }
    samples.extend(records);
    let trained = zstd::dict::from_samples(&samples, TRAINED_BYTES)?;
    let mut dictionary = split(&trained)?.0.to_vec();
    dictionary[4..8].copy_from_slice(&ID.to_le_bytes());
    dictionary.extend(content);
    if dictionary.len() > MOST_BYTES {
        bail!("the dictionary has {} bytes, more than {MOST_BYTES}", dictionary.len());
    }
    Ok(dictionary)
}

/// The tables and the content of a dictionary that zstd trained.
fn split(dictionary: &[u8]) -> anyhow::Result<(&[u8], &[u8])> {
    let at = dictionary
        .windows(OFFSETS.len())
        .position(|window| window == OFFSETS)
        .context("a trained dictionary has no recent offsets where they were expected")?;
    Ok(dictionary.split_at(at + OFFSETS.len()))
}

fn generated() -> Vec<String> {
    let clinics = clinic_names(16);
    let world = World::new(1, &clinics, Timestamp::from_millis(1_795_392_000_000));
    let mut records = world.reference_records();
    for number in 0..64 {
        let clinic = (number % 16) as usize;
        records.extend(world.patient(number, clinic).changes.into_iter().flatten());
    }
    records
}

/// The lines of `skeletons.txt`; a line `for LIST ...` once for each row of that list.
fn skeletons(corpus: &Path) -> anyhow::Result<Vec<String>> {
    let codes = std::fs::read_to_string(corpus.join("codes.tsv"))?;
    let mut lists: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for row in codes.lines().filter(|row| !row.starts_with('#')) {
        let mut cells = row.split('\t');
        let list = cells.next().unwrap_or_default();
        let code = cells.next().with_context(|| format!("no code in codes.tsv: {row}"))?;
        lists.entry(list).or_default().push((code, cells.next().unwrap_or(code)));
    }
    let mut lines = Vec::new();
    let text = std::fs::read_to_string(corpus.join("skeletons.txt"))?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((list, template)) =
            line.strip_prefix("for ").and_then(|rest| rest.split_once(' '))
        else {
            lines.push(line.to_owned());
            continue;
        };
        let rows = lists.get(list).with_context(|| format!("codes.tsv has no list {list}"))?;
        for (code, display) in rows {
            lines.push(template.replace("‹code›", code).replace("‹display›", display));
        }
    }
    Ok(lines)
}

/// The skeleton with each `‹blank›` replaced.
fn filled(skeleton: &str, mut value: impl FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(skeleton.len());
    let mut rest = skeleton;
    while let Some((before, after)) = rest.split_once('‹') {
        let (blank, tail) = after.split_once('›').unwrap_or((after, ""));
        out.push_str(before);
        out.push_str(&value(blank));
        rest = tail;
    }
    out + rest
}

/// As long as what it stands for, so that what follows it is found at the same distance.
fn blank_text(blank: &str) -> &'static str {
    match blank {
        "uuid" => "zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz",
        "time" => "20zz-zz-zzTzz:zz:zz+00:00",
        "instant" => "20zz-zz-zzTzz:zz:zz.zzz+00:00",
        "stamp" => "2026-zz-zzTzz:zz:zzZ",
        "date" => "20zz-zz-zz",
        "number" => "1",
        _ => "",
    }
}

/// A generated record with its ids and times blanked; ids of OpenMRS's own metadata stay.
fn blanked(record: &str) -> String {
    let mut out = String::with_capacity(record.len());
    let mut from = 0;
    while from < record.len() {
        let rest = &record[from..];
        if rest.is_char_boundary(36) && is_uuid(&rest[..36]) && !KEPT.contains(&&rest[..36]) {
            out.push_str(blank_text("uuid"));
            from += 36;
        } else if rest.is_char_boundary(19) && is_time(&rest[..19]) {
            out.push_str(&blank_text("time")[..19]);
            from += 19;
        } else {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..next]);
            from += next;
        }
    }
    out
}

/// Types of identifiers, visits and encounters that OpenMRS installations share.
const KEPT: [&str; 7] = [
    "05a29f94-c0ed-11e2-94be-8c13b969e334",
    "8d79403a-c2cc-11de-8d13-0010c6dffd0f",
    "7b0f5697-27e3-40c4-8bae-f4049abfb4ed",
    "67a71486-1a54-468f-ac3e-7091a9a79584",
    "d7151f82-c1f3-4152-a605-2f9ea7414a79",
    "3596fafb-6f6f-4396-8c87-6e63a0f1bd71",
    "29c02aff-9a93-46c9-bf6f-48b552fcb1fa",
];

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

fn is_time(text: &str) -> bool {
    text.len() == 19
        && text.bytes().zip("dddd-dd-ddTdd:dd:dd".bytes()).all(|(byte, shape)| match shape {
            b'd' => byte.is_ascii_digit(),
            other => byte == other,
        })
}

/// SplitMix64: the samples are the same each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    /// What could stand in the place of a blank.
    fn text(&mut self, blank: &str) -> String {
        let shape = match blank {
            "uuid" => "xxxxxxxx-xxxx-4xxx-axxx-xxxxxxxxxxxx",
            "number" => return (self.below(2_000_000) as f64 / 9_973.0).to_string(),
            "digits" => return self.below(1_000_000_000).to_string(),
            _ => blank_text(blank),
        };
        let digit = |random: &mut Random, base: u64| {
            char::from_digit(random.below(base) as u32, base as u32).unwrap_or('0')
        };
        shape
            .chars()
            .map(|place| match place {
                'x' => digit(self, 16),
                'z' => digit(self, 10),
                other => other,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blanks_are_as_long_as_what_they_stand_for() {
        let mut random = Random(7);
        for blank in ["uuid", "time", "instant", "stamp", "date"] {
            assert_eq!(random.text(blank).len(), blank_text(blank).len(), "{blank}");
        }
    }

    #[test]
    fn ids_and_times_are_blanked_and_names_of_openmrs_stay() {
        let record = "{\"id\":\"6fe485c2-77ca-4c60-9e2a-d1d3df65cddf\",\"é\":\
            \"05a29f94-c0ed-11e2-94be-8c13b969e334\",\"at\":\"2026-01-07T03:11:56+03:00\"}";
        let expected = "{\"id\":\"zzzzzzzz-zzzz-zzzz-zzzz-zzzzzzzzzzzz\",\"é\":\
            \"05a29f94-c0ed-11e2-94be-8c13b969e334\",\"at\":\"20zz-zz-zzTzz:zz:zz+03:00\"}";
        assert_eq!(blanked(record), expected);
    }

    #[test]
    fn a_skeleton_is_filled_blank_by_blank() {
        assert_eq!(filled("a‹uuid›b‹date›", |blank| blank.to_uppercase()), "aUUIDbDATE");
    }
}
