//! Changes made at one site.

use protocol::feed::Action;
use protocol::resource::Record;
use protocol::resource::search::{Param, SearchValue};
use protocol::{Limits, ResourceType};

use super::builders::{a_patient, an_observation, delete, draft, named, put};
use super::pair::body;
use super::{Maker, START, site};
use crate::{
    Draft, Expect, HistoryQuery, Recorded, Scope, SearchFilter, SearchQuery, SearchTest, Store,
    StoreError,
};

fn store(maker: &dyn Maker) -> Box<dyn Store> {
    maker.make(&site("centre"), &Limits::default())
}

fn record(store: &dyn Store, draft: &Draft) -> Recorded {
    store.change_record(draft, START).unwrap()
}

pub fn a_change_is_recorded_whole_and_can_be_read(maker: &dyn Maker) {
    let store = store(maker);
    let (amina, pulse) = (a_patient("amina"), an_observation("pulse", "amina"));
    let recorded = record(&*store, &put(&[amina.clone(), pulse.clone()]));
    assert_eq!(recorded.sequence, Some(1));
    let actions = recorded.writes.iter().map(|write| write.action).collect::<Vec<_>>();
    assert_eq!(actions, [Some(Action::Created); 2]);
    assert_eq!(body(&*store, "Patient/amina"), Some(amina.text()));
    assert_eq!(body(&*store, "Observation/pulse"), Some(pulse.text()));
    assert_eq!(store.site().unwrap().sequence, 1);
}

pub fn a_write_that_changes_nothing_makes_no_version(maker: &dyn Maker) {
    let store = store(maker);
    let amina = a_patient("amina").born("1980-01-01");
    record(&*store, &put(std::slice::from_ref(&amina)));
    let again = record(&*store, &put(&[amina.clone(), a_patient("beno")]));
    assert_eq!(again.sequence, Some(2));
    assert_eq!((again.writes[0].sequence, again.writes[0].action), (1, None));
    assert_eq!((again.writes[1].sequence, again.writes[1].action), (2, Some(Action::Created)));
    assert_eq!(record(&*store, &put(&[amina])).sequence, None);
    assert_eq!(record(&*store, &delete("Patient/nobody")).sequence, None);
    assert_eq!(store.site().unwrap().sequence, 2);
}

pub fn defect_05_what_waited_for_its_turn_is_no_older_than_what_was_before_it(maker: &dyn Maker) {
    let store = store(maker);
    let write = |id: &str, millis: i64| {
        let draft = put(&[a_patient(id)]);
        store.change_record(&draft, START.plus_millis(millis)).unwrap();
    };
    write("amina", 1_000);
    // It took its time before the other one, and was written after it.
    write("beno", 976);
    write("cora", 2_000);
    let query = SearchQuery { kind: Some(ResourceType::PATIENT), limit: 10, ..Default::default() };
    let times = |query: &SearchQuery| {
        let page = store.record_search(query, &Scope::Everything).unwrap();
        page.records.iter().map(|one| one.recorded.since(START)).collect::<Vec<_>>()
    };
    assert_eq!(times(&query), [1_000, 1_000, 2_000], "as they are sorted");
    // From the newest time that was seen on.
    let from = SearchQuery { updated: (Some(START.plus_millis(1_000)), None), ..query.clone() };
    assert_eq!(times(&from).len(), 3);
    // A clock that was put back is another matter.
    write("dana", -3_600_000);
    assert_eq!(times(&query), [1_000, 1_000, 2_000, -3_600_000]);
}

pub fn a_failing_write_takes_the_whole_change_with_it(maker: &dyn Maker) {
    let store = store(maker);
    let mut draft = put(&[a_patient("amina"), a_patient("beno")]);
    draft.writes[1].expect = Expect::Version(7);
    let error = store.change_record(&draft, START).unwrap_err();
    assert!(matches!(&error, StoreError::Precondition { record, .. }
        if *record == named("Patient/beno")));
    assert_eq!(body(&*store, "Patient/amina"), None);
    assert_eq!(store.site().unwrap().sequence, 0);
}

pub fn a_write_expects_what_was_read(maker: &dyn Maker) {
    let store = store(maker);
    let amina = a_patient("amina");
    let attempt = |draft: Draft, expect: Expect| {
        let mut draft = draft;
        draft.writes[0].expect = expect;
        store.change_record(&draft, START).map(|recorded| recorded.sequence)
    };
    let edit = |date: &str| put(&[amina.clone().born(date)]);
    assert!(attempt(edit("1980"), Expect::Version(1)).is_err());
    assert_eq!(attempt(edit("1980"), Expect::Absent).unwrap(), Some(1));
    assert!(attempt(edit("1981"), Expect::Absent).is_err());
    assert_eq!(attempt(edit("1981"), Expect::Version(1)).unwrap(), Some(2));
    assert!(attempt(edit("1982"), Expect::Version(1)).is_err());
    assert_eq!(attempt(delete("Patient/amina"), Expect::Version(2)).unwrap(), Some(3));
    assert!(attempt(edit("1983"), Expect::Version(3)).is_err());
    assert_eq!(attempt(edit("1983"), Expect::Absent).unwrap(), Some(4));
}

fn born(date: &str) -> SearchQuery {
    let value = SearchValue::Text(date.to_owned());
    let filter = SearchFilter { param: Param::Family, any: vec![SearchTest::Is(value)] };
    SearchQuery {
        kind: Some(ResourceType::PATIENT),
        filters: vec![filter],
        limit: 10,
        ..SearchQuery::default()
    }
}

