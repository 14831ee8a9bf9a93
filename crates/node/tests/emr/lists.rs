//! What the record system's lists show is taken as it is where that can undo nothing.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use node::config::EmrMode;
use node::jobs::capture;
use node::ports::{Capabilities, Emr, EmrError, EmrWrite, Noticed, Shown};
use protocol::resource::Record;
use protocol::{Limits, RecordRef};

use crate::jobs::{AMINA, Clinic, block, named, observation};
use crate::memory::{Faults, MemoryEmr};

#[test]
fn what_a_list_shows_is_not_read_again_but_for_a_sample() {
    let clinic = Clinic::new(Faults { lists: true, portion: 40, ..Faults::NONE });
    let body = |n: usize| format!(r#"{{"resourceType":"Patient","id":"p{n:03}"}}"#);
    for n in 0..95 {
        clinic.emr.enter(&[(named(&format!("Patient/p{n:03}")), Some(body(n)))]);
    }
    clinic.settle();
    assert!((0..95).all(|n| clinic.body(&format!("Patient/p{n:03}")).is_some()));
    assert_eq!((clinic.status().captured, clinic.emr.reads()), (95, 3), "one of each portion");
    // What is written there comes back in its log.
    clinic.put(&[AMINA, &observation("o", 70)]);
    clinic.settle();
    assert_eq!(clinic.emr.reads(), 3, "echoes are known by what is shown");
    // An edit there is read as it is.
    let edited = body(7).replace('}', r#","gender":"male"}"#);
    clinic.emr.enter(&[(named("Patient/p007"), Some(edited))]);
    clinic.settle();
    assert!(clinic.body("Patient/p007").unwrap().contains("male"));
    assert_eq!(clinic.emr.reads(), 4);
}

#[test]
fn where_lists_show_records_otherwise_each_is_read() {
    let emr = MemoryEmr::new(Faults { lists: true, ..Faults::NONE });
    let clinic = Clinic::beside(emr.clone(), Arc::new(Narrating(emr)), EmrMode::TwoWay);
    let body = |n: usize| format!(r#"{{"resourceType":"Patient","id":"p{n}"}}"#);
    for n in 0..9 {
        clinic.emr.enter(&[(named(&format!("Patient/p{n}")), Some(body(n)))]);
    }
    clinic.settle();
    assert!((0..9).all(|n| clinic.body(&format!("Patient/p{n}")).unwrap() == body(n)));
    assert_eq!(clinic.status().captured, 9);
}

#[test]
fn defect_19_a_list_from_before_a_write_undoes_nothing_after_it() {
    for deletes in [false, true] {
        let clinic = Clinic::new(Faults { lists: true, portion: 3, ..Faults::NONE });
        clinic.put(&[AMINA, &observation("o", 70)]);
        clinic.settle();
        // More than one portion, the second of which has both as they are now.
        for n in 0..3 {
            let body = format!(r#"{{"resourceType":"Patient","id":"p{n}"}}"#);
            clinic.emr.enter(&[(named(&format!("Patient/p{n}")), Some(body))]);
        }
        for name in ["Patient/amina", "Observation/o"] {
            let shown = clinic.emr.body(&named(name)).unwrap();
            clinic.emr.enter(&[(named(name), Some(shown))]);
        }
        let step = || block(capture::step(&clinic.site, &clinic.beside)).map_err(|e| e.0);
        assert_eq!(step(), Ok(true), "the second one is asked for meanwhile");
        // They are edited here, and written there, before that is looked at.
        clinic.put(&[&AMINA.replace("1990", "1991")]);
        match deletes {
            true => clinic.delete("Observation/o"),
            false => clinic.put(&[&observation("o", 71)]),
        }
        clinic.apply().unwrap();
        let before = clinic.sequence();
        clinic.settle();
        assert_eq!(clinic.sequence(), before, "nothing is recorded");
        let value = clinic.body("Observation/o");
        assert_eq!(value.is_none(), deletes, "{value:?}");
        assert!(value.is_none_or(|value| value.contains(":71")));
        assert!(clinic.body("Patient/amina").unwrap().contains("1991"), "the edit here stands");
        assert!(clinic.emr.body(&named("Patient/amina")).unwrap().contains("1991"));
    }
}

/// Its lists have a narrative that records themselves have not.
struct Narrating(MemoryEmr);

impl Emr for Narrating {
    fn capabilities(&self) -> BoxFuture<'_, Result<Capabilities, EmrError>> {
        self.0.capabilities()
    }

    fn changes_since<'a>(
        &'a self,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<Noticed, EmrError>> {
        async move {
            let mut noticed = self.0.changes_since(cursor).await?;
            for shown in noticed.shown.values_mut() {
                let Shown::Body(record) = shown else { continue };
                let body = record.body.as_ref().unwrap();
                let body = body.replacen('{', r#"{"text":{"status":"generated"},"#, 1);
                **record = Record::parse(body.as_bytes(), &Limits::default()).unwrap();
            }
            Ok(noticed)
        }
        .boxed()
    }

    fn read<'a>(&'a self, record: &'a RecordRef) -> BoxFuture<'a, Result<Shown, EmrError>> {
        self.0.read(record)
    }

    fn write<'a>(&'a self, writes: &'a [EmrWrite]) -> BoxFuture<'a, Vec<Result<Shown, EmrError>>> {
        self.0.write(writes)
    }
}
