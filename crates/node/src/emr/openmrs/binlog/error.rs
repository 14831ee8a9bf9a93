//! What the database says, in our words and without what it may quote.

use mysql_async::{DriverError, IoError};

use crate::ports::EmrError;

pub(super) fn away(error: mysql_async::Error) -> EmrError {
    EmrError::away(format!("the database of OpenMRS: {}", words(&error)))
}

/// A log that is not there any more is lost; anything else is a link that failed.
pub(super) fn lost_or_away(error: mysql_async::Error) -> EmrError {
    match &error {
        mysql_async::Error::Server(server) if server.code == 1236 => EmrError::CursorLost(
            "the database has purged its binary log, or its files are others now".to_owned(),
        ),
        _ => away(error),
    }
}

/// Whether TLS did not come about.
fn is_of_certificates(error: &IoError) -> bool {
    match error {
        IoError::Tls(_) => true,
        IoError::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
    }
}

/// What a database says, without what it may quote: its code, and words for those that are usual.
pub(super) fn words(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(server) => match server.code {
            1044 | 1045 | 1698 => {
                "it refuses the user or the password (or takes that user by TLS only)".to_owned()
            }
            1049 => "it has no database of that name".to_owned(),
            1142 | 1227 => format!(
                "its user lacks a right ({}): GRANT SELECT on the database, REPLICATION SLAVE and \
                 REPLICATION CLIENT (MariaDB: BINLOG MONITOR) ON *.*",
                server.code
            ),
            code => format!("it answered with its error {code}"),
        },
        mysql_async::Error::Driver(DriverError::NoClientSslFlagFromServer) => {
            "it offers no TLS: set ssl_cert and ssl_key there".to_owned()
        }
        mysql_async::Error::Io(error) if is_of_certificates(error) => {
            "its certificate is not one that is trusted, or names another host: \
             database_ca_file has the certificate of who made it"
                .to_owned()
        }
        mysql_async::Error::Io(IoError::Io(error)) => {
            format!("it cannot be reached, or the link was cut ({})", error.kind())
        }
        mysql_async::Error::Io(_) => "it cannot be reached, or the link was cut".to_owned(),
        mysql_async::Error::Driver(_)
        | mysql_async::Error::Url(_)
        | mysql_async::Error::Other(_) => "its answer was not understood".to_owned(),
    }
}
