//! How fast the link to the parent is, and how long what is still to move will take on it.

use protocol::pace::{Left, Pace};
use store::LinkPace;

use super::{bytes, span};

/// What is still to move one way; `None` where that is nothing.
pub(super) fn to_go(left: &Left, what: &str) -> Option<String> {
    if left.items == 0 {
        return None;
    }
    let items = left.items;
    Some(match (left.bytes, left.millis) {
        (Some(size), Some(millis)) => format!(
            "{} to go ({} {what}), about {} on this link{}",
            bytes(size),
            items - left.unknown.min(items),
            span(i64::try_from(millis).unwrap_or(i64::MAX)),
            match left.unknown {
                0 => String::new(),
                more => format!("; and {more} more, of which nothing was measured yet"),
            }
        ),
        _ => format!("{items} {what} to go, in unknown time: nothing of that was measured yet"),
    })
}

/// How fast it was lately, and what a request is made for; `None` where nothing was measured.
pub(super) fn speed(pace: &LinkPace) -> Option<String> {
    let one = |name: &str, pace: &Pace| {
        let rate = pace.rate()?;
        Some(format!("{name} {}/s, {} a request", bytes(rate), bytes(pace.portion)))
    };
    let lanes = [("up", &pace.up), ("down", &pace.live), ("whole patients", &pace.bulk)];
    let told = lanes.into_iter().filter_map(|(name, pace)| one(name, pace)).collect::<Vec<_>>();
    (!told.is_empty()).then(|| format!("{} (before compression)", told.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_still_to_move_is_told_with_its_time_or_as_unknown() {
        let some = (Some(14_200_000), Some(2_400_000));
        let known = "14 MB to go (2300 changes), about 40 min on this link";
        let partly = format!("{known}; and 9 more, of which nothing was measured yet");
        let unknown = "3 changes to go, in unknown time: nothing of that was measured yet";
        for (items, (size, millis), unknown, words) in [
            (0, (Some(0), Some(0)), 0, None),
            (2_300, some, 0, Some(known)),
            (2_309, some, 9, Some(partly.as_str())),
            (3, (None, None), 3, Some(unknown)),
        ] {
            let told = to_go(&Left { items, bytes: size, millis, unknown }, "changes");
            assert_eq!(told.as_deref(), words);
        }
    }

    #[test]
    fn the_speed_is_told_of_what_was_measured() {
        assert_eq!(speed(&LinkPace::default()), None);
        let up = Pace {
            portion: 1_500_000,
            items: 10,
            bytes: 80_000,
            millis: 10_000,
            ..Pace::default()
        };
        let pace = LinkPace { up, ..LinkPace::default() };
        let told = speed(&pace).unwrap();
        assert_eq!(told, "up 8000 B/s, 1500 kB a request (before compression)");
    }
}
