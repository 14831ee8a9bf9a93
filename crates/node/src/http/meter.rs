//! Each request is measured: how long until its answer had gone out whole, and how many bytes of
//! bodies moved; of which child, where it was one.

use std::pin::Pin;
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use protocol::SiteId;

use super::fhir;
use crate::metrics;
use crate::site::Site;

/// Who asks, as soon as a handler has found out that it is a child.
#[derive(Debug, Clone, Default)]
pub(crate) struct Asker(Arc<OnceLock<SiteId>>);

impl Asker {
    /// It is this child.
    pub(crate) fn is(&self, child: &SiteId) {
        let _ = self.0.set(child.clone());
    }
}

/// What is known of a request; noted when its body and that of its answer are gone.
struct Measured {
    site: Site,
    route: String,
    method: Method,
    began: Instant,
    asker: Asker,
    /// 0 until there is an answer.
    status: AtomicU16,
    received: AtomicU64,
    sent: AtomicU64,
}

/// Measures a request.
pub(super) async fn meter(State(site): State<Site>, mut request: Request, next: Next) -> Response {
    let asker = Asker::default();
    request.extensions_mut().insert(asker.clone());
    let measured = Arc::new(Measured {
        route: route_of(&request),
        method: request.method().clone(),
        began: Instant::now(),
        site,
        asker,
        status: AtomicU16::new(0),
        received: AtomicU64::new(0),
        sent: AtomicU64::new(0),
    });
    let incoming = measured.clone();
    let request = request.map(|body| Counted::of(body, incoming, |it| &it.received));
    let response = next.run(request).await;
    measured.status.store(response.status().as_u16(), Relaxed);
    response.map(|body| Counted::of(body, measured, |it| &it.sent))
}

/// The route as the list of routes has it: what was asked for may name a patient.
fn route_of(request: &Request) -> String {
    let path = request.uri().path();
    match path.strip_prefix("/fhir") {
        Some(below) if below.is_empty() || below.starts_with('/') => {
            format!("/fhir{}", fhir::route_name(request.method(), below))
        }
        _ => match request.extensions().get::<MatchedPath>() {
            Some(route) => route.as_str().to_owned(),
            None => "none".to_owned(),
        },
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        let status = self.status.load(Relaxed);
        self.site.metrics().request(&metrics::Request {
            route: &self.route,
            method: &self.method,
            status: (status > 0).then_some(status),
            seconds: self.began.elapsed().as_secs_f64(),
            child: self.asker.0.get(),
            received: self.received.load(Relaxed),
            sent: self.sent.load(Relaxed),
        });
    }
}

/// A body whose bytes are counted.
struct Counted {
    body: Body,
    measured: Arc<Measured>,
    count: fn(&Measured) -> &AtomicU64,
}

impl Counted {
    fn of(body: Body, measured: Arc<Measured>, count: fn(&Measured) -> &AtomicU64) -> Body {
        Body::new(Counted { body, measured, count })
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            (self.count)(&self.measured).fetch_add(bytes as u64, Relaxed);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
