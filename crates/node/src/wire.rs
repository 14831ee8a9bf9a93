//! What bodies look like between sites: content codings, both ways, streaming and bounded.
//!
//! `dcz` is zstd with the dictionary that ships with the program (names from RFC 9842): the peer
//! says with `Available-Dictionary` that it has it, and every `dcz` body names it again by its
//! hash, so that two versions of the program can never misread each other.

use std::cell::RefCell;
use std::io::Write as _;
use std::sync::OnceLock;

use base64::Engine as _;
use bytes::Bytes;
use protocol::Refusal;
use sha2::{Digest as _, Sha256};
use store::dictionary;
use zstd::bulk::Compressor;
use zstd::dict::{DecoderDictionary, EncoderDictionary};
use zstd::stream::raw::{CParameter, InBuffer, Operation as _, OutBuffer};

/// Header by which a reader says which dictionary it has.
pub const AVAILABLE_DICTIONARY: &str = "available-dictionary";

/// How hard streams are compressed: the link is slow and the processor waits for it.
const STREAM_LEVEL: i32 = 9;
/// How hard an answer is compressed that is known to be small: with the dictionary, harder than
/// this takes several times as long and saves nothing.
const SMALL_LEVEL: i32 = 15;
/// Text that is small enough for `SMALL_LEVEL` (some 10 ms of work).
const SMALL_TEXT: usize = 128 << 10;
/// The dictionary, made ready once: to index it anew for each answer takes longer than a short
/// answer does, many times over.
static PREPARED_STREAM: OnceLock<EncoderDictionary<'static>> = OnceLock::new();
static PREPARED_SMALL: OnceLock<EncoderDictionary<'static>> = OnceLock::new();
static PREPARED_DECODER: OnceLock<DecoderDictionary<'static>> = OnceLock::new();
/// Text after which what was compressed is flushed, so that a cut link loses little.
pub const FLUSH_TEXT: usize = 64 << 10;
/// The magic number of a `dcz` body: a skippable frame of 32 bytes, which hold the hash.
const DCZ_MAGIC: [u8; 8] = [0x5e, 0x2a, 0x4d, 0x18, 0x20, 0, 0, 0];

/// A content coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// zstd with our dictionary.
    Dcz,
    /// zstd.
    Zstd,
    /// gzip.
    Gzip,
    /// As it is.
    Identity,
}

impl Coding {
    /// The name in `Content-Encoding`; `None` for `Identity`.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Coding::Dcz => Some("dcz"),
            Coding::Zstd => Some("zstd"),
            Coding::Gzip => Some("gzip"),
            Coding::Identity => None,
        }
    }
    /// From `Content-Encoding`; `None` for one that this program does not know.
    pub fn of_header(value: Option<&str>) -> Option<Coding> {
        match value.map(str::trim) {
            None | Some("" | "identity") => Some(Coding::Identity),
            Some("dcz") => Some(Coding::Dcz),
            Some("zstd") => Some(Coding::Zstd),
            Some("gzip" | "x-gzip") => Some(Coding::Gzip),
            Some(_) => None,
        }
    }
    /// The best coding that a reader accepts. `dictionary` is its `Available-Dictionary`.
    pub fn negotiate(accept: Option<&str>, dictionary: Option<&str>) -> Coding {
        let accept = accept.unwrap_or("");
        let accepts = |name: &str| {
            accept.split(',').any(|item| {
                let (coding, weight) = item.split_once(';').unwrap_or((item, ""));
                coding.trim() == name && weight.replace(' ', "") != "q=0"
            })
        };
        if accepts("dcz") && dictionary.is_some_and(|named| named.trim() == dictionary_name()) {
            Coding::Dcz
        } else if accepts("zstd") {
            Coding::Zstd
        } else if accepts("gzip") {
            Coding::Gzip
        } else {
            Coding::Identity
        }
    }
}

/// The hash of our dictionary, as `Available-Dictionary` writes it.
pub fn dictionary_name() -> String {
    format!(":{}:", base64::engine::general_purpose::STANDARD.encode(dictionary_hash()))
}

fn dictionary_hash() -> [u8; 32] {
    static HASH: OnceLock<[u8; 32]> = OnceLock::new();
    *HASH.get_or_init(|| Sha256::digest(dictionary::V1).into())
}

fn dcz_head() -> Vec<u8> {
    [&DCZ_MAGIC[..], &dictionary_hash()].concat()
}

/// Compresses a stream of text and counts both sides.
pub struct Encoder {
    inner: Inner,
    since_flush: usize,
    /// Bytes before compression.
    pub raw: u64,
}

enum Inner {
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Plain(Vec<u8>),
}

