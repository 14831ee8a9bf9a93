//! Calls of webservices.rest, and its errors in plain words. What an error says is never repeated:
//! it may quote a record.

use axum::http::{Method, StatusCode};
use reqwest::Url;
use serde_json::Value;

use super::shape::Call;
use crate::fhir_server::{FhirError, FhirServer};
use crate::ports::{EmrError, LinkError};

/// What webservices.rest answered.
pub(super) struct Answered {
    /// The status.
    pub status: StatusCode,
    /// The body, null where it is no JSON.
    pub body: Value,
}

/// The REST API of one OpenMRS.
pub(super) struct Rest {
    base: Url,
}

impl Rest {
    /// Of the web application at a URL.
    pub(super) fn of(url: &str) -> Result<Rest, LinkError> {
        let base = Url::parse(&format!("{}/ws/rest/v1/", url.trim_end_matches('/')));
        Ok(Rest { base: base.map_err(|_| LinkError("its url cannot be read".to_owned()))? })
    }

    /// GET of a path below the API, over the server's client, which holds the login.
    pub(super) async fn get(&self, server: &FhirServer, path: &str) -> Result<Answered, EmrError> {
        self.ask(server, Method::GET, path, None).await
    }

    /// GET of what may not be there; fails where it is not said whether it is.
    pub(super) async fn find(
        &self,
        server: &FhirServer,
        path: &str,
    ) -> Result<Option<Value>, EmrError> {
        let answer = self.get(server, path).await?;
        match answer.status {
            StatusCode::OK => Ok(Some(answer.body)),
            StatusCode::NOT_FOUND if is_openmrs(&answer.body) => Ok(None),
            status if status.is_server_error() => {
                Err(EmrError::away(format!("OpenMRS answered {} to a question", status.as_u16())))
            }
            status => Err(refusal(status, &answer.body, path)),
        }
    }

    /// One call; gives what it answered, or why it was refused.
    pub(super) async fn call(&self, server: &FhirServer, call: &Call) -> Result<Value, EmrError> {
        let method = if call.body.is_some() { Method::POST } else { Method::DELETE };
        let answer = self.ask(server, method, &call.path, call.body.as_ref()).await?;
        match answer.status {
            status if status.is_success() => Ok(answer.body),
            // What is voided already is voided.
            StatusCode::NOT_FOUND if call.body.is_none() && is_openmrs(&answer.body) => {
                Ok(Value::Null)
            }
            status => Err(refusal(status, &answer.body, &call.path)),
        }
    }

