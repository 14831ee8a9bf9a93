//! How a FHIR server that is no Tributary site is logged in to.

use std::path::PathBuf;

use anyhow::bail;
use serde::{Deserialize, Serialize};

use super::check_url;

/// A login. Its secret stands in a file of its own, never in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoginConfig {
    /// In which way.
    pub kind: LoginKind,
    /// The file with the password, the token, the client's secret or its private key (PEM),
    /// readable by its owner only; a path below this site's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// The user, of `basic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// What we are called there, of `client-credentials` and `smart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Where tokens are given out; of `smart` the server itself says it where this is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_url: Option<String>,
    /// What is asked for: of `smart` `system/*.cruds` unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
    /// Which of our keys there it is, of `smart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// How the key signs, of `smart`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<KeyAlgorithm>,
}

/// The ways to log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LoginKind {
    /// Nobody asks.
    #[default]
    None,
    /// A user and a password.
    Basic,
    /// A token that does not change.
    Bearer,
    /// OAuth 2: a client and its secret get tokens.
    ClientCredentials,
    /// SMART Backend Services: a client that signs with its key gets tokens.
    Smart,
}

/// How a key signs. These two are those that SMART asks every server to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum KeyAlgorithm {
    /// An elliptic curve, P-384.
    #[default]
    ES384,
    /// RSA.
    RS384,
}

impl LoginConfig {
    /// Whether it needs what it has not, or has what it cannot use. `name` is the section's.
    pub fn check(&self, name: &str) -> anyhow::Result<()> {
        let needs: &[(&str, bool)] = match self.kind {
            LoginKind::None => &[],
            LoginKind::Basic => &[("user", self.user.is_some())],
            LoginKind::Bearer => &[],
            LoginKind::ClientCredentials => {
                &[("client_id", self.client_id.is_some()), ("token_url", self.token_url.is_some())]
            }
            LoginKind::Smart => &[("client_id", self.client_id.is_some())],
        };
        for (key, there) in needs {
            if !there {
                bail!("{name}.{key} is missing");
            }
        }
        if (self.kind == LoginKind::None) == self.secret_file.is_some() {
            match self.kind {
                LoginKind::None => bail!("{name}.kind is missing: what is in secret_file?"),
                _ => bail!("{name}.secret_file is missing: a file that only its owner can read"),
            }
        }
        if self.user.as_ref().is_some_and(|user| user.contains(':')) {
            bail!("{name}.user has a colon, which a user's name cannot have (a password can)");
        }
        self.token_url.as_ref().map_or(Ok(()), |url| check_url(&format!("{name}.token_url"), url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_that_lacks_something_is_refused_with_its_name() {
        for (text, words) in [
            ("", ""),
            ("kind = \"basic\"\nuser = \"u\"\nsecret_file = \"s\"", ""),
            ("kind = \"bearer\"\nsecret_file = \"s\"", ""),
            ("kind = \"smart\"\nclient_id = \"c\"\nsecret_file = \"s\"\nalgorithm = \"RS384\"", ""),
            ("kind = \"basic\"\nsecret_file = \"s\"", "login.user is missing"),
            ("kind = \"basic\"\nuser = \"a:b\"\nsecret_file = \"s\"", "login.user has a colon"),
            ("kind = \"bearer\"", "login.secret_file is missing"),
            ("secret_file = \"s\"", "login.kind is missing"),
            ("kind = \"smart\"\nsecret_file = \"s\"", "login.client_id is missing"),
            (
                "kind = \"client-credentials\"\nclient_id = \"c\"\nsecret_file = \"s\"",
                "login.token_url is missing",
            ),
            (
                "kind = \"smart\"\nclient_id = \"c\"\nsecret_file = \"s\"\ntoken_url = \"x\"",
                "login.token_url must be of the form",
            ),
        ] {
            let login: LoginConfig = toml::from_str(text).unwrap();
            let told = login.check("login").err().map_or(String::new(), |error| error.to_string());
            assert!(told.starts_with(words) && told.is_empty() == words.is_empty(), "{told}");
        }
        assert!(toml::from_str::<LoginConfig>("secret = \"geheim\"").is_err());
    }
}
