//! Bodies as they lie in the store: zstd level 3 with the dictionary that ships with the program.
//!
//! The first byte names the dictionary, so that a later one can be added and old bodies read for
//! ever. Compressing needs no connection: it is done before the writer's turn.

use std::cell::RefCell;
use std::sync::LazyLock;

use zstd::bulk::{Compressor, Decompressor};
use zstd::dict::{DecoderDictionary, EncoderDictionary};

use crate::dictionary::V1 as DICTIONARY;
use crate::{Result, StoreError};

const LEVEL: i32 = 3;
/// The first byte of a body that was compressed with the first dictionary.
const FIRST: u8 = 1;
/// No body that this program takes is longer; a frame that claims more is damaged.
const LONGEST: u64 = 1 << 30;

static ENCODER: LazyLock<EncoderDictionary<'static>> =
    LazyLock::new(|| EncoderDictionary::copy(DICTIONARY, LEVEL));
static DECODER: LazyLock<DecoderDictionary<'static>> =
    LazyLock::new(|| DecoderDictionary::copy(DICTIONARY));

thread_local! {
    // A context is a megabyte and slow to make; the dictionary behind it is shared.
    static COMPRESSOR: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
}

fn failed(source: std::io::Error) -> StoreError {
    StoreError::Database { step: "compress a body", source: Box::new(source) }
}

/// Compresses a body.
pub(super) fn encode(text: &str) -> Result<Vec<u8>> {
    encode_bytes(text.as_bytes())
}

/// The body that `encode` was given.
pub(super) fn decode(bytes: &[u8]) -> Result<String> {
    String::from_utf8(decode_bytes(bytes)?).map_err(|_| damaged())
}

fn damaged() -> StoreError {
    StoreError::Damaged("a record's body cannot be read".to_owned())
}

/// As `encode`, of what may be no text.
pub(super) fn encode_bytes(bytes: &[u8]) -> Result<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => {
                let fresh = Compressor::with_prepared_dictionary(&ENCODER).map_err(failed)?;
                slot.insert(fresh)
            }
        };
        let mut out = vec![FIRST];
        out.extend_from_slice(&compressor.compress(bytes).map_err(failed)?);
        Ok(out)
    })
}

/// The bytes that `encode_bytes` was given.
pub(super) fn decode_bytes(bytes: &[u8]) -> Result<Vec<u8>> {
    let Some((&FIRST, frame)) = bytes.split_first() else { return Err(damaged()) };
    let size = zstd::zstd_safe::get_frame_content_size(frame).ok().flatten();
    let size = size.filter(|size| *size <= LONGEST).ok_or_else(damaged)?;
    let size = usize::try_from(size).map_err(|_| damaged())?;
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => {
                let fresh = Decompressor::with_prepared_dictionary(&DECODER).map_err(failed)?;
                slot.insert(fresh)
            }
        };
        decompressor.decompress(frame, size).map_err(|_| damaged())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_comes_out_as_it_went_in() {
        for text in ["{}", r#"{"resourceType":"Patient","id":"a","x":1.00,"é":"\u00e9"}"#] {
            assert_eq!(decode(&encode(text).unwrap()).unwrap(), text);
        }
    }

    #[test]
    fn a_damaged_body_is_named_as_damage() {
        let mut bytes = encode(&"abc ".repeat(100)).unwrap();
        bytes.truncate(bytes.len() / 2);
        assert!(matches!(decode(&bytes), Err(StoreError::Damaged(_))));
        assert!(matches!(decode(&[]), Err(StoreError::Damaged(_))));
        assert!(matches!(decode(&[9, 9]), Err(StoreError::Damaged(_))));
    }
}
