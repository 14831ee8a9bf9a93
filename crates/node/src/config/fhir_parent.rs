//! A parent that is a FHIR server of another make: the section `[parent.fhir]`.

use serde::{Deserialize, Serialize};

use super::LoginConfig;

/// How such a parent is written to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FhirParent {
    /// By which requests.
    pub way: FhirWay,
    /// How it is logged in to.
    pub login: LoginConfig,
}

/// By which requests changes go to a FHIR server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FhirWay {
    /// By what it offers at `/metadata`: the first of those below.
    #[default]
    Offered,
    /// Many patients' changes in one transaction Bundle.
    Transaction,
    /// A FHIR message for each patient, to `$process-message`.
    Message,
    /// One record after the other, those first that others refer to.
    Put,
}

impl FhirWay {
    /// In words, for people.
    pub const fn words(self) -> &'static str {
        match self {
            FhirWay::Offered => "by what it offers",
            FhirWay::Transaction => "by transaction Bundles",
            FhirWay::Message => "by FHIR messages",
            FhirWay::Put => "record by record",
        }
    }
}

pub(super) fn is_default(parent: &FhirParent) -> bool {
    *parent == FhirParent::default()
}
