//! Record systems beside a site: the adapters of the port [`Emr`], one file or folder each.
//!
//! Where the settings name none (`kind = "embedded"`), Tributary's own store is the record system:
//! programs use it by `/fhir`, and there is nothing to capture or to apply.

pub mod fhir;
mod ids;
pub mod openmrs;

use std::sync::Arc;

use anyhow::Context as _;
use store::SharedStore;

use crate::config::{Config, EmrKind};
use crate::emr::fhir::FhirEmr;
use crate::fhir_server::Ways;
use crate::ports::Emr;

/// What the files of the settings hold.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// The password (or token) of our user there: `secret_file`.
    pub user: Option<String>,
    /// The password of our user of its database: `database_secret_file`.
    pub database: Option<String>,
    /// The certificates of the authority that vouches for its database: `database_ca_file`.
    pub database_ca: Option<Vec<u8>>,
}

/// The record system that the settings name; `None` where the store is it.
pub fn open(
    config: &Config,
    secrets: &Secrets,
    ways: Ways,
    store: &SharedStore,
) -> anyhow::Result<Option<Arc<dyn Emr>>> {
    match config.emr.kind {
        EmrKind::Embedded => Ok(None),
        EmrKind::Openmrs => {
            let (user, database) = (secrets.user.as_deref(), secrets.database.as_deref());
            let known = (user, database);
            let store = store.clone();
            let emr = openmrs::OpenMrs::new(&config.emr, known, store, ways, &config.limits)?;
            let emr = match &secrets.database_ca {
                Some(authority) => emr.trusting(authority),
                None => emr,
            };
            Ok(Some(Arc::new(emr)))
        }
        EmrKind::Fhir => {
            let (secret, store) = (secrets.user.as_deref(), store.clone());
            let emr = FhirEmr::new(&config.emr, secret, store, &config.limits, ways);
            Ok(Some(Arc::new(emr.context("[emr]")?)))
        }
    }
}
