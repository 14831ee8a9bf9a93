//! Searches.

use protocol::ResourceType;
use protocol::resource::search::{Param, SearchKey, SearchValue};

use super::*;
use crate::sqlite::testing::{State, World, east, gone, patient, state};

const DAY: i64 = 86_400_000;

fn key(param: Param, value: SearchValue) -> SearchKey {
    SearchKey { param, value }
}

fn token(param: Param, system: &str, code: &str) -> SearchKey {
    key(param, SearchValue::Token { system: system.into(), code: code.into() })
}

fn text(param: Param, text: &str) -> SearchKey {
    key(param, SearchValue::Text(text.into()))
}

fn day(param: Param, from: i64, days: i64) -> SearchKey {
    key(param, SearchValue::Date { low: from * DAY, high: (from + days) * DAY - 1 })
}

fn of(kind: &str) -> SearchQuery {
    let kind: ResourceType = kind.parse().unwrap();
    SearchQuery { kind: Some(kind), limit: 100, total: true, ..SearchQuery::default() }
}

fn with(mut query: SearchQuery, param: Param, any: Vec<SearchTest>) -> SearchQuery {
    query.filters.push(SearchFilter { param, any });
    query
}

fn is(value: SearchKey) -> SearchTest {
    SearchTest::Is(value.value)
}

fn found_by(world: &World, query: &SearchQuery, scope: &Scope) -> Vec<String> {
    let page = world.store.record_search(query, scope).unwrap();
    if let Some(total) = page.total {
        assert_eq!(total, page.records.len() as u64);
    }
    page.records.into_iter().map(|record| record.reference.id().to_owned()).collect()
}

fn found(world: &World, query: &SearchQuery) -> Vec<String> {
    found_by(world, query, &Scope::Everything)
}

/// Three people and what was seen of them.
fn clinic() -> World {
    let world = World::new();
    let person = |id: &str, family: &str, given: &str, born: i64, n: &str| -> State {
        state(&format!("Patient/{id}"), &[id], 1).with_keys([
            text(Param::Family, family),
            text(Param::Name, family),
            text(Param::Name, given),
            day(Param::Birthdate, born, 1),
            token(Param::Identifier, "urn:mrs", n),
            token(Param::Gender, "", "female"),
        ])
    };
    world.made_here(&[person("a", "odhiambo", "amina", 100, "1001")]);
    world.made_here(&[person("b", "odinga", "beatrice", 200, "1002")]);
    world.made_here(&[person("c", "achieng", "od", 300, "1001x")]);
    let seen = |id: &str, who: &str, code: &str, date: i64| {
        let encounter = format!("Encounter/e-{who}").parse().unwrap();
        state(&format!("Observation/{id}"), &[who], 1).with_keys([
            token(Param::Code, "http://loinc.org", code),
            token(Param::Code, "urn:ciel", "5085"),
            day(Param::Date, date, 1),
            key(Param::Encounter, SearchValue::Reference(encounter)),
        ])
    };
    world.made_here(&[seen("o1", "a", "8480-6", 10), seen("o2", "a", "8462-4", 11)]);
    world.made_here(&[seen("o3", "b", "8480-6", 12)]);
    world
}

#[test]
fn a_token_is_found_in_its_system_in_any_and_in_none() {
    let world = clinic();
    let by = |test| found(&world, &with(of("Patient"), Param::Identifier, vec![test]));
    assert_eq!(by(is(token(Param::Identifier, "urn:mrs", "1001"))), ["a"]);
    assert_eq!(by(SearchTest::Code("1001".into())), ["a"]);
    assert!(by(is(token(Param::Identifier, "", "1001"))).is_empty());
    assert!(by(is(token(Param::Identifier, "urn:other", "1001"))).is_empty());
    let gender = with(of("Patient"), Param::Gender, vec![SearchTest::Code("female".into())]);
    assert_eq!(found(&world, &gender), ["a", "b", "c"]);
}

#[test]
fn a_text_is_found_by_its_beginning_or_exactly() {
    let world = clinic();
    let by = |param, test| found(&world, &with(of("Patient"), param, vec![test]));
    assert_eq!(by(Param::Family, is(text(Param::Family, "od"))), ["a", "b"]);
    assert_eq!(by(Param::Name, is(text(Param::Name, "od"))), ["a", "b", "c"]);
    assert_eq!(by(Param::Name, SearchTest::Exact("od".into())), ["c"]);
    assert!(by(Param::Family, is(text(Param::Family, "odz"))).is_empty());
}

