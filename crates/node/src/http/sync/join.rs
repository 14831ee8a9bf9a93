//! `POST /sync/join`: a one-time code for a credential. Implements `docs/protocol.md` §5.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use base64::Engine as _;
use protocol::{CohortName, Epoch, SiteId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::http::auth::credential_hash;
use crate::http::body;
use crate::http::error::{Failure, Problem};
use crate::http::sync::SMALL_BODY;
use crate::site::Site;

/// What a child sends.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The one-time code, as `tributary child add` printed it.
    pub code: String,
    /// The child's id, for which the code was made.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// The child's epoch.
    #[schemars(with = "String")]
    pub epoch: Epoch,
}

/// What it gets.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct JoinAnswer {
    /// The parent's id.
    #[schemars(with = "String")]
    pub site: SiteId,
    /// The child's credential: shown once, kept only as a hash at the parent.
    pub credential: String,
    /// The cohorts that it may hold.
    #[schemars(with = "Vec<String>")]
    pub cohorts: Vec<CohortName>,
}

/// Exchanges the code.
pub async fn redeem(
    State(site): State<Site>,
    request: Request,
) -> Result<Json<JoinAnswer>, Problem> {
    let (parts, payload) = request.into_parts();
    super::check_version(&parts.headers)?;
    let bytes = body::read(&site, &parts.headers, payload, SMALL_BODY).await?;
    let asked: JoinRequest = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::bad_request(format!("the body is not understood: {error}")))?;
    if asked.site == *site.id() {
        let detail = format!("the site id {} is taken: it is the parent's own", asked.site);
        return Err(Failure::new(StatusCode::CONFLICT, "duplicate", detail).into());
    }
    let credential = new_secret(&site);
    let (code, hash) = (credential_hash(&plain_code(&asked.code)), credential_hash(&credential));
    let now = site.now();
    let cohorts = site
        .write(move |store| store.child_redeem(&code, &asked.site, &asked.epoch, &hash, now))
        .await?;
    match cohorts {
        Some(cohorts) => Ok(Json(JoinAnswer { site: site.id().clone(), credential, cohorts })),
        None => Err(Failure::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "the code is unknown, used, expired, or was made for another site id; \
             `tributary child add` at the parent makes a new one",
        )
        .into()),
    }
}

/// A new credential: 32 random bytes as text.
pub fn new_secret(site: &Site) -> String {
    let mut bytes = [0; 32];
    site.entropy().fill(&mut bytes);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(bytes)
}

/// A code without the dashes and the case that a person may have typed.
pub fn plain_code(code: &str) -> String {
    code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect()
}
