//! An order that is over is so in OpenMRS, too.

use super::*;

#[test]
fn an_order_is_stopped_and_never_edited() {
    let drug = drug();
    let stopped = with(&drug, &[("/status", json!("stopped"))]);
    let calls = planned(Some(&stopped), Image::There(&drug), &[]);
    assert!(
        calls.starts_with("POST order ") && calls.contains(r#""previousOrder":"m1""#),
        "{calls}"
    );
    let edited = with(&drug, &[("/priority", json!("stat"))]);
    let told = planned(Some(&edited), Image::There(&drug), &[]);
    assert!(told.starts_with("kept: OpenMRS changes no order"), "{told}");
}

#[test]
fn an_order_that_is_over_already_is_made_and_stopped() {
    for status in ["stopped", "completed", "cancelled", "revoked"] {
        let over = with(&drug(), &[("/status", json!(status))]);
        let calls = planned(Some(&over), Image::Absent, &[]);
        let (made, stopped) = calls.split_once('\n').unwrap();
        assert!(made.contains(r#""action":"NEW""#) && made.contains(r#""uuid":"m1""#), "{made}");
        assert!(stopped.contains(r#""action":"DISCONTINUE""#), "{stopped}");
        assert!(stopped.contains(r#""previousOrder":"m1""#), "{stopped}");
        // With its encounter it would be made, and hold.
        let (encounter, over) = (encounter(), &over);
        let new = [(name(&encounter), &encounter), (name(over), over)];
        assert!(nested(&new).is_empty());
    }
    let (encounter, drug) = (encounter(), drug());
    let new = [(name(&encounter), &encounter), (name(&drug), &drug)];
    assert_eq!(nested(&new).len(), 1);
}
