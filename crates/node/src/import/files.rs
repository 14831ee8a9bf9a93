//! Finding files and taking their text apart into documents: JSON, NDJSON, gzip and zstd of these.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};

use protocol::Limits;
use protocol::resource::Record;

/// The most that one JSON document may come to.
const DOCUMENT_BYTES: u64 = 512 << 20;
/// Lines of NDJSON whose records are planned together.
const BATCH_LINES: usize = 500;
/// Folders within folders.
const DEPTH: usize = 32;

/// The files at `path`, sorted, with those that are no FHIR file by their name left out; and what
/// could not be looked at.
pub fn below(path: &Path) -> (Vec<PathBuf>, Vec<(PathBuf, String)>) {
    let (mut files, mut odd) = (Vec::new(), Vec::new());
    if path.is_dir() {
        walk(path, 0, &mut files, &mut odd);
    } else {
        files.push(path.to_owned());
    }
    (files, odd)
}

fn walk(folder: &Path, depth: usize, files: &mut Vec<PathBuf>, odd: &mut Vec<(PathBuf, String)>) {
    if depth > DEPTH {
        odd.push((folder.to_owned(), format!("folders nest deeper than {DEPTH}")));
        return;
    }
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            odd.push((folder.to_owned(), format!("it cannot be read: {error}")));
            return;
        }
    };
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() {
            walk(&path, depth + 1, files, odd);
        } else if is_fhir(&path) {
            files.push(path);
        }
    }
}

/// By its name: `.json`, `.ndjson`, `.jsonl`, and these with `.gz` or `.zst`.
fn is_fhir(path: &Path) -> bool {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase());
    let name = name.unwrap_or_default();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    [".json", ".ndjson", ".jsonl"].iter().any(|ending| plain.ends_with(ending))
}

/// Reads one document (with its line number in an NDJSON file) into records; `None`: it said why
/// not already.
pub type ReadDocument<'a> = &'a mut dyn FnMut(&[u8], Option<u64>) -> Option<Vec<Record>>;
/// Takes the records of a document, or of some lines; `false` stops.
pub type TakeRecords<'a> = &'a mut dyn FnMut(Vec<Record>) -> bool;

/// Reads a file. An error is a sentence about the file as a whole.
pub fn documents(
    path: &Path,
    limits: &Limits,
    read: ReadDocument<'_>,
    take: TakeRecords<'_>,
) -> Result<(), String> {
    let file = File::open(path).map_err(|error| format!("it cannot be opened: {error}"))?;
    let mut reader = BufReader::with_capacity(64 << 10, inflated(file)?);
    let name = path.to_string_lossy().to_lowercase();
    if name.contains(".ndjson") || name.contains(".jsonl") {
        return lines(&mut reader, limits, read, take);
    }
    let mut text = Vec::new();
    reader
        .by_ref()
        .take(DOCUMENT_BYTES + 1)
        .read_to_end(&mut text)
        .map_err(|error| format!("it cannot be read: {error}"))?;
    if text.len() as u64 > DOCUMENT_BYTES {
        return Err(format!("it comes to more than {DOCUMENT_BYTES} bytes; use NDJSON"));
    }
    if let Some(records) = read(&text, None) {
        take(records);
    }
    Ok(())
}

/// What is in the file, inflated by what its first bytes say.
fn inflated(file: File) -> Result<Box<dyn Read>, String> {
    let mut file = BufReader::with_capacity(64 << 10, file);
    let head = file.fill_buf().map_err(|error| format!("it cannot be read: {error}"))?;
    if head.starts_with(&[0x1f, 0x8b]) {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(file)));
    }
    if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
        let decoder = zstd::stream::read::Decoder::with_buffer(file)
            .map_err(|error| format!("it cannot be inflated: {error}"))?;
        return Ok(Box::new(decoder));
    }
    Ok(Box::new(file))
}

fn lines(
    reader: &mut dyn std::io::BufRead,
    limits: &Limits,
    read: ReadDocument<'_>,
    take: TakeRecords<'_>,
) -> Result<(), String> {
    // A line may be a whole Bundle.
    let limit = limits.line_bytes.max(64 << 20) as u64;
    let mut records = Vec::new();
    for number in 1.. {
        let mut line = Vec::new();
        let length = reader
            .take(limit + 1)
            .read_until(b'\n', &mut line)
            .map_err(|error| format!("line {number} cannot be read: {error}"))?;
        if length as u64 > limit {
            return Err(format!("line {number} is longer than {limit} bytes"));
        }
        let text = line.trim_ascii();
        if !text.is_empty()
            && let Some(found) = read(text, Some(number))
        {
            records.extend(found);
        }
        let over = length == 0;
        if (over || records.len() >= BATCH_LINES) && !take(std::mem::take(&mut records)) {
            return Ok(());
        }
        if over {
            return Ok(());
        }
    }
    Ok(())
}