impl Encoder {
    /// `text` is how many bytes are to come, where that is known.
    pub fn new(coding: Coding, text: Option<usize>) -> std::io::Result<Encoder> {
        let small = text.is_some_and(|bytes| bytes <= SMALL_TEXT);
        let level = if small { SMALL_LEVEL } else { STREAM_LEVEL };
        let inner = match coding {
            Coding::Dcz => {
                let prepared = if small { &PREPARED_SMALL } else { &PREPARED_STREAM };
                let encoder = zstd::stream::write::Encoder::with_prepared_dictionary(
                    dcz_head(),
                    prepared.get_or_init(|| EncoderDictionary::copy(dictionary::V1, level)),
                )?;
                Inner::Zstd(Box::new(checked(encoder)?))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), level)?;
                // Else it makes ready (and clears) tables for megabytes, for a body of a few bytes.
                encoder.set_pledged_src_size(text.map(|bytes| bytes as u64))?;
                encoder.include_contentsize(false)?;
                Inner::Zstd(Box::new(checked(encoder)?))
            }
            Coding::Gzip => {
                let level = flate2::Compression::default();
                Inner::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Identity => Inner::Plain(Vec::new()),
        };
        Ok(Encoder { inner, since_flush: 0, raw: 0 })
    }

    /// Takes text that ends with a line, and flushes now and then.
    pub fn write(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.raw += text.len() as u64;
        self.since_flush += text.len();
        match &mut self.inner {
            Inner::Zstd(encoder) => encoder.write_all(text)?,
            Inner::Gzip(encoder) => encoder.write_all(text)?,
            Inner::Plain(out) => out.extend_from_slice(text),
        }
        if self.since_flush >= FLUSH_TEXT { self.flush() } else { Ok(()) }
    }

    /// Makes everything that was written readable for the other side.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.since_flush = 0;
        match &mut self.inner {
            Inner::Zstd(encoder) => encoder.flush(),
            Inner::Gzip(encoder) => encoder.flush(),
            Inner::Plain(_) => Ok(()),
        }
    }

    /// The compressed bytes that are ready.
    pub fn take(&mut self) -> Bytes {
        let out = match &mut self.inner {
            Inner::Zstd(encoder) => encoder.get_mut(),
            Inner::Gzip(encoder) => encoder.get_mut(),
            Inner::Plain(out) => out,
        };
        Bytes::from(std::mem::take(out))
    }

    /// Ends the stream; gives the last bytes.
    pub fn finish(self) -> std::io::Result<Bytes> {
        Ok(Bytes::from(match self.inner {
            Inner::Zstd(encoder) => encoder.finish()?,
            Inner::Gzip(encoder) => encoder.finish()?,
            Inner::Plain(out) => out,
        }))
    }
}

fn checked(
    mut encoder: zstd::stream::write::Encoder<'static, Vec<u8>>,
) -> std::io::Result<zstd::stream::write::Encoder<'static, Vec<u8>>> {
    encoder.include_checksum(true)?;
    // A `dcz` body names its dictionary by its hash already.
    encoder.include_dictid(false)?;
    Ok(encoder)
}

thread_local! {
    // What it needs is slow to make and to clear; the dictionary behind it is shared.
    static SMALL: RefCell<Option<Compressor<'static>>> = const { RefCell::new(None) };
}

/// Compresses one body whole.
pub fn encode(coding: Coding, text: &[u8]) -> std::io::Result<Bytes> {
    if coding == Coding::Dcz && text.len() <= SMALL_TEXT {
        return encode_small(text);
    }
    let mut encoder = Encoder::new(coding, Some(text.len()))?;
    encoder.write(text)?;
    encoder.finish()
}

/// As a stream of `dcz` whose text is all there.
fn encode_small(text: &[u8]) -> std::io::Result<Bytes> {
    SMALL.with_borrow_mut(|slot| {
        let compressor = match slot {
            Some(compressor) => compressor,
            None => slot.insert(small_compressor()?),
        };
        let mut out = dcz_head();
        out.extend_from_slice(&compressor.compress(text)?);
        Ok(Bytes::from(out))
    })
}

fn small_compressor() -> std::io::Result<Compressor<'static>> {
    let prepared =
        PREPARED_SMALL.get_or_init(|| EncoderDictionary::copy(dictionary::V1, SMALL_LEVEL));
    let mut compressor = Compressor::with_prepared_dictionary(prepared)?;
    compressor.set_parameter(CParameter::ChecksumFlag(true))?;
    compressor.set_parameter(CParameter::DictIdFlag(false))?;
    // The length of the body is known without it.
    compressor.set_parameter(CParameter::ContentSizeFlag(false))?;
    Ok(compressor)
}

/// Inflates a stream, in any portions, up to a limit.
pub struct Decoder {
    inner: Inflate,
    limit: u64,
    limit_name: &'static str,
    /// Bytes after inflation.
    pub raw: u64,
}

