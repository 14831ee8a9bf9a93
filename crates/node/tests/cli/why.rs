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
    assert_eq!(centre.run(&["why", "amina"]).code, Some(2));
}
