//! Alerts by e-mail: the settings, the text, and handing it to an SMTP server.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;

use anyhow::{Context as _, bail};
use lettre::address::Envelope;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, AsyncTokioStream, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use protocol::{SiteId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::Alert;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::cli::open::read_secret;

/// How long each step of talking with the server may take.
const STEP: Duration = Duration::from_secs(20);
/// Bytes that are read of what a server says, at the most, its certificates among them.
const MOST_SAID: usize = 256 << 10;
const NOT_TAKEN: &str = "the SMTP server did not take it";

/// Where alerts are sent by e-mail: `[alerts.email]` in the settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The SMTP server's name.
    pub host: String,
    /// Its port: unless said otherwise 587, 465 for `implicit`, and 25 for `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// How what is said to it is kept secret.
    #[serde(default)]
    pub tls: Tls,
    /// The user, where the server wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file with the user's password, readable by its owner only; a path below the site's
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Whom it is from.
    pub from: String,
    /// Who gets it.
    pub to: Vec<String>,
}

/// How the connection to an SMTP server is kept secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tls {
    /// By STARTTLS, and not at all where the server does not have it.
    #[default]
    Starttls,
    /// From the first byte on.
    Implicit,
    /// Not at all: for a server on this machine or a network that is private itself.
    None,
}

impl Email {
    /// Whether it can be kept to; else what is wrong.
    pub fn check(&self) -> anyhow::Result<()> {
        if self.host.is_empty() || self.host.contains(['/', ' ', ':']) {
            bail!("alerts.email.host must be the name of an SMTP server");
        }
        if self.to.is_empty() {
            bail!("alerts.email.to is empty: nobody would get it");
        }
        for address in self.to.iter().chain([&self.from]) {
            address
                .parse::<Mailbox>()
                .with_context(|| format!("alerts.email: {address:?} is no e-mail address"))?;
        }
        match (&self.user, &self.password_file) {
            (Some(_), None) => bail!("alerts.email.user needs a password_file"),
            (None, Some(_)) => bail!("alerts.email.password_file needs a user"),
            (Some(_), Some(_)) if self.tls == Tls::None => {
                bail!("alerts.email: a password is not sent without TLS (tls = \"none\")")
            }
            _ => Ok(()),
        }
    }

    /// The user and the password, where the server wants them.
    pub fn credentials(&self, folder: &Path) -> anyhow::Result<Option<(String, String)>> {
        let (Some(user), Some(file)) = (&self.user, &self.password_file) else { return Ok(None) };
        let password = read_secret(&folder.join(file), "alerts.email")?;
        Ok(Some((user.clone(), password)))
    }

    /// Hands a message to the server.
    pub async fn send(
        &self,
        credentials: Option<(String, String)>,
        told: &Told,
    ) -> anyhow::Result<()> {
        let mut message = Message::builder()
            .from(self.from.parse()?)
            .subject(&told.subject)
            .message_id(Some(told.id.clone()))
            .header(ContentType::TEXT_PLAIN);
        for to in &self.to {
            message = message.to(to.parse()?);
        }
        let message = message.body(told.text.clone()).context("failed to write it")?;
        let credentials = credentials.map(|(user, password)| Credentials::new(user, password));
        let bytes = message.formatted();
        let (mut taken, mut refused) = (0, None);
        for to in message.envelope().to() {
            // Each by itself: an address that the server does not know is no other's loss.
            let envelope = Envelope::new(message.envelope().from().cloned(), vec![to.clone()])?;
            match self.hand_over(credentials.as_ref(), &envelope, &bytes).await {
                Ok(()) => taken += 1,
                Err(error) if is_permanent(&error) => {
                    tracing::warn!(%to, "an address of alerts.email.to is refused: {error:#}");
                    refused = Some(error);
                }
                Err(error) => return Err(error.context(NOT_TAKEN)),
            }
        }
        match refused.filter(|_| taken == 0) {
            Some(error) => Err(error.context(NOT_TAKEN)),
            None => Ok(()),
        }
    }

    async fn hand_over(
        &self,
        credentials: Option<&Credentials>,
        envelope: &Envelope,
        message: &[u8],
    ) -> anyhow::Result<()> {
        type Smtp = AsyncSmtpTransport<Tokio1Executor>;
        if self.tls == Tls::Implicit {
            // Nobody but the server itself can say anything here.
            let mut builder = Smtp::relay(&self.host)?.port(self.port.unwrap_or(465));
            if let Some(credentials) = credentials {
                builder = builder.credentials(credentials.clone());
            }
            let server: Smtp = builder.timeout(Some(STEP)).build();
            server.send_raw(envelope, message).await?;
            return Ok(());
        }
        let port = self.port.unwrap_or(if self.tls == Tls::None { 25 } else { 587 });
        let stream = TcpStream::connect((self.host.as_str(), port)).await?;
        let stream = Bounded { stream, left: MOST_SAID };
        let hello = ClientId::default();
        let mut server =
            AsyncSmtpConnection::connect_with_transport(Box::new(stream), &hello).await?;
        if self.tls == Tls::Starttls {
            server.starttls(TlsParameters::new(self.host.clone())?, &hello).await?;
        }
        if let Some(credentials) = credentials {
            server.auth(DEFAULT_MECHANISMS, credentials).await?;
        }
        server.send(envelope, message).await?;
        // It has the message: what it says to a farewell changes nothing.
        drop(server.quit().await);
        Ok(())
    }
}

