//! The compression dictionaries that ship with the program.
//!
//! A dictionary is a file that never changes once it was released: stores and peers hold bytes
//! that only it can open. A better one gets the next number. `cargo xtask dictionary` builds it,
//! from generated records and hand-written skeletons of FHIR resources: nobody's data is in it.

/// The zstd dictionary for FHIR R4 as JSON: of bodies in the store, and of streams between sites
/// (`dcz`, RFC 9842).
pub const V1: &[u8] = include_bytes!("../dictionary/v1.zdict");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_resource_fits_a_third_of_its_size_and_comes_back() {
        let body = br#"{"resourceType":"Condition","id":"5c5d5c46-31b1-4a07-a6d5-1a3bb42f1d11","clinicalStatus":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/condition-clinical","code":"active"}]},"code":{"coding":[{"system":"http://snomed.info/sct","code":"61462000"}],"text":"Malaria"},"subject":{"reference":"Patient/1d3a0d6c-7d9b-4b2c-8a54-0c4d6f8f2f10"}}"#;
        let packed =
            zstd::bulk::Compressor::with_dictionary(3, V1).unwrap().compress(body).unwrap();
        assert!(packed.len() < body.len() / 3, "{} bytes", packed.len());
        let opened = zstd::bulk::Decompressor::with_dictionary(V1)
            .unwrap()
            .decompress(&packed, body.len())
            .unwrap();
        assert_eq!(opened, body);
        assert!(V1.len() <= 112 << 10);
    }
}
