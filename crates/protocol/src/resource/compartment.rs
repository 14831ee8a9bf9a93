//! The FHIR R4 patient compartment: whose record is this?
