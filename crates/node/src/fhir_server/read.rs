//! Reading one record, and whose word it is that it is not there.

use axum::http::{Method, StatusCode};
use bytes::Bytes;
use protocol::RecordRef;

use super::{
    Asked, FHIR_JSON, FhirError, FhirServer, OUTCOME_BYTES, Private, checked, outcome, version_of,
};
use crate::ports::{LinkError, Response};

/// What came of asking for a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// Its body, whatever that is, and its version there.
    Body(Vec<u8>, Option<String>),
    /// It was deleted (410).
    Gone,
    /// It is not there (404).
    Absent,
}

impl FhirServer {
    /// A record as it is there now.
    pub async fn read(&self, record: &RecordRef) -> Result<Read, FhirError> {
        self.read_saying(record).await.map(|(read, _)| read)
    }

    /// As `read`; of a record that is not there, what the server says of that.
    pub async fn read_saying(&self, record: &RecordRef) -> Result<(Read, Vec<u8>), FhirError> {
        let url = self.of(record)?;
        let response = self.ask(Method::GET, &url, FHIR_JSON, (Bytes::new(), &[])).await?;
        self.answered(response).await
    }

    async fn answered(&self, response: Response) -> Result<(Read, Vec<u8>), FhirError> {
        match response.status {
            StatusCode::OK => {
                let version = version_of(&response.headers);
                // Whatever it is: one record that cannot be read is no fault of the server.
                let body = self.whole(response, self.record_bytes()).await?;
                Ok((Read::Body(body, version), Vec::new()))
            }
            StatusCode::GONE => Ok((Read::Gone, self.says_so(response).await?)),
            StatusCode::NOT_FOUND => Ok((Read::Absent, self.says_so(response).await?)),
            _ => Err(self.fault(response, &Private::default(), Asked::Read).await),
        }
    }

    /// As `read`, for who asks for many and can do without one: where 404 or 410 comes with what is
    /// no OperationOutcome, and the server itself is up, that is of this record, and says nothing.
    pub async fn read_one_of_many(&self, record: &RecordRef) -> Result<Read, FhirError> {
        let url = self.of(record)?;
        let response = self.answer(Method::GET, &url, FHIR_JSON, (Bytes::new(), &[])).await?;
        let (status, read) = match response.status {
            status @ StatusCode::GONE => (status, Read::Gone),
            status @ StatusCode::NOT_FOUND => (status, Read::Absent),
            _ => return self.answered(checked(response)?).await.map(|(read, _)| read),
        };
        let body = self.whole(response, OUTCOME_BYTES).await?;
        if outcome::told(&body, &Private::default()).is_some() {
            return Ok(read);
        }
        self.capabilities().await?;
        match body.trim_ascii() {
            [] => Ok(read),
            _ => Err(FhirError::Refused(format!(
                "it answers {} with what is no OperationOutcome",
                status.as_u16()
            ))),
        }
    }

    /// Whether it is the server itself that has not got a record: what stands before it answers 404
    /// too while it restarts, and a record would count as deleted.
    pub(super) async fn says_so(&self, response: Response) -> Result<Vec<u8>, FhirError> {
        let status = response.status;
        let body = self.body(response, OUTCOME_BYTES).await?;
        if outcome::told(&body, &Private::default()).is_some() {
            return Ok(body);
        }
        if body.trim_ascii().is_empty() {
            return self.capabilities().await.map(|_| body);
        }
        Err(LinkError(format!(
            "it answers {status} with what is no OperationOutcome: is `url` right, and the server \
             up behind what stands before it?"
        ))
        .into())
    }
}
