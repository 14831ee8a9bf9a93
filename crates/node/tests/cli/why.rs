//! `tributary why` at a centre and a clinic.

use crate::folder::wait_until;
use crate::pair::joined;

#[test]
fn a_person_is_told_where_a_record_is_and_scripts_by_the_exit_code() {
    let (centre, clinic, serving) = joined();
    let file = clinic.write("amina.json", crate::folder::patient("amina", "Odhiambo"));
    clinic.run(&["import", &file]).ok();
    let told = clinic.run(&["why", "Patient/amina"]).ok();
    assert!(told.contains("is here, at clinic") && told.contains("with the next round"), "{told}");
    let absent = centre.run(&["why", "Patient/amina"]);
    assert_eq!(absent.code, Some(1));
    assert!(absent.out.contains("Patient/amina is not at centre"), "{}", absent.out);
    drop(serving);
    let runs = clinic.serve();
    wait_until("the link is said to be down", || {
        clinic.run(&["why", "Patient/amina"]).ok().contains("The link to the parent is down")
    });
    drop(runs);
    let _serving = centre.serve();
    clinic.run(&["sync"]).ok();
    let json = centre.json(&["why", "Patient/amina", "--json"]);
    assert_eq!(json["children"][0]["child"], "clinic");
    assert_eq!(json["here"]["child"], "clinic");
    let told = centre.run(&["why", "Patient/amina"]).ok();
    assert!(told.contains("clinic has it: it brought this state."), "{told}");
    // Its next report tells that it has fetched what there was.
    clinic.run(&["sync"]).ok();
    let told = centre.run(&["status"]).ok();
    assert!(told.contains("up to date; 0 to send, 0 parked, 0 conflicts; 1 records"), "{told}");
    let json = centre.json(&["status", "--json"]);
    assert_eq!(
        (&json["children"][0]["lag"]["changes"], json["children"][0]["clock_offset"].is_i64()),
        (&0.into(), true)
    );
    assert_eq!(centre.run(&["status", "--watch", "0"]).code, Some(2));
    assert_eq!(centre.run(&["why", "amina"]).code, Some(2));
}
