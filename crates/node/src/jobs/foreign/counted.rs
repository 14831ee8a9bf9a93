//! Counting what goes over the link to a FHIR server.

use std::sync::Arc;

use axum::http::HeaderMap;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

use crate::jobs::link::Link;
use crate::ports::{LinkError, Request, Response, Transport};
use crate::site::Site;

/// A way of which the link hears how many bytes it moves.
pub(super) struct Counted {
    inner: Arc<dyn Transport>,
    link: Link,
    site: Site,
}

impl Counted {
    pub(super) fn new(inner: Arc<dyn Transport>, link: Link, site: Site) -> Counted {
        Counted { inner, link, site }
    }
}

fn head(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum()
}

impl Transport for Counted {
    fn send(&self, request: Request) -> BoxFuture<'static, Result<Response, LinkError>> {
        let (link, site, inner) = (self.link.clone(), self.site.clone(), self.inner.clone());
        let sent = request.url.len() + head(&request.headers) + request.body.len() + 20;
        link.count_sent(sent, request.body.len());
        async move {
            link.count_before(&site).await?;
            let mut response = inner.send(request).await?;
            link.count_received(head(&response.headers) + 19, 0);
            let counted = response.body.inspect(move |part| {
                if let Ok(bytes) = part {
                    link.count_received(bytes.len(), bytes.len());
                }
            });
            response.body = counted.boxed();
            Ok(response)
        }
        .boxed()
    }
}
