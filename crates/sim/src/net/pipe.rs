//! Bodies on their way: as slow as the link is, cut at any byte, given up after a silence.

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use node::ports::LinkError;
use tokio::sync::{mpsc, oneshot};

use super::fate::Fate;
use super::{Piece, Portion};
use crate::time::WorldTime;

/// Bytes that travel together.
const PACKET: usize = 1_400;

/// Milliseconds that so many bytes take.
fn millis(bytes: usize, rate: u64) -> u64 {
    (bytes as u64 * 1_000).checked_div(rate).unwrap_or(0)
}

/// Cuts `bytes` where the link ends; `true` where it does.
fn up_to(bytes: &mut Bytes, left: &mut Option<u64>) -> bool {
    let Some(left) = left else { return false };
    let length = bytes.len() as u64;
    if length <= *left {
        *left -= length;
        return false;
    }
    bytes.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
    *left = 0;
    true
}

/// The body of a request as it arrives.
pub(super) fn outgoing(body: Bytes, time: WorldTime, fate: &Fate) -> Body {
    if fate.cut_up.is_none() && fate.rate == 0 {
        return Body::from(body);
    }
    let state = (body, fate.cut_up, fate.rate, time, false);
    let portions = stream::unfold(state, |(mut body, mut left, rate, time, over)| async move {
        if over || body.is_empty() {
            return None;
        }
        let mut packet = body.split_to(body.len().min(PACKET));
        let ends = up_to(&mut packet, &mut left);
        if rate > 0 {
            time.sleep(millis(packet.len(), rate)).await;
        }
        let cut = std::io::Error::other("the link was cut");
        let item = if ends && packet.is_empty() { Err(cut) } else { Ok(packet) };
        // What was cut ends with an error once its last bytes have come.
        let over = item.is_err();
        let body = if ends && !over { Bytes::from_static(b"x") } else { body };
        Some((item, (body, left, rate, time, over)))
    });
    Body::from_stream(portions)
}

struct Incoming {
    body: mpsc::Receiver<Piece>,
    time: WorldTime,
    idle: u64,
    fate: Fate,
    /// Goes with the reader: the other side notices some time.
    _alive: oneshot::Sender<()>,
    over: bool,
}

/// The body of an answer as it arrives.
pub(super) fn incoming(
    body: mpsc::Receiver<Piece>,
    time: WorldTime,
    idle: u64,
    fate: Fate,
    alive: oneshot::Sender<()>,
) -> BoxStream<'static, Portion> {
    let state = Incoming { body, time, idle, fate, _alive: alive, over: false };
    stream::unfold(state, |mut state| async move {
        if state.over {
            return None;
        }
        let portion = state.portion().await?;
        state.over = portion.is_err();
        Some((portion, state))
    })
    .boxed()
}

impl Incoming {
    async fn portion(&mut self) -> Option<Portion> {
        let cut = LinkError("the link was cut: the answer ended".to_owned());
        if self.fate.cut_down == Some(0) {
            return Some(Err(cut));
        }
        let next = tokio::select! {
            biased;
            next = self.body.recv() => match next {
                Some(Some(next)) => next,
                Some(None) => return None,
                None => return Some(Err(cut)),
            },
            () = self.time.sleep(self.idle) => {
                let silent = format!("no byte came for {} s", self.idle / 1_000);
                return Some(Err(LinkError(silent)));
            }
        };
        let Ok(mut bytes) = next else { return Some(next) };
        if up_to(&mut bytes, &mut self.fate.cut_down) && bytes.is_empty() {
            return Some(Err(cut));
        }
        let pause = self.fate.delay + millis(bytes.len(), self.fate.rate);
        self.fate.delay = 0;
        if pause > 0 {
            self.time.sleep(pause).await;
        }
        Some(Ok(bytes))
    }
}

/// Ends when the other side has gone and that was noticed, some polls later.
pub(super) async fn noticed(gone: oneshot::Receiver<()>, polls: u64) {
    // Nothing is ever sent: the sender goes.
    let _ = gone.await;
    for _ in 0..polls {
        tokio::task::yield_now().await;
    }
}
