//! A link that can be cut: at once, or after so many bytes have come.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures::StreamExt as _;
use futures::future::BoxFuture;

use crate::ports::{LinkError, Request, Response, Transport};

/// The state of a link; shared by everybody who uses or cuts it.
#[derive(Debug)]
pub struct Switch {
    up: AtomicBool,
    /// Bytes that may still come before the link breaks; negative: any number.
    left: AtomicI64,
}

impl Switch {
    /// A link that works.
    pub fn up() -> Arc<Switch> {
        Arc::new(Switch { up: AtomicBool::new(true), left: AtomicI64::new(-1) })
    }
    /// Cuts or restores the link.
    pub fn set(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
        self.left.store(-1, Ordering::SeqCst);
    }
    /// Lets so many bytes of answers through, then cuts the link.
    pub fn cut_after(&self, bytes: i64) {
        self.left.store(bytes, Ordering::SeqCst);
    }
    /// Whether so many more bytes get through.
    fn passes(&self, bytes: usize) -> bool {
        let left = self.left.load(Ordering::SeqCst);
        if left >= 0 {
            let rest = left - i64::try_from(bytes).unwrap_or(i64::MAX);
            self.left.store(rest.max(0), Ordering::SeqCst);
            if rest < 0 {
                self.up.store(false, Ordering::SeqCst);
            }
        }
        self.up.load(Ordering::SeqCst)
    }
}

/// A transport over a link that can be cut.
pub struct Cuttable {
    inner: Arc<dyn Transport>,
    switch: Arc<Switch>,
}

impl Cuttable {
    /// Sends by `inner` while `switch` is up.
    pub fn new(inner: Arc<dyn Transport>, switch: Arc<Switch>) -> Cuttable {
        Cuttable { inner, switch }
    }
}

fn cut() -> LinkError {
    LinkError("the link is cut".to_owned())
}

impl Transport for Cuttable {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        let switch = self.switch.clone();
        if !switch.passes(0) {
            return Box::pin(async { Err(cut()) });
        }
        let sent = self.inner.send(request);
        Box::pin(async move {
            let response = sent.await?;
            let body = response.body.map(move |part| {
                let part = part?;
                if switch.passes(part.len()) { Ok(part) } else { Err(cut()) }
            });
            Ok(Response { body: body.boxed(), ..response })
        })
    }
}