    async fn ask(
        &self,
        server: &FhirServer,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answered, EmrError> {
        let odd = |_| EmrError::Refused("no URL can name it".to_owned());
        let url = self.base.join(path).map_err(odd)?;
        let sent = body.map(Value::to_string);
        let (status, body) = server.other(method, &url, sent).await.map_err(failed)?;
        Ok(Answered { status, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
    }
}

/// What failed at the server's client.
pub(super) fn failed(error: FhirError) -> EmrError {
    match error {
        FhirError::Away { error, .. } => EmrError::Away(error),
        FhirError::Changed => EmrError::Changed,
        other => EmrError::Refused(other.to_string()),
    }
}

/// Whether an error is OpenMRS's own, and not of what stands before it.
pub(super) fn is_openmrs(body: &Value) -> bool {
    body.get("error").is_some_and(Value::is_object)
}

/// What a refusal says, in our words.
pub(super) fn refusal(status: StatusCode, body: &Value, path: &str) -> EmrError {
    if matches!(status.as_u16(), 408 | 425 | 429 | 502 | 503 | 504) {
        return EmrError::away(format!("OpenMRS answered {}", status.as_u16()));
    }
    if status == StatusCode::NOT_FOUND && !is_openmrs(body) {
        return EmrError::away("it answered 404, and not as OpenMRS does: is it starting?");
    }
    let said = body.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    if let Some(words) = privilege(said).filter(|_| status != StatusCode::NOT_FOUND) {
        return EmrError::Refused(words);
    }
    let resource = path.split(['/', '?']).next().unwrap_or_default();
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return EmrError::Refused(format!(
            "OpenMRS does not let our user read or write {resource}, and does not say which \
             privilege is missing: `tributary emr check` lists those that are needed"
        ));
    }
    EmrError::Refused(match known(said) {
        Some(words) => words.to_owned(),
        None => {
            let fields = body.pointer("/error/fieldErrors").and_then(Value::as_object);
            let fields = fields.map(|fields| fields.keys().map(String::as_str).collect::<Vec<_>>());
            let code = body.pointer("/error/code").and_then(Value::as_str).map(class);
            match (fields.filter(|fields| !fields.is_empty()), code) {
                (Some(fields), _) => format!(
                    "OpenMRS refuses {resource} ({}): it does not take its {}",
                    status.as_u16(),
                    fields.join(", ")
                ),
                (None, Some(code)) if !code.is_empty() => format!(
                    "OpenMRS refuses {resource} ({}, {code}): its log says why",
                    status.as_u16()
                ),
                _ => format!("OpenMRS refuses {resource} ({}): its log says why", status.as_u16()),
            }
        }
    })
}

/// Of `org.openmrs.api.ValidationException:42` the class, where it looks like one.
fn class(code: &str) -> &str {
    let class = code.split(':').next().unwrap_or_default().rsplit('.').next().unwrap_or_default();
    let is_name = class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'$');
    if is_name && class.len() <= 64 { class } else { "" }
}

/// The privilege that is missing: `Privileges required: Edit Patients` (names of privileges are
/// set by who runs OpenMRS, and are about nobody).
fn privilege(said: &str) -> Option<String> {
    let lower = said.to_ascii_lowercase();
    let at = lower.find("privilege")?;
    let named = said.get(at..)?.split_once(':')?.1;
    let named = named.trim_matches([' ', '[', ']', '.']);
    let good = |b: char| b.is_alphanumeric() || matches!(b, ' ' | ',' | '-' | '_');
    let fits = !named.is_empty() && named.len() <= 200 && named.chars().all(good);
    fits.then(|| {
        format!(
            "OpenMRS does not let our user do it: give its role the privilege {named} \
             (Administration, Manage Roles)"
        )
    })
}

/// What is often refused, by what OpenMRS says of it, and what to do.
fn known(said: &str) -> Option<&'static str> {
    let lower = said.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().all(|word| lower.contains(word));
    if has(&["identifier", "in use"]) || has(&["duplicate", "identifier"]) {
        return Some(
            "OpenMRS refuses it: another patient there has one of its identifiers. Merge the two \
             patients, or correct the identifier",
        );
    }
    if has(&["check digit"]) || has(&["checkdigit"]) || has(&["identifier", "invalid"]) {
        return Some(
            "OpenMRS refuses it: an identifier does not pass the check (digit or format) of its \
             identifier type there. Correct the identifier, or the type's validator",
        );
    }
    if has(&["duplicate entry"]) {
        return Some(
            "OpenMRS refuses it: its id is in use there by another row. Look for a voided one",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defect_13_refusals_are_told_in_plain_words_and_repeat_nothing() {
        for (status, message, words) in [
            (400, "Identifier 100-8 already in use by another patient", "another patient there"),
            (400, "Invalid check digit for identifier: 100-9", "does not pass the check"),
            (400, "Privileges required: [Edit Patients]", "the privilege Edit Patients"),
            (
                403,
                "User is not logged in [Privilege required: Add Visits]",
                "the privilege Add Visits",
            ),
            (403, "no", "does not let our user read or write patient"),
            (400, "Amina Otieno is odd", "(400, ValidationException): its log says why"),
        ] {
            let body = json!({ "error": {
                "message": message, "code": "org.openmrs.api.ValidationException:42",
            } });
            let status = StatusCode::from_u16(status).unwrap();
            let told = refusal(status, &body, "patient/x").to_string();
            assert!(told.contains(words), "{message}: {told}");
            assert!(!told.contains("Amina") && !told.contains("100-"), "{told}");
        }
        let body = json!({ "error": { "message": "x", "fieldErrors": { "birthdate": [] } } });
        let told = refusal(StatusCode::BAD_REQUEST, &body, "person/x").to_string();
        assert_eq!(told, "OpenMRS refuses person (400): it does not take its birthdate");
        for status in [429, 502, 503, 504] {
            let status = StatusCode::from_u16(status).unwrap();
            assert!(matches!(refusal(status, &Value::Null, "obs"), EmrError::Away(_)));
        }
        for (body, is_away) in [
            (Value::Null, true),
            (json!({}), true),
            (json!({ "error": "no backend" }), true),
            (json!({ "error": { "message": "no such object" } }), false),
        ] {
            let told = refusal(StatusCode::NOT_FOUND, &body, "obs/x");
            assert_eq!(matches!(told, EmrError::Away(_)), is_away, "{body}");
        }
    }
}
