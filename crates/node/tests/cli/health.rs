//! `/health` of the running program.

use crate::folder::Folder;

#[test]
fn a_site_without_room_on_its_disk_lives_and_is_not_ready() {
    let site = Folder::with("centre", &[]);
    let ask = |path: &str| site.ask(&format!("GET {path}"), None, "");
    let running = site.serve();
    assert_eq!((ask("/health/live").0, ask("/health/ready").0), (200, 200));
    drop(running);
    let settings = site.dir().join("tributary.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    let line = text.lines().find(|line| line.starts_with("disk_free_bytes")).unwrap();
    let most = format!("disk_free_bytes = {}", i64::MAX);
    std::fs::write(&settings, text.replace(line, &most)).unwrap();
    let _running = site.serve();
    assert_eq!(ask("/health/live").0, 200);
    let (status, answer) = ask("/health/ready");
    assert!(status == 503 && answer.contains("disk_free_bytes"), "{answer}");
    assert!(answer.to_lowercase().contains("retry-after:"), "{answer}");
}