enum Inflate {
    /// A `dcz` body whose first 40 bytes have not all come.
    Head(Vec<u8>),
    Zstd(ZstdInflate),
    Gzip(Box<flate2::write::MultiGzDecoder<Vec<u8>>>),
    Plain,
}

impl Decoder {
    /// `limit_name` is the setting that `limit` comes from.
    pub fn new(coding: Coding, limit: u64, limit_name: &'static str) -> Result<Decoder, Refusal> {
        let inner = match coding {
            Coding::Dcz => Inflate::Head(Vec::new()),
            Coding::Zstd => Inflate::Zstd(ZstdInflate::new(zstd::stream::raw::Decoder::new())?),
            Coding::Gzip => Inflate::Gzip(Box::new(flate2::write::MultiGzDecoder::new(Vec::new()))),
            Coding::Identity => Inflate::Plain,
        };
        Ok(Decoder { inner, limit, limit_name, raw: 0 })
    }

    /// Takes compressed bytes and gives what they come to.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::new();
        // In small portions, so that a bomb is noticed before it has filled the memory.
        for portion in bytes.chunks(4 << 10) {
            let before = text.len();
            let room = self.limit.saturating_sub(self.raw);
            self.inflate(portion, &mut text, room)?;
            self.raw += (text.len() - before) as u64;
            if self.raw > self.limit {
                return Err(Refusal::over_limit(self.limit_name, self.limit));
            }
        }
        Ok(text)
    }

    fn inflate(&mut self, portion: &[u8], text: &mut Vec<u8>, room: u64) -> Result<(), Refusal> {
        match &mut self.inner {
            Inflate::Head(head) => {
                head.extend_from_slice(portion);
                if head.len() < DCZ_MAGIC.len() + 32 {
                    return Ok(());
                }
                let rest = head.split_off(DCZ_MAGIC.len() + 32);
                let (magic, hash) = head.split_at(DCZ_MAGIC.len());
                if magic != DCZ_MAGIC || hash != dictionary_hash() {
                    return Err(Refusal::unknown(
                        "the body is compressed with a dictionary that this site does not have",
                    ));
                }
                let prepared =
                    PREPARED_DECODER.get_or_init(|| DecoderDictionary::copy(dictionary::V1));
                let decoder = zstd::stream::raw::Decoder::with_prepared_dictionary(prepared);
                self.inner = Inflate::Zstd(ZstdInflate::new(decoder)?);
                self.inflate(&rest, text, room)
            }
            Inflate::Zstd(decoder) => decoder.inflate(portion, text, room),
            Inflate::Gzip(decoder) => {
                decoder.write_all(portion).map_err(broken)?;
                // The decoder keeps the text of its last step back until it is told to flush.
                decoder.flush().map_err(broken)?;
                text.append(decoder.get_mut());
                Ok(())
            }
            Inflate::Plain => {
                text.extend_from_slice(portion);
                Ok(())
            }
        }
    }

    /// To be called when the body has ended: gives the rest, and refuses one that was cut short.
    pub fn finish(mut self) -> Result<Vec<u8>, Refusal> {
        let cut = || Refusal::malformed("the compressed body is cut short");
        match &mut self.inner {
            Inflate::Head(head) if !head.is_empty() => Err(cut()),
            Inflate::Zstd(decoder) if !decoder.whole => Err(cut()),
            Inflate::Gzip(decoder) => {
                decoder.try_finish().map_err(|_| cut())?;
                let rest = std::mem::take(decoder.get_mut());
                if self.raw + rest.len() as u64 > self.limit {
                    return Err(Refusal::over_limit(self.limit_name, self.limit));
                }
                Ok(rest)
            }
            Inflate::Head(_) | Inflate::Zstd(_) | Inflate::Plain => Ok(Vec::new()),
        }
    }
}

fn broken<E>(_: E) -> Refusal {
    Refusal::malformed("the compressed body cannot be inflated")
}

/// A zstd decoder that knows whether its last frame has ended.
struct ZstdInflate {
    decoder: zstd::stream::raw::Decoder<'static>,
    whole: bool,
}

impl ZstdInflate {
    fn new(
        decoder: std::io::Result<zstd::stream::raw::Decoder<'static>>,
    ) -> Result<ZstdInflate, Refusal> {
        let mut decoder = decoder.map_err(broken)?;
        // At most 8 MiB of memory for the window, whatever the body's head asks for.
        decoder.set_parameter(zstd::stream::raw::DParameter::WindowLogMax(23)).map_err(broken)?;
        Ok(ZstdInflate { decoder, whole: true })
    }

