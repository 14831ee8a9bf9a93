//! How an error looks outside: OperationOutcome on `/fhir`, problem JSON (RFC 9457) elsewhere.
//! Made only here, at the edge; the text names what and where, ids only.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use protocol::error::{Refusal, RefusalKind};
use serde_json::json;
use store::StoreError;

/// An error on its way to a caller.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The HTTP status.
    pub status: StatusCode,
    /// A FHIR issue type (`invalid`, `not-found`, `conflict`, ...), also the problem's type.
    pub code: &'static str,
    /// What and where, for a person.
    pub detail: String,
    /// Seconds after which to ask again, where that is known better than by the status.
    pub retry_after: Option<u64>,
}

impl Failure {
    /// Any failure.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Failure { status, code, detail: detail.into(), retry_after: None }
    }
    /// 404: it is not there, or it is nobody's business whether it is.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::NOT_FOUND, "not-found", detail)
    }
    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Failure::new(StatusCode::BAD_REQUEST, "invalid", detail)
    }
    /// As problem JSON.
    pub fn problem(&self) -> Response {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Error"),
            "status": self.status.as_u16(),
            "code": self.code,
            "detail": self.detail,
        });
        self.with_body("application/problem+json", body.to_string())
    }
    /// As an OperationOutcome.
    pub fn outcome(&self) -> Response {
        self.with_body("application/fhir+json", self.outcome_json().to_string())
    }
    /// The OperationOutcome itself, also for entries of a batch response.
    pub fn outcome_json(&self) -> serde_json::Value {
        json!({
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "error", "code": self.code, "diagnostics": self.detail}],
        })
    }
    fn with_body(&self, content_type: &'static str, body: String) -> Response {
        let mut response =
            (self.status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            let seconds = header::HeaderValue::from(self.retry_after.unwrap_or(5));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        if self.status == StatusCode::TOO_MANY_REQUESTS {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("3600"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = header::HeaderValue::from_static("Bearer realm=\"tributary\"");
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match refusal.kind {
            RefusalKind::Malformed => (StatusCode::BAD_REQUEST, "structure"),
            RefusalKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid"),
            RefusalKind::OverLimit => (StatusCode::PAYLOAD_TOO_LARGE, "too-long"),
            RefusalKind::Unknown => (StatusCode::BAD_REQUEST, "not-supported"),
        };
        Failure::new(status, code, refusal.reason)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::Precondition { .. } => {
                Failure::new(StatusCode::PRECONDITION_FAILED, "conflict", text)
            }
            StoreError::Raced | StoreError::Closed { .. } => {
                Failure::new(StatusCode::CONFLICT, "conflict", text)
            }
            StoreError::Frozen(_) => Failure::new(StatusCode::CONFLICT, "business-rule", text),
            StoreError::Name(_) => Failure::new(StatusCode::CONFLICT, "duplicate", text),
            StoreError::Gone { .. } => Failure::new(StatusCode::CONFLICT, "conflict", text),
            StoreError::Full => Failure::new(StatusCode::INSUFFICIENT_STORAGE, "no-store", text),
            StoreError::Damaged(_) | StoreError::Newer { .. } | StoreError::Database { .. } => {
                tracing::error!(error = %text, "the store failed");
                Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "exception", text)
            }
        }
    }
}

/// The query of a request, or what is wrong with it.
pub fn query<T>(extracted: Result<Query<T>, QueryRejection>) -> Result<T, Failure> {
    match extracted {
        Ok(Query(query)) => Ok(query),
        Err(rejection) => {
            let text = rejection.body_text();
            let said = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            Err(Failure::bad_request(format!("the query cannot be understood: {said}")))
        }
    }
}

/// A failure as problem JSON: what handlers outside `/fhir` give.
#[derive(Debug)]
pub struct Problem(pub Failure);

impl<E: Into<Failure>> From<E> for Problem {
    fn from(error: E) -> Self {
        Problem(error.into())
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.0.problem()
    }
}

/// A failure as OperationOutcome: what handlers of `/fhir` give.
#[derive(Debug)]
pub struct OutcomeFailure(pub Failure);

impl<E: Into<Failure>> From<E> for OutcomeFailure {
    fn from(error: E) -> Self {
        OutcomeFailure(error.into())
    }
}

impl IntoResponse for OutcomeFailure {
    fn into_response(self) -> Response {
        self.0.outcome()
    }
}
