//! Who is let in, and who is not.

use node::demo::site::DemoSite;
use node::http::auth::credential_hash;
use node::jobs::enrol;
use protocol::{CohortName, Limits};
use store::{ChildDraft, TokenDraft, TokenScope};

use crate::world::*;

fn cohort(name: &str) -> CohortName {
    name.parse().unwrap()
}

async fn newcomer(world: &World, name: &str) -> DemoSite {
    DemoSite::make(&world.folder.path().join(name), &name.parse().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_works_once_for_the_site_that_it_was_made_for() {
    let world = World::pair().await;
    let centre = world.centre.site();
    let (code, _) = enrol::invite(centre, &"west".parse().unwrap(), &[cohort("clinic")]).unwrap();
    let url = &centre.config().public_url;
    let other = newcomer(&world, "north").await;
    let refused = enrol::redeem(other.site(), url, &code).await.unwrap_err().to_string();
    assert!(refused.contains("another site id"), "{refused}");
    let west = newcomer(&world, "west").await;
    let typed = code.to_lowercase().replace('-', " ");
    let answer = enrol::redeem(west.site(), url, &typed).await.unwrap();
    assert_eq!(answer.cohorts, [cohort("clinic")]);
    assert!(enrol::redeem(west.site(), url, &code).await.is_err(), "the code worked twice");
    assert!(enrol::redeem(west.site(), url, "ABCD-EFGH").await.is_err());
    assert!(enrol::redeem(west.site(), url, "").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_code_is_refused() {
    let world = World::pair().await;
    let centre = world.centre.site();
    let draft = ChildDraft {
        site: "west".parse().unwrap(),
        cohorts: vec![cohort("clinic")],
        code_hash: credential_hash("OLDCODE"),
        code_expires: centre.now().plus_millis(-1),
    };
    centre.store().child_add(&draft, centre.now()).unwrap();
    let west = newcomer(&world, "west").await;
    let url = &centre.config().public_url;
    let refused = enrol::redeem(west.site(), url, "OLDCODE").await.unwrap_err().to_string();
    assert!(refused.contains("expired"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_cannot_take_the_parents_own_id() {
    let world = World::pair().await;
    let centre = world.centre.site();
    let twin = DemoSite::make(&world.folder.path().join("twin"), centre.id()).await.unwrap();
    let url = &centre.config().public_url;
    let refused = enrol::redeem(twin.site(), url, "ANY").await.unwrap_err().to_string();
    assert!(refused.contains("taken"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_child_is_out_at_once_and_is_told_what_to_do() {
    let world = World::pair().await;
    world.settle().await;
    let centre = world.centre.site();
    assert!(centre.store().child_revoke(world.clinic().id(), centre.now()).unwrap());
    world.clinic().record("nurse", &[patient("p", "Auma")]).await.unwrap();
    let error = failed_round(world.clinic()).await.to_string();
    assert!(error.contains("revoked") && error.contains("tributary join"), "{error}");
    assert_eq!(undelivered(world.clinic()), 1, "the change is not lost by that");
    // Let in again, the site goes on where it was.
    let (code, _) = enrol::invite(centre, world.clinic().id(), &[cohort("clinic")]).unwrap();
    let mut world = world;
    let parent = centre_clone(&world);
    world.clinics[0].join(&parent, &code).await.unwrap();
    world.settle().await;
    world.assert_in_step().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_waits_for_news_ends_when_its_child_is_revoked() {
    let world = World::pair().await;
    world.settle().await;
    let (centre, clinic) = (world.centre.site(), world.clinic());
    let feeds = centre.store().feed_list(&store::Scope::Everything).unwrap();
    let feed = feeds.iter().find(|feed| feed.name == "clinic").unwrap();
    let (head, epoch) = (feed.head, feed.epoch);
    let at = feeds
        .iter()
        .map(|feed| format!("{}:{}:{}", feed.name, feed.head, feed.head_join))
        .collect::<Vec<_>>()
        .join(",");
    let stream = format!("/sync/feeds/clinic/changes?after={head}&epoch={epoch}&wait=20");
    let poll = format!("/sync/poll?epoch={epoch}&at={at}&wait=20");
    let revoke = async {
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        assert!(centre.store().child_revoke(clinic.id(), centre.now()).unwrap());
        world.centre.record("nurse", &[patient("late", "Atieno")]).await.unwrap();
    };
    let headers = as_child(clinic);
    let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let ((streamed, text), (polled, _), ()) = tokio::join!(
        http(&world.centre, "GET", &stream, &headers, Vec::new()),
        http(&world.centre, "GET", &poll, &headers, Vec::new()),
        revoke,
    );
    assert_eq!((streamed, polled), (401, 401), "{}", String::from_utf8_lossy(&text));
}

fn centre_clone(world: &World) -> node::site::Site {
    world.centre.site().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_foreign_and_missing_credentials_are_refused_on_every_route() {
    let mut world = World::pair().await;
    world.add_clinic("west", protocol::cohort::Definition::All {}, Limits::default()).await;
    let routes = [
        ("GET", "/sync/feeds/clinic/changes?after=0"),
        ("GET", "/sync/feeds/clinic/digests"),
        ("POST", "/sync/feeds/clinic/fetch"),
        ("POST", "/sync/changes"),
        ("POST", "/sync/status"),
    ];
    let own = as_child(&world.clinics[0]);
    let bearer = own[0].1.clone();
    let wrong: [&[(&str, &str)]; 4] = [
        &[("authorization", "Bearer nonsense")],
        &[("authorization", "Basic YTpi")],
        &[("authorization", ""), ("tributary-site", "clinic")],
        // One child's credential in another child's name.
        &[("authorization", &bearer), ("tributary-site", "west")],
    ];
    for (method, path) in routes {
        for headers in wrong {
            let (status, body) = http(&world.centre, method, path, headers, b"{}".to_vec()).await;
            let body = String::from_utf8_lossy(&body).into_owned();
            assert_eq!(status, 401, "{method} {path} {headers:?}: {body}");
        }
        // This machine's programs need no credential in this world, and have no business here.
        let (status, _) = http(&world.centre, method, path, &[], b"{}".to_vec()).await;
        assert_eq!(status, 403, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_programs_credential_ends_when_it_expires_or_is_revoked() {
    let world = World::pair().await;
    let centre = world.centre.site();
    let add = |name: &str, secret: &str, expires| {
        let draft = TokenDraft {
            name: name.to_owned(),
            scope: TokenScope::FhirRead,
            children: Vec::new(),
            hash: credential_hash(secret),
            expires,
        };
        centre.store().token_add(&draft, centre.now()).unwrap();
    };
    add("good", "one", None);
    add("late", "two", Some(centre.now().plus_millis(-1)));
    add("gone", "three", None);
    assert!(centre.store().token_revoke("gone", centre.now()).unwrap());
    for (secret, expected) in [("one", 200), ("two", 401), ("three", 401), ("four", 401)] {
        let bearer = format!("Bearer {secret}");
        let headers = [("authorization", bearer.as_str())];
        let (status, _) = http(&world.centre, "GET", "/feeds", &headers, Vec::new()).await;
        assert_eq!(status, expected, "{secret}");
    }
}
