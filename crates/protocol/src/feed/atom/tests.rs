use proptest::prelude::*;

use super::*;
use crate::change::ChangeId;
use crate::error::RefusalKind;
use crate::id::{ResourceType, SiteId};

const BASE: &str = "https://centre.example/sync";
const FEEDS: &str = "https://centre.example/sync/feeds/kisumu-east/";

fn feed(head: u64, page_entries: u32) -> FeedInfo {
    FeedInfo {
        id: FeedId::from_bytes([7; 16]),
        name: "kisumu-east".to_owned(),
        title: "Kisumu East clinic".to_owned(),
        epoch: Epoch::from_bytes([8; 16]),
        head,
        head_join: 0,
        page_entries,
        created: Timestamp::from_millis(1_795_000_000_000),
    }
}

fn record(text: &str) -> RecordRef {
    text.parse().unwrap()
}

fn entry(position: u64) -> Entry {
    Entry {
        position,
        kind: EntryKind::Change,
        change: Some(ChangeId {
            origin: "kisumu-east".parse().unwrap(),
            epoch: Epoch::from_bytes([9; 16]),
            number: 18_000 + position,
        }),
        at: Timestamp::from_millis(1_795_421_730_000 + position as i64 * 500),
        origin: "kisumu-east".parse().unwrap(),
        author: Some(Author::new("nurse-3")),
        patients: vec![record("Patient/amina")],
        records: vec![
            (record("Patient/amina"), Action::Updated),
            (record("Encounter/e1"), Action::Created),
            (record("Observation/o1"), Action::Created),
            (record("Observation/o2"), Action::Created),
        ],
        reason: None,
    }
}

/// Page `number` of a feed with entries up to `head`, as a store would give it.
fn page(head: u64, page_entries: u32, number: u64) -> FeedPage {
    let feed = feed(head, page_entries);
    let (first, last) = feed.positions_of(number).unwrap();
    let entries = (first..=last.min(head)).map(entry).collect();
    FeedPage { feed, site: "centre".parse().unwrap(), number, entries }
}

fn joined(position: u64, kind: EntryKind) -> Entry {
    let reason = (kind == EntryKind::Leave).then(|| "moved to Siaya".to_owned());
    Entry { kind, change: None, author: None, records: vec![], reason, ..entry(position) }
}

fn read_back(bytes: &str) -> AtomPage {
    read(bytes.as_bytes(), 1 << 20).unwrap()
}

/// Head, page, view, and the links expected: rel and the last part of the URL.
type LinkCase<'a> = (u64, u64, View, &'a [(&'a str, &'a str)]);

#[test]
fn each_page_has_the_links_that_its_readers_walk_by() {
    let table: &[LinkCase<'_>] = &[
        (0, 1, View::Recent, &[("self", "recent"), ("via", "1")]),
        (2, 1, View::Recent, &[("self", "recent"), ("via", "1")]),
        (2, 1, View::Numbered, &[("self", "1"), ("via", "1")]),
        // Full, and nothing follows yet: a next-archive link would lead to a 404.
        (5, 1, View::Recent, &[("self", "recent"), ("via", "1")]),
        (
            6,
            1,
            View::Numbered,
            &[("self", "1"), ("via", "1"), ("current", "recent"), ("next-archive", "2")],
        ),
        (6, 2, View::Recent, &[("self", "recent"), ("via", "2"), ("prev-archive", "1")]),
        (6, 2, View::Numbered, &[("self", "2"), ("via", "2"), ("prev-archive", "1")]),
        (
            11,
            2,
            View::Numbered,
            &[
                ("self", "2"),
                ("via", "2"),
                ("prev-archive", "1"),
                ("current", "recent"),
                ("next-archive", "3"),
            ],
        ),
    ];
    for (head, number, view, expected) in table {
        let read = read_back(&write(&page(*head, 5, *number), *view, BASE));
        let links: Vec<_> = read.links.iter().map(|l| (l.rel.as_str(), l.href.clone())).collect();
        let expected: Vec<_> = expected.iter().map(|(r, p)| (*r, format!("{FEEDS}{p}"))).collect();
        assert_eq!(links, expected, "head {head}, page {number}, {view:?}");
        assert_eq!(read.archive, expected.iter().any(|(rel, _)| *rel == "next-archive"));
        assert_eq!(read.source.unwrap().head, (!read.archive).then_some(*head));
    }
}

#[test]
fn an_archived_page_keeps_its_bytes_whatever_comes_after_it() {
    let first = write(&page(6, 5, 1), View::Numbered, BASE);
    for head in [7, 10, 11, 5_000] {
        assert_eq!(write(&page(head, 5, 1), View::Numbered, BASE), first);
    }
    assert_eq!(write(&page(6, 5, 1), View::Numbered, "https://centre.example/sync/"), first);
}

