//! Logging in: what stands in `Authorization`, and where tokens come from.

use std::sync::Mutex;

use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use protocol::Timestamp;
use reqwest::Url;
use serde::Serialize;
use serde_json::Value;

use super::Ways;
use crate::config::{KeyAlgorithm, LoginConfig, LoginKind};
use crate::ports::{LinkError, Request};
use crate::transport::answer::text;

/// Bytes of an answer that gives a token.
const TOKEN_BYTES: u64 = 64 << 10;
/// Seconds that a token is good for where it does not say it.
const TOKEN_SECONDS: u64 = 300;
/// Seconds before its end at which another token is asked for.
const BEFORE_END: u64 = 30;
/// Seconds that what we sign is good for: SMART allows no more.
const ASSERTION_SECONDS: i64 = 300;
/// What is asked for by SMART where nothing else is set.
const SMART_SCOPE: &str = "system/*.cruds";

/// How a server is logged in to, with what it takes.
pub struct Login {
    kind: Kind,
    /// The token that was given last, and until when it is good.
    token: Mutex<Option<(HeaderValue, Timestamp)>>,
}

enum Kind {
    /// The same for ever; nothing where nobody asks.
    Fixed(Option<HeaderValue>),
    /// By a token.
    Token(Box<Client>),
}

struct Client {
    id: String,
    token_url: Option<Url>,
    scope: Option<String>,
    proof: Proof,
}

/// By what a client shows who it is.
enum Proof {
    Secret(String),
    Key { key: EncodingKey, algorithm: Algorithm, id: Option<String> },
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    jti: String,
}

impl Login {
    /// No login.
    pub fn none() -> Login {
        Login::fixed(None)
    }

    /// A user and a password, in which a colon is nothing special.
    pub fn basic(user: &str, password: &str) -> Result<Login, LinkError> {
        header(&format!("Basic {}", STANDARD.encode(format!("{user}:{password}"))))
            .map(|value| Login::fixed(Some(value)))
    }

    /// A token that does not change.
    pub fn bearer(token: &str) -> Result<Login, LinkError> {
        header(&format!("Bearer {token}")).map(|value| Login::fixed(Some(value)))
    }

    fn fixed(value: Option<HeaderValue>) -> Login {
        Login { kind: Kind::Fixed(value), token: Mutex::default() }
    }

    /// As the settings say, with the secret from its file.
    pub fn of(config: &LoginConfig, secret: Option<&str>) -> Result<Login, LinkError> {
        let missing = |what: &str| LinkError(format!("{what} of the login is missing"));
        let secret = || secret.ok_or_else(|| missing("secret_file"));
        let client = |scope: Option<&str>, proof| -> Result<Login, LinkError> {
            let id = config.client_id.clone().ok_or_else(|| missing("client_id"))?;
            let token_url = config.token_url.as_deref().map(Url::parse).transpose();
            let token_url =
                token_url.map_err(|_| LinkError("token_url of the login is no URL".to_owned()))?;
            let scope = config.scope.as_deref().or(scope).map(str::to_owned);
            let kind = Kind::Token(Box::new(Client { id, token_url, scope, proof }));
            Ok(Login { kind, token: Mutex::default() })
        };
        match config.kind {
            LoginKind::None => Ok(Login::none()),
            LoginKind::Basic => {
                Login::basic(config.user.as_deref().ok_or_else(|| missing("user"))?, secret()?)
            }
            LoginKind::Bearer => Login::bearer(secret()?),
            LoginKind::ClientCredentials => client(None, Proof::Secret(secret()?.to_owned())),
            LoginKind::Smart => {
                let (key, algorithm) = key(config.algorithm.unwrap_or_default(), secret()?)?;
                let proof = Proof::Key { key, algorithm, id: config.key_id.clone() };
                client(Some(SMART_SCOPE), proof)
            }
        }
    }

    /// What stands in `Authorization`; asks for a token where there is none that is good.
    pub(super) async fn authorization(
        &self,
        base: &Url,
        ways: &Ways,
    ) -> Result<Option<HeaderValue>, LinkError> {
        let client = match &self.kind {
            Kind::Fixed(value) => return Ok(value.clone()),
            Kind::Token(client) => client,
        };
        let now = ways.clock.now();
        let held = self.token().clone();
        if let Some((value, until)) = held
            && until > now
        {
            return Ok(Some(value));
        }
        let (value, seconds) = client.ask(base, ways).await?;
        let good = seconds.saturating_sub(BEFORE_END).max(1).saturating_mul(1_000);
        let until = now.plus_millis(i64::try_from(good).unwrap_or(i64::MAX));
        *self.token() = Some((value.clone(), until));
        Ok(Some(value))
    }

    /// The token was refused; whether another one may be asked for.
    pub(super) fn forget(&self) -> bool {
        self.token().take().is_some()
    }

