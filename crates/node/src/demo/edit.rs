//! What people at the sites do to a Patient in the story: edits of one element, on the text as
//! it stands, so that nothing else changes.

use anyhow::{Context as _, bail};
use protocol::json::{self, Json, Object, Text};

/// How deep a Patient may nest.
const DEPTH: usize = 64;

/// The text with its elements changed by `edit`.
fn edited(text: &str, edit: impl FnOnce(&mut Object<'_>)) -> anyhow::Result<String> {
    let parsed = json::parse(text.as_bytes(), DEPTH).context("failed to read a stored record")?;
    let Json::Object(mut object) = parsed else { bail!("failed to edit: not an object") };
    edit(&mut object);
    Ok(Json::Object(object).to_text())
}

/// Adds a telephone number.
pub fn with_phone(text: &str, number: &str) -> anyhow::Result<String> {
    edited(text, |patient| {
        let phone = Json::Object(Object::from_members(vec![
            (Text::plain("system"), Json::string("phone")),
            (Text::plain("value"), Json::string(number.to_owned())),
            (Text::plain("use"), Json::string("mobile")),
        ]));
        let mut all =
            patient.get("telecom").map(|telecom| telecom.items().to_vec()).unwrap_or_default();
        all.push(phone);
        patient.set("telecom", Json::Array(all));
    })
}

/// Sets the marital status.
pub fn with_marital_status(text: &str, status: &str) -> anyhow::Result<String> {
    edited(text, |patient| {
        let value = vec![(Text::plain("text"), Json::string(status.to_owned()))];
        patient.set("maritalStatus", Json::Object(Object::from_members(value)));
    })
}

/// Sets the birth date.
pub fn with_birth_date(text: &str, date: &str) -> anyhow::Result<String> {
    edited(text, |patient| patient.set("birthDate", Json::string(date.to_owned())))
}

/// Sets who looks after the patient.
pub fn with_managing_organization(text: &str, organization: &str) -> anyhow::Result<String> {
    edited(text, |patient| {
        let value = vec![(Text::plain("reference"), Json::string(organization.to_owned()))];
        patient.set("managingOrganization", Json::Object(Object::from_members(value)));
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_changes_its_element_and_nothing_else() {
        let start = r#"{"resourceType":"Patient","id":"1","x":1.00,"telecom":[{"value":"1"}"#;
        let text = format!("{start}]}}");
        assert_eq!(
            with_phone(&text, "2").unwrap(),
            start.to_owned() + r#",{"system":"phone","value":"2","use":"mobile"}]}"#
        );
        assert_eq!(
            with_birth_date(&text, "1990-01-01").unwrap(),
            start.to_owned() + r#"],"birthDate":"1990-01-01"}"#
        );
    }
}
