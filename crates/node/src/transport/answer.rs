//! The whole body of an answer that is not a stream of lines, within bounds.

use axum::http::header;
use futures::StreamExt as _;
use protocol::error::RefusalKind;

use crate::ports::{LinkError, Response};
use crate::wire::{Coding, Decoder};

/// The most that such an answer may come to.
pub const ANSWER_BYTES: u64 = 8 << 20;

/// A decoder for an answer's body, up to `limit` bytes after inflation.
pub fn decoder(response: &Response, limit: u64) -> Result<Decoder, LinkError> {
    let coding = response.headers.get(header::CONTENT_ENCODING).and_then(|v| v.to_str().ok());
    let coding = Coding::of_header(coding)
        .ok_or_else(|| LinkError("its answer has an unknown coding".to_owned()))?;
    Decoder::new(coding, limit, "stream_bytes").map_err(|refusal| LinkError(refusal.reason))
}

/// The whole body, inflated, of at most `limit` bytes.
pub async fn text(response: Response, limit: u64) -> Result<Vec<u8>, LinkError> {
    let text = text_within(response, limit).await?;
    text.ok_or_else(|| LinkError(format!("its answer is longer than {limit} bytes")))
}

/// Likewise; `None` where it is longer than `limit`.
pub async fn text_within(mut response: Response, limit: u64) -> Result<Option<Vec<u8>>, LinkError> {
    let mut decoder = decoder(&response, limit)?;
    let mut text = Vec::new();
    while let Some(bytes) = response.body.next().await {
        match decoder.push(&bytes?) {
            Ok(part) => text.extend(part),
            Err(refusal) if refusal.kind == RefusalKind::OverLimit => return Ok(None),
            Err(refusal) => {
                return Err(LinkError(format!("its answer cannot be read: {refusal}")));
            }
        }
    }
    text.extend(decoder.finish().map_err(|refusal| LinkError(refusal.reason))?);
    Ok(Some(text))
}
