//! A centre and clinics for tests, with builders for what they record.

use std::time::Duration;

use node::config::Config;
use node::demo::site::DemoSite;
use node::jobs::enrol;
use node::jobs::link::Link;
use node::jobs::round::Round;
use node::jobs::verify::{self, Comparison};
use node::ports::LinkError;
use protocol::cohort::Definition;
use protocol::{CohortName, FeedId, Limits, RecordRef, SiteId};
use serde_json::json;
use store::{CohortDraft, ConflictFilter, ConflictInfo, Scope};
use tempfile::TempDir;

/// A centre and its clinics.
pub(crate) struct World {
    pub(crate) centre: DemoSite,
    pub(crate) clinics: Vec<DemoSite>,
    pub(crate) folder: TempDir,
}

impl World {
    /// A centre and one clinic whose cohort holds everybody.
    pub(crate) async fn pair() -> World {
        World::pair_with(Limits::default()).await
    }

    pub(crate) async fn pair_with(limits: Limits) -> World {
        let mut world = World::centre_with(limits.clone()).await;
        world.add_clinic("clinic", Definition::All {}, limits).await;
        world
    }

    pub(crate) async fn centre_with(limits: Limits) -> World {
        World::centre_set(|config| config.limits = limits).await
    }

    /// A centre with other settings.
    pub(crate) async fn centre_set(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let id: SiteId = "centre".parse().unwrap();
        let centre = DemoSite::with(&folder.path().join("centre"), &id, change).await.unwrap();
        World { centre, clinics: Vec::new(), folder }
    }

    /// Adds a clinic with a cohort of its own name.
    pub(crate) async fn add_clinic(&mut self, name: &str, definition: Definition, limits: Limits) {
        let id: SiteId = name.parse().unwrap();
        let cohort: CohortName = name.parse().unwrap();
        self.set_cohort(name, definition);
        let mut clinic =
            DemoSite::with_limits(&self.folder.path().join(name), &id, limits).await.unwrap();
        let (code, _) = enrol::invite(self.centre.site(), &id, &[cohort]).unwrap();
        clinic.join(self.centre.site(), &code).await.unwrap();
        self.clinics.push(clinic);
    }

    pub(crate) fn set_cohort(&self, name: &str, definition: Definition) {
        let site = self.centre.site();
        let draft = CohortDraft {
            name: name.parse().unwrap(),
            feed: FeedId::from_random(site.entropy().uuid_bytes()),
            title: None,
            definition,
            page_entries: site.config().limits.page_entries,
        };
        site.store().cohort_set(&draft, site.now()).unwrap();
        site.wake();
    }

    pub(crate) fn clinic(&self) -> &DemoSite {
        &self.clinics[0]
    }

    /// Rounds of all clinics until nobody has anything to say.
    pub(crate) async fn settle(&self) {
        for _ in 0..30 {
            let mut quiet = true;
            for clinic in &self.clinics {
                let round = clinic.round().await.unwrap();
                quiet &= round.sent + round.received + round.not_taken + round.parked == 0;
            }
            if quiet {
                return;
            }
        }
        panic!("the sites do not come to rest");
    }

    /// All clinics hold what the centre has for them.
    pub(crate) async fn assert_in_step(&self) {
        for clinic in &self.clinics {
            let found = compare(clinic).await;
            assert_eq!(found.differences, [], "{}", clinic.id());
            assert_eq!(undelivered(clinic), 0, "{}", clinic.id());
        }
    }
}

/// All digests of the clinic against the centre's.
pub(crate) async fn compare(clinic: &DemoSite) -> Comparison {
    let link = Link::of(clinic.site()).unwrap();
    verify::run(clinic.site(), &link, |_, _| {}).await.unwrap()
}

/// Rounds, however they end, until one goes through.
pub(crate) async fn persist(clinic: &DemoSite, tries: usize) -> Round {
    let mut last = None;
    for _ in 0..tries {
        match clinic.round().await {
            Ok(round) => return round,
            Err(error) => last = Some(error),
        }
    }
    panic!("no round went through in {tries} tries: {last:?}");
}