    fn token(&self) -> std::sync::MutexGuard<'_, Option<(HeaderValue, Timestamp)>> {
        self.token.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn header(text: &str) -> Result<HeaderValue, LinkError> {
    let mut value = HeaderValue::try_from(text)
        .map_err(|_| LinkError("its credential has characters that cannot be sent".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn key(algorithm: KeyAlgorithm, pem: &str) -> Result<(EncodingKey, Algorithm), LinkError> {
    let read = match algorithm {
        KeyAlgorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
        KeyAlgorithm::RS384 => EncodingKey::from_rsa_pem(pem.as_bytes()),
    };
    let (name, algorithm) = match algorithm {
        KeyAlgorithm::ES384 => ("ES384 (an elliptic curve key in PKCS #8)", Algorithm::ES384),
        KeyAlgorithm::RS384 => ("RS384 (an RSA key)", Algorithm::RS384),
    };
    let read = read.map_err(|_| {
        LinkError(format!("secret_file of the login holds no private key in PEM for {name}"))
    })?;
    Ok((read, algorithm))
}

impl Client {
    /// Asks for a token; gives it and for how many seconds it is good.
    async fn ask(&self, base: &Url, ways: &Ways) -> Result<(HeaderValue, u64), LinkError> {
        let url = match &self.token_url {
            Some(url) => url.clone(),
            None => discover(base, ways).await?,
        };
        let mut form = vec![("grant_type", "client_credentials".to_owned())];
        form.extend(self.scope.clone().map(|scope| ("scope", scope)));
        let mut headers = HeaderMap::new();
        match &self.proof {
            Proof::Secret(secret) => {
                let encode = |text: &str| form_text(&[("", text.to_owned())])[1..].to_owned();
                let pair = format!("{}:{}", encode(&self.id), encode(secret));
                let value = header(&format!("Basic {}", STANDARD.encode(pair)))?;
                headers.insert(header::AUTHORIZATION, value);
            }
            Proof::Key { key, algorithm, id } => {
                let kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
                form.push(("client_assertion_type", kind.to_owned()));
                let said = self.assertion(url.as_str(), (key, *algorithm, id.clone()), ways)?;
                form.push(("client_assertion", said));
            }
        }
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        headers.insert(header::CONTENT_TYPE, form_type);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        let request = Request {
            method: Method::POST,
            url: url.to_string(),
            headers,
            body: Bytes::from(form_text(&form)),
            idle_seconds: ways.idle_seconds,
        };
        let response = ways.transport.send(request).await?;
        let status = response.status;
        let body = text(response, TOKEN_BYTES).await?;
        token_in(status, &body)
    }

    /// What a client of SMART Backend Services signs to show who it is.
    fn assertion(
        &self,
        audience: &str,
        (key, algorithm, key_id): (&EncodingKey, Algorithm, Option<String>),
        ways: &Ways,
    ) -> Result<String, LinkError> {
        let now = ways.clock.now().millis() / 1_000;
        let claims = Claims {
            iss: &self.id,
            sub: &self.id,
            aud: audience,
            exp: now + ASSERTION_SECONDS,
            iat: now,
            jti: uuid::Builder::from_random_bytes(ways.entropy.uuid_bytes())
                .into_uuid()
                .to_string(),
        };
        let header = Header { kid: key_id, ..Header::new(algorithm) };
        jsonwebtoken::encode(&header, &claims, key).map_err(|_| {
            LinkError("the key in secret_file cannot sign: is it one for `algorithm`?".to_owned())
        })
    }
}

/// The token in an answer, and for how many seconds it is good.
fn token_in(status: StatusCode, body: &[u8]) -> Result<(HeaderValue, u64), LinkError> {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != StatusCode::OK {
        // The code is one of a short list; its description may say anything.
        let code = told.get("error").and_then(Value::as_str).unwrap_or_default();
        let is_code = code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let code = if is_code && !code.is_empty() { format!(", {code}") } else { String::new() };
        return Err(LinkError(format!(
            "it gives no token ({}{code}): check the login's client_id, secret_file and scope",
            status.as_u16()
        )));
    }
    let token = told.get("access_token").and_then(Value::as_str);
    let token = token.filter(|token| !token.is_empty()).ok_or_else(|| {
        LinkError("what answers at token_url gives no token: check token_url".to_owned())
    })?;
    let seconds = told.get("expires_in").and_then(Value::as_u64).unwrap_or(TOKEN_SECONDS);
    Ok((header(&format!("Bearer {token}"))?, seconds))
}

/// Where a SMART server says that tokens are given out. What is signed for that address is good
/// nowhere else, so that it may be on another host.
async fn discover(base: &Url, ways: &Ways) -> Result<Url, LinkError> {
    let at = base.join(".well-known/smart-configuration");
    let at = at.map_err(|_| LinkError("its url cannot be extended".to_owned()))?;
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
    let request = Request {
        method: Method::GET,
        url: at.to_string(),
        headers,
        body: Bytes::new(),
        idle_seconds: ways.idle_seconds,
    };
    let response = ways.transport.send(request).await?;
    let body = text(response, TOKEN_BYTES).await?;
    let told: Value = serde_json::from_slice(&body).unwrap_or_default();
    let url =
        told.get("token_endpoint").and_then(Value::as_str).and_then(|url| base.join(url).ok());
    let safe = url.filter(|url| url.scheme() == "https" || url.scheme() == base.scheme());
    safe.ok_or_else(|| {
        LinkError(
            "it does not say where tokens are given out: set the login's token_url".to_owned(),
        )
    })
}

/// `a=1&b=2`, as forms are sent.
fn form_text(pairs: &[(&str, String)]) -> String {
    // Any URL knows how to write it.
    let mut url = Url::parse("http://localhost/").expect("it is a URL");
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}
