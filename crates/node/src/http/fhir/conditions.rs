//! Preconditions and preferences, whether they came as headers or in an entry of a Bundle.

use axum::http::{HeaderMap, StatusCode, header};
use store::Expect;

use crate::http::error::Failure;

/// `If-Match`, `If-None-Match` and `If-None-Exist`, as they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Conditions {
    pub(super) if_match: Option<String>,
    pub(super) if_none_match: Option<String>,
    pub(super) if_none_exist: Option<String>,
}

/// What must be there for a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// `If-Match: *`: any version that is not deleted.
    Present,
    /// What the store itself can check.
    Of(Expect),
}

impl Conditions {
    /// Those of a request.
    pub(super) fn of(headers: &HeaderMap) -> Result<Conditions, Failure> {
        Ok(Conditions {
            if_match: text(headers, header::IF_MATCH.as_str())?,
            if_none_match: text(headers, header::IF_NONE_MATCH.as_str())?,
            if_none_exist: text(headers, "if-none-exist")?,
        })
    }

    /// What a write of one record asks for.
    pub(super) fn wanted(&self) -> Result<Wanted, Failure> {
        match (self.if_match.as_deref(), self.if_none_match.as_deref()) {
            (None, None) => Ok(Wanted::Of(Expect::Any)),
            (Some("*"), None) => Ok(Wanted::Present),
            (Some(tag), None) => {
                let version = version_of(tag).ok_or_else(|| {
                    Failure::bad_request("If-Match must be one version, for example W/\"12\"")
                })?;
                Ok(Wanted::Of(Expect::Version(version)))
            }
            (None, Some("*")) => Ok(Wanted::Of(Expect::Absent)),
            (None, Some(_)) => {
                Err(Failure::bad_request("on a write only If-None-Match: * is understood"))
            }
            (Some(_), Some(_)) => {
                Err(Failure::bad_request("If-Match and If-None-Match exclude each other"))
            }
        }
    }

    /// Whether the reader has this version already.
    pub(super) fn not_modified(&self, version: u64) -> bool {
        self.if_none_match.as_deref().is_some_and(|tags| {
            tags == "*" || tags.split(',').any(|tag| version_of(tag) == Some(version))
        })
    }
}

/// A version's ETag.
pub(super) fn etag(version: u64) -> String {
    format!("W/\"{version}\"")
}

/// `W/"n"`, `"n"` and, as some clients write it, `n`.
fn version_of(tag: &str) -> Option<u64> {
    let tag = tag.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let tag = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).unwrap_or(tag);
    tag.parse().ok()
}

fn text(headers: &HeaderMap, name: &str) -> Result<Option<String>, Failure> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    text.map(|text| Some(text.trim().to_owned())).ok_or_else(|| {
        Failure::bad_request(format!("the header {name} stands twice or is not plain text"))
    })
}

/// What a write answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Return {
    Minimal,
    Representation,
    Outcome,
}

/// The `Prefer` header.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Prefer {
    /// `None`: nothing was said.
    pub(super) returns: Option<Return>,
    /// Search parameters that are unknown are left out instead of refused.
    pub(super) lenient: bool,
}

impl Prefer {
    /// That of a request. What is unknown is ignored, as RFC 7240 has it.
    pub(super) fn of(headers: &HeaderMap) -> Prefer {
        let mut prefer = Prefer::default();
        let values = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
        for one in values.flat_map(|value| value.split([',', ';'])) {
            match one.trim() {
                "return=minimal" => prefer.returns = Some(Return::Minimal),
                "return=representation" => prefer.returns = Some(Return::Representation),
                "return=OperationOutcome" => prefer.returns = Some(Return::Outcome),
                "handling=lenient" => prefer.lenient = true,
                "handling=strict" => prefer.lenient = false,
                _ => {}
            }
        }
        prefer
    }
}

/// Refuses a body that is not said to be JSON. That also keeps out what a web page can post to
/// this machine without asking: forms and plain text.
pub(super) fn check_content_type(headers: &HeaderMap, allowed: &[&str]) -> Result<(), Failure> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let mut parts = value.unwrap_or_default().split(';').map(|part| part.trim().to_lowercase());
    let kind = parts.next().unwrap_or_default();
    let charset = parts.find_map(|part| part.strip_prefix("charset=").map(str::to_owned));
    let utf8 = charset
        .is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "utf8" | "us-ascii"));
    if allowed.contains(&kind.as_str()) && utf8 {
        return Ok(());
    }
    Err(Failure::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-supported",
        format!("the Content-Type must be {}, in UTF-8", allowed.join(" or ")),
    ))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn conditions(if_match: Option<&str>, if_none_match: Option<&str>) -> Conditions {
        Conditions {
            if_match: if_match.map(str::to_owned),
            if_none_match: if_none_match.map(str::to_owned),
            if_none_exist: None,
        }
    }

    #[test]
    fn preconditions_say_what_the_store_has_to_check() {
        let of = |a, b| conditions(a, b).wanted().ok();
        assert_eq!(of(None, None), Some(Wanted::Of(Expect::Any)));
        assert_eq!(of(Some("W/\"7\""), None), Some(Wanted::Of(Expect::Version(7))));
        assert_eq!(of(Some("\"7\""), None), Some(Wanted::Of(Expect::Version(7))));
        assert_eq!(of(Some("*"), None), Some(Wanted::Present));
        assert_eq!(of(None, Some("*")), Some(Wanted::Of(Expect::Absent)));
        assert_eq!(of(Some("W/\"x\""), None), None);
        assert_eq!(of(None, Some("W/\"7\"")), None);
        assert_eq!(of(Some("W/\"7\""), Some("*")), None);
        assert!(conditions(None, Some("W/\"6\", W/\"7\"")).not_modified(7));
        assert!(!conditions(None, Some("W/\"6\"")).not_modified(7));
    }

    #[test]
    fn a_body_that_a_web_page_can_post_without_asking_is_refused() {
        let json = ["application/fhir+json", "application/json"];
        let check = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(value));
            check_content_type(&headers, &json)
        };
        for good in [
            "application/json",
            "application/fhir+json; charset=UTF-8",
            "Application/FHIR+JSON;fhirVersion=4.0",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/fhir+xml",
            "application/json; charset=latin1",
            "",
        ] {
            assert_eq!(check(bad).unwrap_err().status, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{bad}");
        }
        assert!(check_content_type(&HeaderMap::new(), &json).is_err());
    }
}