/// Deliveries that the parent does not hold yet.
pub(crate) fn undelivered(clinic: &DemoSite) -> u64 {
    let status = clinic.site().store().site_status(clinic.site().now()).unwrap();
    status.deliveries.iter().filter(|(state, _)| *state != "done").map(|(_, count)| count).sum()
}

pub(crate) fn sequence(site: &DemoSite) -> u64 {
    site.site().store().site().unwrap().sequence
}

pub(crate) fn reference(text: &str) -> RecordRef {
    text.parse().unwrap()
}

/// The present text of a record, or `None` where it is not there (or deleted).
pub(crate) fn text(site: &DemoSite, record: &str) -> Option<String> {
    let found = site.site().store().record_get(&reference(record), None, &Scope::Everything);
    found.unwrap().and_then(|version| version.body)
}

/// The conflicts that a site knows of, newest first.
pub(crate) fn conflicts(site: &DemoSite) -> Vec<ConflictInfo> {
    let filter = ConflictFilter { limit: 100, ..ConflictFilter::default() };
    site.site().store().conflict_list(&filter, &Scope::Everything).unwrap().conflicts
}

pub(crate) fn patient(id: &str, family: &str) -> String {
    json!({
        "resourceType": "Patient", "id": id,
        "name": [{"use": "official", "family": family, "given": ["Amina", "Atieno"]}],
        "birthDate": "1984-02", "gender": "female",
    })
    .to_string()
}

pub(crate) fn observation(id: &str, patient: &str, value: &str) -> String {
    // The number's literal is the point: it must arrive as it was written.
    format!(
        "{{\"resourceType\":\"Observation\",\"id\":\"{id}\",\"status\":\"final\",\
         \"code\":{{\"coding\":[{{\"system\":\"http://loinc.org\",\"code\":\"8310-5\"}}]}},\
         \"subject\":{{\"reference\":\"Patient/{patient}\"}},\
         \"valueQuantity\":{{\"value\":{value},\"unit\":\"Cel\"}}}}"
    )
}

pub(crate) fn location(id: &str, name: &str) -> String {
    json!({"resourceType": "Location", "id": id, "name": name}).to_string()
}

/// A `GET` or `POST` to a site by a plain HTTP client.
pub(crate) async fn http(
    site: &DemoSite,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Vec<u8>,
) -> (u16, Vec<u8>) {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}{path}", site.site().config().public_url);
    let mut request = client.request(method.parse().unwrap(), url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.timeout(Duration::from_secs(60)).send().await.unwrap();
    (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
}

/// The headers by which a clinic is known to its parent.
pub(crate) fn as_child(clinic: &DemoSite) -> Vec<(&'static str, String)> {
    let epoch = clinic.site().store().site().unwrap().epoch;
    vec![
        ("authorization", format!("Bearer {}", clinic.site().credential().unwrap())),
        ("tributary-protocol", "1".to_owned()),
        ("tributary-site", clinic.id().to_string()),
        ("tributary-epoch", epoch.to_string()),
    ]
}

/// A request to the centre in the name of a clinic.
pub(crate) async fn ask(
    world: &World,
    clinic: &DemoSite,
    method: &str,
    path: &str,
    body: &[u8],
) -> (u16, Vec<u8>) {
    let headers = as_child(clinic);
    let headers: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
    http(&world.centre, method, path, &headers, body.to_vec()).await
}

/// The error of a round that must not go through.
pub(crate) async fn failed_round(clinic: &DemoSite) -> LinkError {
    clinic.round().await.expect_err("the round went through")
}

/// The clinic's parent has another URL from now on.
pub(crate) async fn move_parent(clinic: &mut DemoSite, url: &str) {
    let mut config = clinic.site().config().clone();
    config.parent.as_mut().unwrap().url = url.to_owned();
    let credential = clinic.site().credential().map(str::to_owned);
    clinic.restart(config, credential).await.unwrap();
}