#[test]
fn all_filters_have_to_match_and_of_each_any_value() {
    let world = clinic();
    let codes = |codes: &[&str]| codes.iter().map(|c| SearchTest::Code((*c).into())).collect();
    let query = with(of("Observation"), Param::Code, codes(&["8480-6", "8462-4"]));
    assert_eq!(found(&world, &query), ["o1", "o2", "o3"]);
    let query = with(query, Param::Code, codes(&["8480-6", "none"]));
    assert_eq!(found(&world, &query), ["o1", "o3"]);
    let mut query = query;
    query.patients = Some(vec![patient("b")]);
    assert_eq!(found(&world, &query), ["o3"]);
    query.patients = Some(vec![patient("nobody")]);
    assert!(found(&world, &query).is_empty());
    assert!(found(&world, &with(of("Observation"), Param::Code, Vec::new())).is_empty());
}

#[test]
fn records_are_found_by_id_patient_and_encounter() {
    let world = clinic();
    let ids = Some(vec!["o3".to_owned(), "o1".to_owned(), "o9".to_owned(), "o1".to_owned()]);
    assert_eq!(found(&world, &SearchQuery { ids, ..of("Observation") }), ["o1", "o3"]);
    let patients = Some(vec![patient("a"), patient("b")]);
    let query = SearchQuery { patients, ..of("Observation") };
    assert_eq!(found(&world, &query), ["o1", "o2", "o3"]);
    let everything = SearchQuery { kind: None, ..query };
    assert_eq!(found(&world, &everything), ["a", "b", "o1", "o2", "o3"]);
    let ids = Some(vec!["o1".to_owned(), "a".to_owned()]);
    assert_eq!(found(&world, &SearchQuery { ids, ..everything }), ["a", "o1"]);
    let reference =
        is(key(Param::Encounter, SearchValue::Reference("Encounter/e-b".parse().unwrap())));
    assert_eq!(found(&world, &with(of("Observation"), Param::Encounter, vec![reference])), ["o3"]);
}

#[test]
fn dates_are_compared_as_the_ranges_that_they_cover() {
    let world = clinic();
    let period = state("Observation/p", &["a"], 1).with_keys([day(Param::Date, 10, 3)]);
    world.made_here(&[period]);
    let by = |prefix, from: i64, days: i64| {
        let test = SearchTest::Date { prefix, low: from * DAY, high: (from + days) * DAY - 1 };
        found(&world, &with(of("Observation"), Param::Date, vec![test]))
    };
    assert_eq!(by(DatePrefix::Eq, 11, 1), ["o2"]);
    assert_eq!(by(DatePrefix::Eq, 10, 3), ["o1", "o2", "o3", "p"]);
    assert_eq!(by(DatePrefix::Ne, 11, 1), ["o1", "o3", "p"]);
    assert_eq!(by(DatePrefix::Lt, 11, 1), ["o1", "p"]);
    assert_eq!(by(DatePrefix::Le, 11, 1), ["o1", "o2", "p"]);
    assert_eq!(by(DatePrefix::Gt, 11, 1), ["o3", "p"]);
    assert_eq!(by(DatePrefix::Ge, 11, 1), ["o2", "o3", "p"]);
    assert_eq!(by(DatePrefix::Gt, 12, 1), Vec::<String>::new());
    let is_day = with(of("Observation"), Param::Date, vec![is(day(Param::Date, 11, 1))]);
    assert_eq!(found(&world, &is_day), ["o2"]);
}

#[test]
fn records_are_found_by_when_they_were_recorded_even_where_the_clock_stepped_back() {
    let world = World::new();
    for id in ["a", "b", "c", "d"] {
        world.made_here(&[state(&format!("Patient/{id}"), &[id], 1)]);
    }
    world.write(|conn| {
        Ok(conn.execute("UPDATE change SET recorded = 2500 WHERE sequence = 3", [])?)
    });
    let between = |from: Option<i64>, to: Option<i64>| {
        let time = |at: Option<i64>| at.map(Timestamp::from_millis);
        found(&world, &SearchQuery { updated: (time(from), time(to)), ..of("Patient") })
    };
    assert_eq!(between(Some(3_000), None), ["b", "d"]);
    assert_eq!(between(None, Some(2_500)), ["a", "c"]);
    assert_eq!(between(Some(2_100), Some(3_000)), ["b", "c"]);
    assert!(between(Some(9_000), None).is_empty());
    assert!(between(None, Some(1_000)).is_empty());
}

#[test]
fn deleted_records_are_not_found() {
    let world = clinic();
    world.made_here(&[gone("Observation/o1")]);
    let ids = Some(vec!["o1".to_owned()]);
    assert!(found(&world, &SearchQuery { ids, ..of("Observation") }).is_empty());
    assert_eq!(found(&world, &of("Observation")), ["o2", "o3"]);
}