    /// Stops early, with more than `room` bytes in `text`, where the limit is passed.
    fn inflate(&mut self, bytes: &[u8], text: &mut Vec<u8>, room: u64) -> Result<(), Refusal> {
        let mut portion = vec![0; 32 << 10];
        let mut input = InBuffer::around(bytes);
        let start = text.len();
        loop {
            let mut output = OutBuffer::around(&mut portion[..]);
            let hint = self.decoder.run(&mut input, &mut output).map_err(broken)?;
            let written = output.pos();
            text.extend_from_slice(&portion[..written]);
            self.whole = hint == 0;
            let over = (text.len() - start) as u64 > room;
            // To go on after the end of a frame would be to wait for another one.
            let all_said = input.pos() == bytes.len() && (self.whole || written < portion.len());
            if over || all_said {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODINGS: [Coding; 4] = [Coding::Dcz, Coding::Zstd, Coding::Gzip, Coding::Identity];

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|n| format!("{{\"line\":{n}}}\n").into_bytes()).collect()
    }

    #[test]
    fn what_is_encoded_is_decoded_in_any_portions() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding, None).unwrap();
            let mut wire = Vec::new();
            for line in text().split_inclusive(|byte| *byte == b'\n') {
                encoder.write(line).unwrap();
                wire.extend_from_slice(&encoder.take());
            }
            wire.extend_from_slice(&encoder.finish().unwrap());
            for size in [1, 7, 4_096, wire.len()] {
                let mut decoder = Decoder::new(coding, 1 << 20, "body_bytes").unwrap();
                let mut back = Vec::new();
                for portion in wire.chunks(size) {
                    back.extend(decoder.push(portion).unwrap());
                }
                back.extend(decoder.finish().unwrap());
                assert!(back == text(), "{coding:?} in portions of {size}");
            }
        }
    }

    #[test]
    fn whole_bodies_of_any_length_come_back() {
        for coding in CODINGS {
            // A decoder fills 32 KiB at a time: what ends there has ended.
            for length in [0, 1, 3_000, 32 << 10, SMALL_TEXT, SMALL_TEXT + 1, 1] {
                let text = &text()[..length];
                let mut decoder = Decoder::new(coding, 1 << 20, "body_bytes").unwrap();
                let mut back = decoder.push(&encode(coding, text).unwrap()).unwrap();
                back.extend(decoder.finish().unwrap());
                assert!(back == text, "{coding:?} of {length} bytes");
            }
        }
    }

    #[test]
    fn what_was_flushed_can_be_read_after_a_cut() {
        for coding in CODINGS {
            let mut encoder = Encoder::new(coding, None).unwrap();
            encoder.write(b"first line\n").unwrap();
            encoder.flush().unwrap();
            let wire = encoder.take();
            let mut decoder = Decoder::new(coding, 1_000, "body_bytes").unwrap();
            assert_eq!(decoder.push(&wire).unwrap(), b"first line\n", "{coding:?}");
            if coding != Coding::Identity {
                assert!(decoder.finish().is_err(), "{coding:?} was cut and nobody noticed");
            }
        }
    }

    #[test]
    fn a_body_that_inflates_without_end_is_refused_at_the_limit() {
        let zeros = vec![b' '; 64 << 20];
        for coding in [Coding::Dcz, Coding::Zstd, Coding::Gzip] {
            let bomb = encode(coding, &zeros).unwrap();
            let mut decoder = Decoder::new(coding, 1 << 20, "body_bytes").unwrap();
            let refusal = bomb.chunks(1_000).find_map(|part| decoder.push(part).err()).unwrap();
            assert_eq!(refusal.to_string(), "it is over the limit body_bytes = 1048576");
            assert!(decoder.raw < 16 << 20, "{coding:?} inflated {} bytes first", decoder.raw);
        }
    }

    #[test]
    fn rubbish_and_foreign_dictionaries_are_refused() {
        for coding in [Coding::Dcz, Coding::Zstd, Coding::Gzip] {
            let mut decoder = Decoder::new(coding, 1_000, "body_bytes").unwrap();
            assert!(decoder.push(&[7; 100]).is_err(), "{coding:?}");
        }
        let mut foreign = encode(Coding::Dcz, b"x").unwrap().to_vec();
        foreign[20] ^= 1;
        let mut decoder = Decoder::new(Coding::Dcz, 1_000, "body_bytes").unwrap();
        assert!(decoder.push(&foreign).unwrap_err().to_string().contains("dictionary"));
    }

    #[test]
    fn the_best_coding_that_both_know_is_taken() {
        let ours = dictionary_name();
        for (accept, dictionary, expected) in [
            (None, None, Coding::Identity),
            (Some("gzip, deflate"), None, Coding::Gzip),
            (Some("gzip, zstd"), None, Coding::Zstd),
            (Some("dcz, zstd"), Some(ours.as_str()), Coding::Dcz),
            (Some("dcz, zstd"), Some(":AAAA:"), Coding::Zstd),
            (Some("zstd;q=0, gzip"), None, Coding::Gzip),
        ] {
            assert_eq!(Coding::negotiate(accept, dictionary), expected, "{accept:?}");
        }
    }
}