#[test]
fn a_page_is_written_as_the_protocol_shows() {
    let written = write(&page(2, 1, 2), View::Recent, "https://centre.example");
    assert_eq!(written, include_str!("../../../fixtures/v1/feed-recent.xml"));
}

#[test]
fn pages_of_version_1_can_be_read_for_ever() {
    let read = read_back(include_str!("../../../fixtures/v1/feed-recent.xml"));
    assert_eq!(read, AtomPage::of(&page(2, 1, 2), View::Recent, "https://centre.example"));
}

#[test]
fn an_empty_feed_has_a_first_page_with_the_time_of_its_creation() {
    let read = read_back(&write(&page(0, 100, 1), View::Recent, BASE));
    assert_eq!(read.entries, []);
    assert_eq!(read.updated, Some(Timestamp::from_millis(1_795_000_000_000)));
}

#[test]
fn entries_without_a_change_id_are_named_by_feed_and_position() {
    let mut page = page(3, 5, 1);
    page.entries[0] = joined(1, EntryKind::Join);
    page.entries[1] = joined(2, EntryKind::Leave);
    page.entries[2].change = None;
    let read = read_back(&write(&page, View::Recent, BASE));
    let feed = "07070707-0707-0707-0707-070707070707";
    let ids: Vec<_> = read.entries.iter().map(|entry| entry.id.clone()).collect();
    assert_eq!(
        ids,
        [
            format!("urn:tributary:membership:{feed}:1"),
            format!("urn:tributary:membership:{feed}:2"),
            format!("urn:tributary:entry:{feed}:3"),
        ]
    );
    assert_eq!(read.entries[0].categories, ["kisumu-east", "JOIN", "Patient"]);
    assert_eq!(read.entries[1].categories, ["kisumu-east", "LEAVE", "Patient"]);
    assert_eq!(read.entries[1].title, "Patient/amina left");
    assert_eq!(read.entries[1].change.clone().unwrap().reason.unwrap(), "moved to Siaya");
    let content = format!("{{\"fhir\":\"{BASE}/fhir/Patient/amina\"}}");
    assert_eq!(read.entries[0].content.as_deref(), Some(content.as_str()));
}

#[test]
fn the_action_is_that_of_all_records_or_else_an_update() {
    let all = |action| vec![(record("Patient/a"), action), (record("Flag/b"), action)];
    let mixed = vec![(record("Patient/a"), Action::Deleted), (record("Flag/b"), Action::Created)];
    for (records, expected) in [
        (all(Action::Created), "CREATED"),
        (all(Action::Updated), "UPDATED"),
        (all(Action::Deleted), "DELETED"),
        (mixed, "UPDATED"),
    ] {
        let mut page = page(1, 5, 1);
        page.entries[0].records = records;
        let read = read_back(&write(&page, View::Recent, BASE));
        assert_eq!(read.entries[0].categories, ["kisumu-east", expected, "Patient", "Flag"]);
    }
}

#[test]
fn an_independent_reader_agrees_with_what_we_wrote() {
    let mut page = page(250, 100, 2);
    page.feed.title = "Cohort <\"A&B\"> of Kisumu".to_owned();
    let written = write(&page, View::Numbered, BASE);
    let theirs = roxmltree::Document::parse(&written).unwrap();
    let feed = theirs.root_element();
    assert_eq!(text_of(feed, "id"), "urn:uuid:07070707-0707-0707-0707-070707070707#2");
    assert_eq!(text_of(feed, "title"), page.feed.title);
    let entries: Vec<_> = all_of(feed, "entry").collect();
    assert_eq!(entries.len(), 100);
    for (their, our) in entries.iter().zip(&page.entries) {
        assert_eq!(text_of(*their, "id"), our.change.as_ref().unwrap().to_string());
        assert_eq!(text_of(*their, "updated"), our.at.to_string());
        let links: Vec<_> = all_of(*their, "link").filter_map(|l| l.attribute("href")).collect();
        let expected: Vec<_> =
            our.records.iter().map(|(record, _)| format!("{BASE}/fhir/{record}")).collect();
        assert_eq!(links, expected);
        let content = format!("{{\"fhir\":\"{BASE}/fhir/Patient/amina\"}}");
        assert_eq!(text_of(*their, "content"), content);
    }
    let rel = |wanted: &str| {
        let link = all_of(feed, "link").find(|link| link.attribute("rel") == Some(wanted));
        link.and_then(|link| link.attribute("href")).map(str::to_owned)
    };
    assert_eq!(rel("prev-archive"), Some(format!("{FEEDS}1")));
    assert_eq!(rel("next-archive"), Some(format!("{FEEDS}3")));
    assert_eq!(rel("via"), Some(format!("{FEEDS}2")));
}