/// Whether the server will not take it later either.
fn is_permanent(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Error>().is_some_and(Error::is_permanent)
}

/// A connection of which no more than so many bytes are read: whoever is in between may say
/// anything before there is TLS, and a line has no length of its own.
#[derive(Debug)]
struct Bounded {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Bounded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left == 0 {
            return Poll::Ready(Err(io::Error::other("it says more than an SMTP server has to")));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        read
    }
}

impl AsyncWrite for Bounded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut task::Context<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl AsyncTokioStream for Bounded {
    fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.stream.peer_addr()
    }
}

/// What a message says.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Told {
    pub subject: String,
    pub text: String,
    /// The same for the same alerts: who gets it twice can tell.
    pub id: String,
}

/// A message that tells of these alerts.
pub fn told(site: &SiteId, now: Timestamp, alerts: &[Alert]) -> Told {
    let (over, raised): (Vec<_>, Vec<_>) = alerts.iter().partition(|it| it.cleared.is_some());
    let mut text = format!("Site {site}, {now}\n");
    for (head, some) in [("Raised", &raised), ("Over", &over)] {
        if some.is_empty() {
            continue;
        }
        text += &format!("\n{head}:\n");
        for alert in some.iter() {
            let over = alert.cleared.map_or(String::new(), |at| format!(", over since {at}"));
            text += &format!("- {} (since {}{over})\n", alert.text, alert.raised);
        }
    }
    text += "\n`tributary alerts` and `tributary doctor` at the site say more.\n";
    Told {
        subject: format!("[tributary {site}] {} raised, {} over", raised.len(), over.len()),
        text,
        id: format!("<alerts.{}@{site}.tributary>", name_of(alerts)),
    }
}

/// A name for these alerts as they stand. Their keys alone would not do: a store that was restored
/// gives them again.
fn name_of(alerts: &[Alert]) -> String {
    let mut hash = Sha256::new();
    for alert in alerts {
        let Alert { key, rule, subject, text: _, raised, cleared } = alert;
        let at = (raised.millis(), cleared.map(Timestamp::millis));
        hash.update(format!("{key} {rule} {subject} {at:?}\n"));
    }
    hash.finalize().iter().take(12).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn email() -> Email {
        Email {
            host: "mail.example".to_owned(),
            port: None,
            tls: Tls::Starttls,
            user: None,
            password_file: None,
            from: "Tributary <tributary@clinic.example>".to_owned(),
            to: vec!["desk@clinic.example".to_owned()],
        }
    }

    #[test]
    fn settings_that_cannot_be_are_refused_in_words() {
        email().check().unwrap();
        let user = Some("desk".to_owned());
        let file = Some(PathBuf::from("smtp.password"));
        let cases: [(Email, &str); 6] = [
            (Email { host: "https://mail".to_owned(), ..email() }, "the name of an SMTP server"),
            (Email { to: Vec::new(), ..email() }, "nobody would get it"),
            (Email { from: "nobody".to_owned(), ..email() }, "\"nobody\" is no e-mail address"),
            (Email { user: user.clone(), ..email() }, "needs a password_file"),
            (Email { password_file: file.clone(), ..email() }, "needs a user"),
            (
                Email { user, password_file: file, tls: Tls::None, ..email() },
                "a password is not sent without TLS",
            ),
        ];
        for (email, words) in cases {
            let said = format!("{:#}", email.check().unwrap_err());
            assert!(said.contains(words), "{words:?} is not in {said:?}");
        }
    }

    #[test]
    fn a_message_says_what_was_raised_and_what_is_over() {
        let at = Timestamp::from_millis(1_795_000_000_000);
        let one = |key, text: &str, cleared| Alert {
            key,
            rule: "silent".to_owned(),
            subject: "east".to_owned(),
            text: text.to_owned(),
            raised: at,
            cleared,
        };
        let alerts = [one(3, "east is silent", None), one(4, "the disk is full", Some(at))];
        let told = told(&"centre".parse().unwrap(), at, &alerts);
        assert_eq!(told.subject, "[tributary centre] 1 raised, 1 over");
        let id = |alerts: &[Alert]| super::told(&"centre".parse().unwrap(), at, alerts).id;
        assert!(told.id.starts_with("<alerts.") && told.id.ends_with("@centre.tributary>"));
        assert_eq!(id(&alerts), told.id, "who gets it twice can tell");
        let over = [alerts[0].clone(), Alert { cleared: None, ..alerts[1].clone() }];
        let restored = alerts.clone().map(|one| Alert { raised: at.plus_millis(1), ..one });
        assert!(![id(&alerts), id(&alerts[..1]), id(&restored)].contains(&id(&over)));
        assert_ne!(id(&restored), told.id, "a restored store gives keys again");
        let raised = format!("Raised:\n- east is silent (since {at})\n");
        let over = format!("Over:\n- the disk is full (since {at}, over since {at})\n");
        assert!(told.text.contains(&raised) && told.text.contains(&over), "{}", told.text);
    }
}