pub fn a_conditional_write_is_raced_when_its_search_gives_something_else(maker: &dyn Maker) {
    let store = store(maker);
    let family = |id: &str| a_patient(id).with("name", r#"[{"family":"Otieno"}]"#);
    let mut draft = put(&[family("amina")]);
    draft.expect = vec![(born("otieno"), Vec::new())];
    assert_eq!(record(&*store, &draft).sequence, Some(1));
    let mut late = put(&[family("beno")]);
    late.expect.clone_from(&draft.expect);
    assert!(matches!(store.change_record(&late, START), Err(StoreError::Raced)));
    late.expect = vec![(born("otieno"), vec![named("Patient/amina")])];
    assert_eq!(record(&*store, &late).sequence, Some(2));
}

pub fn a_record_stands_once_in_a_change(maker: &dyn Maker) {
    let store = store(maker);
    let twice = put(&[a_patient("amina"), a_patient("amina").born("1980")]);
    assert!(matches!(store.change_record(&twice, START), Err(StoreError::Refused(_))));
    assert_eq!(store.site().unwrap().sequence, 0);
}

pub fn a_change_over_a_limit_is_refused_with_the_limits_name(maker: &dyn Maker) {
    let limits = Limits { change_records: 2, line_bytes: 400, ..Limits::default() };
    let store = maker.make(&site("small"), &limits);
    let three = put(&[a_patient("a"), a_patient("b"), a_patient("c")]);
    let error = store.change_record(&three, START).unwrap_err().to_string();
    assert!(error.contains("change_records = 2"), "{error}");
    let long = put(&[a_patient("a").born(&"x".repeat(500))]);
    let error = store.change_record(&long, START).unwrap_err().to_string();
    assert!(error.contains("line_bytes = 400"), "{error}");
    assert_eq!(store.site().unwrap().sequence, 0);
}

pub fn a_deleted_record_is_found_by_no_search_and_keeps_its_versions(maker: &dyn Maker) {
    let store = store(maker);
    let amina = a_patient("amina").with("name", r#"[{"family":"Otieno"}]"#);
    record(&*store, &put(std::slice::from_ref(&amina)));
    let found = || store.record_search(&born("otieno"), &Scope::Everything).unwrap().records;
    assert_eq!(found().len(), 1);
    record(&*store, &delete("Patient/amina"));
    assert_eq!(found(), []);
    let first = store.record_get(&named("Patient/amina"), Some(1), &Scope::Everything).unwrap();
    assert_eq!(first.unwrap().body, Some(amina.text()));
    record(&*store, &put(&[amina]));
    assert_eq!(found().len(), 1);
}

pub fn defect_20_a_deletion_and_its_undoing_are_both_told(maker: &dyn Maker) {
    let store = store(maker);
    record(&*store, &put(&[a_patient("amina")]));
    record(&*store, &delete("Patient/amina"));
    record(&*store, &put(&[a_patient("amina")]));
    let query =
        HistoryQuery { record: Some(named("Patient/amina")), limit: 10, ..HistoryQuery::default() };
    let history = store.record_history(&query, &Scope::Everything).unwrap();
    let told = history.versions.iter().map(|version| (version.sequence, version.action));
    let expected = [(3, Action::Updated), (2, Action::Deleted), (1, Action::Created)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
}

pub fn defect_22_two_edits_in_one_millisecond_are_two_versions(maker: &dyn Maker) {
    let store = store(maker);
    for year in ["1980", "1981", "1982"] {
        record(&*store, &put(&[a_patient("amina").born(year)]));
    }
    let version = |sequence| {
        let name = named("Patient/amina");
        store.record_get(&name, Some(sequence), &Scope::Everything).unwrap().unwrap()
    };
    assert_eq!(version(1).recorded, version(3).recorded);
    for (sequence, year) in [(1, "1980"), (2, "1981"), (3, "1982")] {
        assert!(version(sequence).body.unwrap().contains(year));
    }
}

pub fn defect_23_what_is_not_understood_comes_back_as_it_was_written(maker: &dyn Maker) {
    let store = store(maker);
    let long = "x".repeat(10_000);
    let text = format!(
        concat!(
            r#"{{"resourceType":"Patient","z":1.00,"id":"amina","birthDate":"1980-01-01","#,
            r#""multipleBirthInteger":1E+2,"#,
            r#""_birthDate":{{"extension":[{{"url":"urn:x","valueDecimal":0.10}}]}},"#,
            r#""text":"a,b ]]> {long}"}}"#,
        ),
        long = long
    );
    let record_in = Record::parse(text.as_bytes(), &Limits::default()).unwrap();
    record(&*store, &draft(&[record_in]));
    assert_eq!(body(&*store, "Patient/amina"), Some(text));
}

pub fn defect_34_reading_makes_no_change(maker: &dyn Maker) {
    let store = store(maker);
    record(&*store, &put(&[a_patient("amina")]));
    for _ in 0..3 {
        body(&*store, "Patient/amina");
        store.feed_list(&Scope::Everything).unwrap();
        store.record_search(&born("otieno"), &Scope::Everything).unwrap();
        store.delivery_next(START, 1_000).unwrap();
    }
    assert_eq!(store.site().unwrap().sequence, 1);
}
