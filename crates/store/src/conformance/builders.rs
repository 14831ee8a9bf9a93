//! Small resources, and changes of them.

use protocol::resource::Record;
use protocol::{Author, Limits, RecordRef};

use crate::{Draft, Expect, Write};

/// A resource that is being put together.
#[derive(Debug, Clone)]
pub struct Resource {
    kind: &'static str,
    id: String,
    members: Vec<(String, String)>,
}

fn resource(kind: &'static str, id: &str) -> Resource {
    Resource { kind, id: id.to_owned(), members: Vec::new() }
}

pub fn a_patient(id: &str) -> Resource {
    resource("Patient", id)
}

pub fn a_location(id: &str) -> Resource {
    resource("Location", id)
}

/// An observation of a patient.
pub fn an_observation(id: &str, patient: &str) -> Resource {
    resource("Observation", id).with("subject", &format!(r#"{{"reference":"Patient/{patient}"}}"#))
}

/// An encounter of a patient.
pub fn an_encounter(id: &str, patient: &str) -> Resource {
    resource("Encounter", id).with("subject", &format!(r#"{{"reference":"Patient/{patient}"}}"#))
}

/// A group of patients.
pub fn a_group(id: &str, members: &[&str]) -> Resource {
    let member = |id| format!(r#"{{"entity":{{"reference":"Patient/{id}"}}}}"#);
    let members = members.iter().map(member).collect::<Vec<_>>().join(",");
    resource("Group", id).with("member", &format!("[{members}]"))
}

impl Resource {
    /// Adds an element (JSON), or changes it.
    #[must_use]
    pub fn with(mut self, name: &str, json: &str) -> Resource {
        match self.members.iter_mut().find(|(known, _)| known == name) {
            Some((_, value)) => json.clone_into(value),
            None => self.members.push((name.to_owned(), json.to_owned())),
        }
        self
    }
    pub fn born(self, date: &str) -> Resource {
        self.with("birthDate", &format!("\"{date}\""))
    }
    pub fn gender(self, gender: &str) -> Resource {
        self.with("gender", &format!("\"{gender}\""))
    }
    /// Managed by an organization, by which a cohort may hold the patient.
    pub fn managed_by(self, organization: &str) -> Resource {
        let reference = format!(r#"{{"reference":"Organization/{organization}"}}"#);
        self.with("managingOrganization", &reference)
    }
    pub fn text(&self) -> String {
        let mut text = format!(r#"{{"resourceType":"{}","id":"{}""#, self.kind, self.id);
        for (name, json) in &self.members {
            text.push_str(&format!(r#","{name}":{json}"#));
        }
        text.push('}');
        text
    }
    pub fn record(&self) -> Record {
        Record::parse(self.text().as_bytes(), &Limits::default()).unwrap()
    }
    pub fn reference(&self) -> RecordRef {
        named(&format!("{}/{}", self.kind, self.id))
    }
}

/// The record of this name.
pub fn named(name: &str) -> RecordRef {
    name.parse().unwrap()
}

pub fn draft(records: &[Record]) -> Draft {
    let writes = records.iter().cloned();
    Draft {
        author: Author::new("nurse-3"),
        writes: writes.map(|record| Write { record, expect: Expect::Any }).collect(),
        expect: Vec::new(),
        again: false,
        lane: protocol::Urgency::Normal,
    }
}

/// A change that puts these resources.
pub fn put(resources: &[Resource]) -> Draft {
    draft(&resources.iter().map(Resource::record).collect::<Vec<_>>())
}

/// A change that deletes this record.
pub fn delete(name: &str) -> Draft {
    draft(&[Record::deleted(named(name))])
}