/// The elements of Atom with a name in another one, as a reader of XML that is not ours has them.
fn all_of<'a>(
    parent: roxmltree::Node<'a, 'a>,
    name: &'static str,
) -> impl Iterator<Item = roxmltree::Node<'a, 'a>> {
    parent.children().filter(move |child| child.has_tag_name(("http://www.w3.org/2005/Atom", name)))
}

fn text_of<'a>(parent: roxmltree::Node<'a, 'a>, name: &'static str) -> &'a str {
    all_of(parent, name).next().and_then(|element| element.text()).unwrap()
}

#[test]
fn feeds_of_other_publishers_are_read_as_far_as_needed() {
    let text = r#"<?xml version='1.0'?>
      <a:feed xmlns:a='http://www.w3.org/2005/Atom' xmlns:x='urn:x'><a:id> tag:bahmni:1 </a:id>
      <x:id>no</x:id><a:title type="xhtml"><div>Pat<b>ients</b></div></a:title>
      <a:link href='http://emr/recent'/><a:author><a:name>OpenMRS</a:name></a:author>
      <a:unheard><a:id>no</a:id><a:link href='no'/></a:unheard>
      <a:entry><a:id>tag:1</a:id><a:title>A &amp; B&#x21;</a:title><a:updated>yesterday</a:updated>
        <a:category term='patient'/><a:content type='application/vnd.atomfeed+xml'>
        <![CDATA[/rest/v1/patient/]]><![CDATA[1]]></a:content></a:entry></a:feed>"#;
    let page = read_back(text);
    assert_eq!((page.id.as_str(), page.title.as_str()), ("tag:bahmni:1", "Patients"));
    assert_eq!(page.author.as_deref(), Some("OpenMRS"));
    assert_eq!(page.links.len(), 1);
    assert_eq!(page.link("alternate"), Some("http://emr/recent"));
    let entry = &page.entries[0];
    assert_eq!((entry.id.as_str(), entry.title.as_str(), entry.updated), ("tag:1", "A & B!", None));
    assert_eq!(entry.categories, ["patient"]);
    assert_eq!(entry.content.as_deref().map(str::trim), Some("/rest/v1/patient/1"));
    assert_eq!(entry.change, None);
}

#[test]
fn what_is_no_feed_is_refused_with_what_and_where() {
    let deep = format!("<feed xmlns='{ATOM}'>{}", "<a>".repeat(10_000));
    let whole = |inside: &str| format!("<feed xmlns='{ATOM}'>{inside}</feed>");
    for (bytes, expected) in [
        ("", "is empty"),
        ("{}", "text outside"),
        ("<feed/>", "not an Atom feed"),
        ("<html><body/></html>", "not an Atom feed"),
        (&deep, "nested deeper than 64"),
        (&format!("<feed xmlns='{ATOM}'><entry>"), "cut short"),
        (&whole("<entry></id>"), "cannot be read at byte"),
        (&whole("<title>&nbsp;</title>"), "entities are not read"),
        (&whole("<link href='&x;'/>"), "an entity that is not read"),
        (&whole("<link href='a' href='b'/>"), "cannot be read at byte"),
        (&whole("<title>&#0;</title>"), "names no character"),
        (&whole("<y:id/>"), "not declared"),
        (&format!("{}<feed/>", whole("")), "follows the end"),
        (&format!("<!DOCTYPE f [<!ENTITY x 'y'>]>{}", whole("")), "document type"),
    ] {
        let refusal = read(bytes.as_bytes(), 1 << 20).unwrap_err();
        assert!(refusal.reason.contains(expected), "{expected}: {refusal}");
    }
    assert!(read(b"<feed \xff", 100).unwrap_err().reason.contains("UTF-8"));
    assert_eq!(read(&[b' '; 101], 100).unwrap_err().kind, RefusalKind::OverLimit);
}

#[test]
fn defect_11_an_entry_stays_on_its_page_for_ever() {
    let mut seen = BTreeMap::new();
    for head in 1..40 {
        for number in 1..=feed(head, 7).recent() {
            for entry in read_back(&write(&page(head, 7, number), View::Numbered, BASE)).entries {
                let page = *seen.entry(entry.id.clone()).or_insert(number);
                assert_eq!(page, number, "{} moved when {head} was added", entry.id);
            }
        }
    }
    assert_eq!(seen.len(), 39);
}

