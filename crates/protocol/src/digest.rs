//! The canonical form of a record and its digest.
//!
//! Whoever can sort keys can compute it. For a resource without odd strings this is enough:
//!
//! ```text
//! printf '%s' '{"id":"1","resourceType":"Basic"}' | sha256sum
//! ```

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::Refusal;
use crate::id::RecordRef;
use crate::json::{Json, Object, Text};

/// SHA-256 of a record's canonical form.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// The first 8 bytes of a digest: enough to name a version of one record on the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ShortDigest(pub [u8; 8]);

/// What servers write into `meta` themselves: it says nothing of the record.
const SERVERS_OWN: [&str; 2] = ["versionId", "lastUpdated"];

impl Digest {
    /// The digest of a resource: SHA-256 of its canonical form.
    pub fn of(resource: &Json<'_>) -> Digest {
        Digest::of_bytes(canonical(resource).as_bytes())
    }
    /// The digest that stands for "this record is deleted": SHA-256 of `deleted Type/id`.
    pub fn of_deletion(record: &RecordRef) -> Digest {
        Digest::of_bytes(format!("deleted {record}").as_bytes())
    }
    fn of_bytes(bytes: &[u8]) -> Digest {
        Digest(Sha256::digest(bytes).into())
    }
    /// The first 8 bytes.
    pub fn short(&self) -> ShortDigest {
        let mut short = [0; 8];
        short.copy_from_slice(&self.0[..8]);
        ShortDigest(short)
    }
}

/// The canonical form of a resource:
///
/// - object keys sorted by the bytes of their decoded UTF-8, no white space;
/// - numbers byte for byte as written (`1.00` is not `1.0`), arrays in their order;
/// - strings with the fewest escapes: `\"`, `\\`, `\b`, `\t`, `\n`, `\f`, `\r`, and `\u00xx` in
///   lower-case hexadecimal for the other characters below U+0020; everything else as UTF-8;
/// - without `meta.versionId` and `meta.lastUpdated` of the resource itself, and without a
///   `meta` that is empty then. A contained resource keeps its own.
pub fn canonical(resource: &Json<'_>) -> String {
    let mut out = String::new();
    match resource {
        Json::Object(object) => {
            out.reserve(object.raw().map_or(256, str::len));
            write_object(object, true, &mut out);
        }
        other => write_value(other, &mut out),
    }
    out
}

/// The text in which a record's body is stored and sent: compact JSON in its own key order,
/// without what the canonical form leaves out of `meta`. It has the digest of `resource`.
pub fn body(resource: &Object<'_>) -> String {
    let mut out = String::with_capacity(resource.raw().map_or(256, str::len));
    if resource.get("meta").is_none() {
        resource.write(&mut out);
        return out;
    }
    let mut separator = '{';
    for (key, value) in resource.iter() {
        let Some(value) = kept(key, value) else { continue };
        out.push(separator);
        separator = ',';
        key.write(&mut out);
        out.push(':');
        value.write(&mut out);
    }
    out.push_str(if separator == '{' { "{}" } else { "}" });
    out
}

/// The sum of a stream line: the first 8 bytes of the SHA-256 over its records' digests, in order.
pub fn sum(digests: &[Digest]) -> ShortDigest {
    let mut hasher = Sha256::new();
    for digest in digests {
        hasher.update(digest.0);
    }
    Digest(hasher.finalize().into()).short()
}

fn write_value(value: &Json<'_>, out: &mut String) {
    match value {
        Json::String(text) => text.write_canonical(out),
        Json::Array(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_value(item, out);
            }
            out.push(']');
        }
        Json::Object(object) => write_object(object, false, out),
        plain => plain.write(out),
    }
}

/// Up to how many members an object is sorted without a list on the heap.
const FEW_MEMBERS: usize = 16;

fn write_object(object: &Object<'_>, is_resource: bool, out: &mut String) {
    let mut few = [None; FEW_MEMBERS];
    let many;
    let sorted: &mut dyn Iterator<Item = (&Text<'_>, &Json<'_>)> = if object.len() <= FEW_MEMBERS {
        for (slot, member) in few.iter_mut().zip(object.iter()) {
            *slot = Some(member);
        }
        let few = &mut few[..object.len()];
        few.sort_unstable_by(|a, b| match (a, b) {
            (Some(a), Some(b)) => a.0.cmp_decoded(b.0),
            _ => a.is_some().cmp(&b.is_some()),
        });
        &mut few.iter().copied().flatten()
    } else {
        many = object.sorted();
        &mut many.into_iter()
    };
    let mut separator = '{';
    for (key, value) in sorted {
        let kept = if is_resource { kept(key, value) } else { Some(Cow::Borrowed(value)) };
        let Some(value) = kept else { continue };
        out.push(separator);
        separator = ',';
        key.write_canonical(out);
        out.push(':');
        write_value(&value, out);
    }
    out.push_str(if separator == '{' { "{}" } else { "}" });
}

/// A member of a resource without what servers write into `meta`; `None` for a `meta` that has
/// nothing else.
fn kept<'t, 'a>(key: &Text<'a>, value: &'t Json<'a>) -> Option<Cow<'t, Json<'a>>> {
    if key != "meta" {
        return Some(Cow::Borrowed(value));
    }
    let trimmed = trimmed_meta(value).map_or(Cow::Borrowed(value), Cow::Owned);
    let is_empty = trimmed.as_object().is_some_and(Object::is_empty);
    (!is_empty).then_some(trimmed)
}

/// A `meta` without what servers write into it; `None` where there is nothing to take out.
fn trimmed_meta<'a>(meta: &Json<'a>) -> Option<Json<'a>> {
    let meta = meta.as_object()?;
    if SERVERS_OWN.iter().all(|key| meta.get(key).is_none()) {
        return None;
    }
    let mut meta = meta.clone();
    for key in SERVERS_OWN {
        meta.remove(key);
    }
    Some(Json::Object(meta))
}

impl fmt::Display for ShortDigest {
    /// 11 characters of unpadded base64url.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl FromStr for ShortDigest {
    type Err = Refusal;
    fn from_str(text: &str) -> Result<Self, Refusal> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
        bytes.map(ShortDigest).ok_or_else(|| {
            Refusal::malformed("a short digest is not 8 bytes in 11 characters of base64url")
        })
    }
}

impl fmt::Display for Digest {
    /// 64 hexadecimal digits, as `sha256sum` shows them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.short(), f)
    }
}
