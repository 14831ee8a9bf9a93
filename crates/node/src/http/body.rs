//! Reading the body of a request: its length, its time and what it inflates to are bounded, and
//! each way in which it can be bad gets words of its own.

use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::future::{Either, select};

use crate::http::error::Failure;
use crate::site::Site;

/// The whole body, inflated. At most `limit` bytes come in and at most `limit` come out, within
/// `request_seconds` of the site's settings.
pub async fn read(
    site: &Site,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, Failure> {
    read_named(site, headers, body, "body_bytes", limit).await
}

/// The same under a limit of another name.
pub async fn read_named(
    site: &Site,
    headers: &HeaderMap,
    body: Body,
    name: &'static str,
    limit: usize,
) -> Result<Bytes, Failure> {
    let limit = Limit { name, bytes: limit };
    let encoding = Encoding::of(headers)?;
    if declared_length(headers)?.is_some_and(|length| length > limit.bytes as u64) {
        return Err(too_long("the body", limit));
    }
    let seconds = site.config().limits.request_seconds;
    let late = site.clock().sleep(seconds.saturating_mul(1_000));
    let sent = match select(Box::pin(collect(body, limit)), late).await {
        Either::Left((sent, _)) => sent?,
        Either::Right(_) => {
            return Err(Failure::new(
                StatusCode::REQUEST_TIMEOUT,
                "timeout",
                format!("the body did not arrive within request_seconds = {seconds}"),
            ));
        }
    };
    match encoding {
        Encoding::Identity => Ok(sent),
        Encoding::Gzip => inflate(flate2::read::MultiGzDecoder::new(&sent[..]), "gzip", limit),
        Encoding::Zstd => {
            let reader = zstd::stream::read::Decoder::new(&sent[..])
                .map_err(|_| broken("zstd", "it does not begin as zstd does"))?;
            inflate(reader, "zstd", limit)
        }
    }
}

/// How long a body may be, and what that limit is called.
#[derive(Debug, Clone, Copy)]
struct Limit {
    name: &'static str,
    bytes: usize,
}

async fn collect(body: Body, limit: Limit) -> Result<Bytes, Failure> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.map_err(|_| {
            Failure::bad_request("the body broke off before it was whole; send it again")
        })?;
        if whole.len() + chunk.len() > limit.bytes {
            return Err(too_long("the body", limit));
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.freeze())
}

/// Reads at most one byte more than may come out, so that a bomb costs no more than `limit`.
fn inflate(reader: impl Read, name: &str, limit: Limit) -> Result<Bytes, Failure> {
    let mut whole = Vec::new();
    let read = reader.take(limit.bytes as u64 + 1).read_to_end(&mut whole);
    if whole.len() > limit.bytes {
        return Err(too_long("the inflated body", limit));
    }
    match read {
        Ok(_) => Ok(whole.into()),
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            Err(broken(name, "it ends too early"))
        }
        Err(_) => Err(broken(name, "it is damaged")),
    }
}

enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Encoding, Failure> {
        let Some(value) = headers.get(header::CONTENT_ENCODING) else {
            return Ok(Encoding::Identity);
        };
        match value.to_str().map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Ok("" | "identity") => Ok(Encoding::Identity),
            Ok("gzip" | "x-gzip") => Ok(Encoding::Gzip),
            Ok("zstd") => Ok(Encoding::Zstd),
            _ => Err(Failure::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not-supported",
                "the Content-Encoding is none of gzip, zstd and identity",
            )),
        }
    }
}

fn declared_length(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(value) = headers.get(header::CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Failure::bad_request("the Content-Length is not a number"))
}

fn too_long(what: &str, Limit { name, bytes }: Limit) -> Failure {
    Failure::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-long",
        format!("{what} is over the limit {name} = {bytes}"),
    )
}

fn broken(name: &str, how: &str) -> Failure {
    Failure::new(
        StatusCode::BAD_REQUEST,
        "structure",
        format!("the body is said to be {name}, but {how}"),
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        writer.write_all(bytes).unwrap();
        writer.finish().unwrap()
    }

    fn un_gzip(bytes: &[u8], limit: usize) -> Result<Bytes, Failure> {
        let limit = Limit { name: "body_bytes", bytes: limit };
        inflate(flate2::read::MultiGzDecoder::new(bytes), "gzip", limit)
    }

    fn un_zstd(bytes: &[u8], limit: usize) -> Result<Bytes, Failure> {
        let limit = Limit { name: "body_bytes", bytes: limit };
        inflate(zstd::stream::read::Decoder::new(bytes).unwrap(), "zstd", limit)
    }

    #[test]
    fn a_body_that_inflates_without_end_costs_no_more_than_the_limit() {
        let zeros = vec![0; 10 << 20];
        for refused in [
            un_gzip(&gzip(&zeros), 1 << 20),
            un_zstd(&zstd::encode_all(&zeros[..], 3).unwrap(), 1 << 20),
        ] {
            let failure = refused.unwrap_err();
            assert_eq!(failure.status, StatusCode::PAYLOAD_TOO_LARGE);
            assert!(failure.detail.contains("body_bytes = 1048576"), "{}", failure.detail);
        }
    }

    #[test]
    fn a_compressed_body_that_was_cut_or_damaged_is_refused() {
        let text = b"{\"resourceType\":\"Patient\"}".repeat(100);
        let (gzip, zstd) = (gzip(&text), zstd::encode_all(&text[..], 3).unwrap());
        assert_eq!(un_gzip(&gzip, 1 << 20).unwrap(), text);
        assert_eq!(un_zstd(&zstd, 1 << 20).unwrap(), text);
        for cut in [
            un_gzip(&gzip[..gzip.len() - 5], 1 << 20),
            un_gzip(&gzip[..gzip.len() / 2], 1 << 20),
            un_zstd(&zstd[..zstd.len() / 2], 1 << 20),
        ] {
            let failure = cut.unwrap_err();
            assert_eq!(failure.status, StatusCode::BAD_REQUEST);
            assert!(failure.detail.contains("ends too early"), "{}", failure.detail);
        }
        assert!(un_gzip(&text, 1 << 20).unwrap_err().detail.contains("gzip"));
    }
}