#[test]
fn defect_24_ids_and_titles_fit_the_columns_of_their_readers() {
    let mut page = page(1, 5, 1);
    page.feed.title = "ש".repeat(1_000);
    let longest = ResourceType::all().max_by_key(|kind| kind.name().len()).unwrap();
    let record = RecordRef::new(longest, &"x".repeat(64)).unwrap();
    page.entries[0].records = vec![(record, Action::Created); 1_000];
    page.entries[0].author = Some(Author::new(&"y".repeat(5_000)));
    let site: SiteId = "s".repeat(63).parse().unwrap();
    page.entries[0].change.as_mut().unwrap().number = u64::MAX;
    page.entries[0].change.as_mut().unwrap().origin = site;
    let read = read_back(&write(&page, View::Recent, BASE));
    let texts = [&read.title, &read.id, &read.entries[0].id, &read.entries[0].title];
    for text in texts {
        assert!((1..=255).contains(&text.chars().count()), "{text}");
    }
    assert_eq!(read.title, "ש".repeat(255));
    assert!(read.entries[0].categories.iter().all(|term| term.len() <= 255));
}

#[test]
fn defect_25_delimiters_and_control_characters_reach_no_reader() {
    let mut page = page(1, 5, 1);
    page.feed.title = "a\u{0}b\u{1b}]]>\r\n<c>\u{fffe}".to_owned();
    page.entries[0].reason = Some("]]>, \"\u{1}\t'&".to_owned());
    let written = write(&page, View::Recent, "https://x/]]>\u{ffff}<![CDATA[");
    assert!(written.chars().all(|c| write::is_xml(c) && (c == '\n' || !c.is_control())));
    let read = read_back(&written);
    assert_eq!(read.title, "a b ]]>  <c>\u{fffd}");
    assert_eq!(read.entries[0].change.clone().unwrap().reason.unwrap(), "]]>, \"  '&");
    let content = "{\"fhir\":\"https://x/]]>\u{fffd}<![CDATA[/fhir/Patient/amina\"}";
    assert_eq!(read.entries[0].content.as_deref(), Some(content));
    assert!(read.entries[0].categories.iter().all(|term| !term.contains(',')));
    let theirs = roxmltree::Document::parse(&written).unwrap();
    let entry = all_of(theirs.root_element(), "entry").next().unwrap();
    assert_eq!(text_of(entry, "content"), content);
}

fn any_record() -> impl Strategy<Value = RecordRef> {
    (0..146usize, "[A-Za-z0-9.-]{1,64}")
        .prop_map(|(kind, id)| RecordRef::new(ResourceType::all().nth(kind).unwrap(), &id).unwrap())
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let action = prop_oneof![Just(Action::Created), Just(Action::Updated), Just(Action::Deleted)];
    let kind = prop_oneof![Just(EntryKind::Change), Just(EntryKind::Join), Just(EntryKind::Leave)];
    let texts = (proptest::option::of(".*"), proptest::option::of(".*"));
    let lists = (
        proptest::collection::vec(any_record(), 0..3),
        proptest::collection::vec((any_record(), action), 0..4),
    );
    let change = proptest::option::of(1..u64::MAX);
    let numbers = (1..u64::MAX, change, -62_135_596_800_000..253_402_300_799_999i64);
    (kind, numbers, texts, lists).prop_map(
        |(kind, (position, change, at), (author, reason), (patients, records))| Entry {
            position,
            kind,
            change: change.map(|number| ChangeId {
                origin: "a-1".parse().unwrap(),
                epoch: Epoch::from_bytes([1; 16]),
                number,
            }),
            at: Timestamp::from_millis(at),
            origin: "b".parse().unwrap(),
            author: author.as_deref().map(Author::new),
            patients,
            records,
            reason,
        },
    )
}

proptest! {
    #[test]
    fn a_page_is_read_as_it_is_written(
        entries in proptest::collection::vec(any_entry(), 0..4),
        title in ".*", head in 0..300u64, number in 1..4u64, recent: bool,
    ) {
        let feed = FeedInfo { title, ..feed(head, 100) };
        let page = FeedPage { feed, site: "centre".parse().unwrap(), number, entries };
        let view = if recent { View::Recent } else { View::Numbered };
        prop_assert_eq!(read_back(&write(&page, view, BASE)), AtomPage::of(&page, view, BASE));
    }

    #[test]
    fn no_bytes_make_the_reader_fail_otherwise_than_by_a_refusal(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        cut in 0..4_000usize, replaced: u8,
    ) {
        let _ = read(&bytes, 1 << 20);
        let mut written = write(&page(2, 2, 1), View::Recent, BASE).into_bytes();
        // What is cut off has to be more than the last line's end.
        let at = cut % written.trim_ascii_end().len();
        let _ = read(&written[..at], 1 << 20).unwrap_err();
        written[at] = replaced;
        let _ = read(&written, 1 << 20);
    }
}