#[test]
fn a_childs_search_finds_only_what_is_in_its_cohorts_now() {
    let world = clinic();
    world.cohort("a", &["a", "b"]);
    world.leave("a", "b");
    world.made_here(&[state("Location/l", &[], 1), state("Basic/nobodys", &[], 1)]);
    let scope = east(&["a"]);
    assert_eq!(found_by(&world, &of("Patient"), &scope), ["a"]);
    assert_eq!(found_by(&world, &of("Observation"), &scope), ["o1", "o2"]);
    assert_eq!(found_by(&world, &of("Location"), &scope), ["l"]);
    assert!(found_by(&world, &of("Basic"), &scope).is_empty());
    assert!(found_by(&world, &of("Patient"), &east(&[])).is_empty());
    assert!(found_by(&world, &of("Patient"), &east(&["none"])).is_empty());
    let query = with(of("Patient"), Param::Gender, vec![SearchTest::Code("female".into())]);
    assert_eq!(found_by(&world, &query, &scope), ["a"]);
}

#[test]
fn defect_11_pages_of_a_search_neither_skip_nor_repeat_while_records_come_and_go() {
    let world = World::new();
    for n in 0..10 {
        let id = format!("p{n}");
        world.made_here(&[state(&format!("Patient/{id}"), &[&id], 1)]);
    }
    for order in [SearchOrder::Updated, SearchOrder::UpdatedDescending] {
        let mut query = SearchQuery { limit: 3, order, total: false, ..of("Patient") };
        let mut seen = Vec::new();
        loop {
            let page = world.store.record_search(&query, &Scope::Everything).unwrap();
            seen.extend(page.records.iter().map(|record| record.reference.id().to_owned()));
            // What was shown already is deleted under the reader's feet.
            let shown = page.records[0].reference.to_string();
            world.made_here(&[gone(&shown)]);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let left: Vec<_> = found(&world, &of("Patient"));
        seen.sort();
        seen.dedup();
        assert!(left.iter().all(|id| seen.contains(id)), "{left:?} {seen:?}");
        assert_eq!(seen.len(), if order == SearchOrder::Updated { 10 } else { 6 });
    }
}

#[test]
fn records_of_one_change_are_paged_in_a_steady_order() {
    let world = World::new();
    let states: Vec<State> = (0..7).map(|n| state(&format!("Basic/b{n}"), &[], 1)).collect();
    world.made_here(&states);
    let mut query = SearchQuery { limit: 2, total: false, ..of("Basic") };
    let mut seen = Vec::new();
    loop {
        let page = world.store.record_search(&query, &Scope::Everything).unwrap();
        seen.extend(page.records.iter().map(|record| record.reference.id().to_owned()));
        query.after = page.next;
        if query.after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["b0", "b1", "b2", "b3", "b4", "b5", "b6"]);
}

#[test]
fn a_place_to_go_on_that_this_site_did_not_give_is_refused() {
    let world = clinic();
    for after in ["", "1", "x.y", "1.2.3", "99999999999999999999.1", "1; DROP TABLE record"] {
        let query = SearchQuery { after: Some(after.into()), ..of("Patient") };
        let error = world.store.record_search(&query, &Scope::Everything).unwrap_err();
        assert!(matches!(error, StoreError::Refused(_)), "{after}: {error:?}");
    }
    let query = SearchQuery { kind: None, ..of("Patient") };
    assert!(world.store.record_search(&query, &Scope::Everything).is_err());
}

#[test]
fn what_many_records_have_in_common_is_found_in_the_pages_order_without_gathering_all() {
    let world = World::new();
    let states: Vec<State> = (0..FEW + 100)
        .map(|n| {
            let rare = if n == 2_050 { "rare" } else { "other" };
            state(&format!("Basic/b{n}"), &[], 1)
                .with_keys([token(Param::Code, "", "common"), token(Param::Code, "", rare)])
        })
        .collect();
    world.made_here(&states);
    let common = vec![SearchTest::Code("common".into())];
    let query = SearchQuery { limit: 3, ..with(of("Basic"), Param::Code, common.clone()) };
    let plan = world.write(|conn| Plan::of(conn, &query, &Sight::Everything));
    assert_eq!((plan.leader(true), plan.leader(false)), (None, Some(0)));
    let page = world.store.record_search(&query, &Scope::Everything).unwrap();
    assert_eq!((page.records.len(), page.total), (3, Some(FEW + 100)));
    let rare = vec![SearchTest::Code("rare".into())];
    let both = with(with(of("Basic"), Param::Code, common), Param::Code, rare);
    let plan = world.write(|conn| Plan::of(conn, &both, &Sight::Everything));
    assert_eq!(plan.leader(true), Some(1));
    assert_eq!(found(&world, &both), ["b2050"]);
}
