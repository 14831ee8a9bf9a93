//! Record systems beside a site: the adapters of the port [`Emr`], one file or folder each.
//!
//! Where the settings name none (`kind = "embedded"`), Tributary's own store is the record system:
//! programs use it by `/fhir`, and there is nothing to capture or to apply.

pub mod openmrs;

use std::sync::Arc;

use anyhow::bail;
use store::SharedStore;

use crate::config::{Config, EmrKind};
use crate::ports::Emr;

/// The record system that the settings name; `None` where the store is it. `secret` is what the
/// file of `secret_file` holds.
pub fn open(
    config: &Config,
    _secret: Option<String>,
    _store: &SharedStore,
) -> anyhow::Result<Option<Arc<dyn Emr>>> {
    match config.emr.kind {
        EmrKind::Embedded => Ok(None),
        kind @ (EmrKind::Fhir | EmrKind::Openmrs) => {
            bail!("[emr] kind = \"{}\": this version has no adapter for it yet", kind.name())
        }
    }
}
