//! Atom bytes <-> pages: RFC 4287, RFC 5005, and what the ICT4H atomfeed clients of OpenMRS and
//! Bahmni need besides.
