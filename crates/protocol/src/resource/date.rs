//! FHIR dates of any precision as the span of time that they cover.

/// The first and the last millisecond (since 1970, UTC) that a FHIR date, dateTime or instant
/// covers: `2024`, `2024-02`, `2024-02-29`, `2024-02-29T10:15[:30[.5]][Z|+03:00]`. What has no
/// zone counts as UTC: a date is a square in a calendar and is never shifted. A leap second
/// counts as the first of the next minute. `None` for what is no such date.
pub fn span(text: &str) -> Option<(i64, i64)> {
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    let (low, next) = days(date)?;
    match time {
        None => Some((low * DAY, next * DAY - 1)),
        // A time needs a whole date before it.
        Some(time) if date.len() == 10 => {
            let (start, length) = within_day(time)?;
            let low = low * DAY + start;
            Some((low, low + length - 1))
        }
        Some(_) => None,
    }
}

const MINUTE: i64 = 60_000;
const DAY: i64 = 24 * 60 * MINUTE;

/// The first day (since 1970) of a date, and the first one after it.
fn days(date: &str) -> Option<(i64, i64)> {
    let year = number(date.get(..4)?, 1, 9999)?;
    if date.len() == 4 {
        return Some((day_number(year, 1, 1), day_number(year + 1, 1, 1)));
    }
    let month = number(date.get(4..7)?.strip_prefix('-')?, 1, 12)?;
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    let first = day_number(year, month, 1);
    let next = day_number(next_year, next_month, 1);
    if date.len() == 7 {
        return Some((first, next));
    }
    let day = number(date.get(7..)?.strip_prefix('-')?, 1, next - first)?;
    (date.len() == 10).then_some((first + day - 1, first + day))
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar. Counts years from March, so that
/// the leap day is the last of its year.
fn day_number(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 719_469
}

/// The start of a time of day in milliseconds of its UTC day (which may lie outside of it), and
/// how many milliseconds the time covers.
fn within_day(time: &str) -> Option<(i64, i64)> {
    let zone_at = time.find(['Z', '+', '-']).unwrap_or(time.len());
    let (clock, zone) = time.split_at(zone_at);
    let offset = zone_minutes(zone)? * MINUTE;
    let hour = number(clock.get(..2)?, 0, 23)?;
    let minute = number(clock.get(2..5)?.strip_prefix(':')?, 0, 59)?;
    let start = (hour * 60 + minute) * MINUTE - offset;
    let Some(seconds) = clock.get(5..).filter(|rest| !rest.is_empty()) else {
        return Some((start, MINUTE));
    };
    let seconds = seconds.strip_prefix(':')?;
    let (whole, fraction) = match seconds.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (seconds, None),
    };
    let start = start + number(whole, 0, 60).filter(|_| whole.len() == 2)? * 1_000;
    let Some(fraction) = fraction else { return Some((start, 1_000)) };
    let (millis, length) = fraction_millis(fraction)?;
    Some((start + millis, length))
}

/// `.5` is 500 ms and covers 100 of them; digits finer than a millisecond are not looked at.
fn fraction_millis(digits: &str) -> Option<(i64, i64)> {
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = &digits[..digits.len().min(3)];
    let unit = [100, 10, 1][kept.len() - 1];
    Some((number(kept, 0, 999)? * unit, unit))
}

fn zone_minutes(zone: &str) -> Option<i64> {
    if zone.is_empty() || zone == "Z" {
        return Some(0);
    }
    let sign = if zone.starts_with('-') { -1 } else { 1 };
    let hours = number(zone.get(1..3)?, 0, 14)?;
    let minutes = number(zone.get(3..)?.strip_prefix(':')?, 0, 59)?;
    (zone.len() == 6).then_some(sign * (hours * 60 + minutes))
}

/// Digits only, between bounds; at most nine of them.
fn number(digits: &str, low: i64, high: i64) -> Option<i64> {
    if digits.is_empty() || digits.len() > 9 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().filter(|number| (low..=high).contains(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The spans in RFC 3339, as `jiff` reads it.
    fn check(text: &str, low: &str, high: &str) {
        let millis = |stamp: &str| stamp.parse::<crate::Timestamp>().unwrap().millis();
        assert_eq!(span(text), Some((millis(low), millis(high))), "{text}");
    }

    #[test]
    fn a_date_of_any_precision_covers_its_span() {
        check("1970", "1970-01-01T00:00:00Z", "1970-12-31T23:59:59.999Z");
        check("2024", "2024-01-01T00:00:00Z", "2024-12-31T23:59:59.999Z");
        check("2024-02", "2024-02-01T00:00:00Z", "2024-02-29T23:59:59.999Z");
        check("1900-02", "1900-02-01T00:00:00Z", "1900-02-28T23:59:59.999Z");
        check("2000-02-29", "2000-02-29T00:00:00Z", "2000-02-29T23:59:59.999Z");
        check("2023-12", "2023-12-01T00:00:00Z", "2023-12-31T23:59:59.999Z");
        check("1850-06-30", "1850-06-30T00:00:00Z", "1850-06-30T23:59:59.999Z");
        check("2024-03-01T10:15", "2024-03-01T10:15:00Z", "2024-03-01T10:15:59.999Z");
        check("2024-03-01T10:15:30", "2024-03-01T10:15:30Z", "2024-03-01T10:15:30.999Z");
        check("2024-03-01T10:15:30.5Z", "2024-03-01T10:15:30.5Z", "2024-03-01T10:15:30.599Z");
        check("2024-03-01T10:15:30.123Z", "2024-03-01T10:15:30.123Z", "2024-03-01T10:15:30.123Z");
        check("2024-03-01T10:15:30.1239Z", "2024-03-01T10:15:30.123Z", "2024-03-01T10:15:30.123Z");
    }

    #[test]
    fn zones_shift_times() {
        check("2024-03-01T01:15:30+03:00", "2024-02-29T22:15:30Z", "2024-02-29T22:15:30.999Z");
        check("2024-12-31T23:00:00-02:30", "2025-01-01T01:30:00Z", "2025-01-01T01:30:00.999Z");
        check("2024-03-01T10:15:00Z", "2024-03-01T10:15:00Z", "2024-03-01T10:15:00.999Z");
    }

    #[test]
    fn a_leap_second_is_tolerated() {
        check("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z", "2017-01-01T00:00:00.999Z");
    }

    #[test]
    fn what_is_no_date_has_no_span() {
        for text in [
            "",
            "24",
            "0000",
            "20240",
            "2024-",
            "2024-1",
            "2024-13",
            "2024-00",
            "2024-02-30",
            "2023-02-29",
            "2024-02-1",
            "2024-02-011",
            "2024/02/01",
            "2024-02-01T",
            "2024T10:00",
            "2024-02T10:00",
            "2024-02-01T1",
            "2024-02-01T24:00:00Z",
            "2024-02-01T10:60:00Z",
            "2024-02-01T10:00:61Z",
            "2024-02-01T10:00:0Z",
            "2024-02-01T10:00:Z",
            "2024-02-01T10:00:00.Z",
            "2024-02-01T10:00:00.xZ",
            "2024-02-01T10:00:00+3",
            "2024-02-01T10:00:00+03:0",
            "2024-02-01T10:00:00+15:00",
            "2024-02-01T10:00:00ZZ",
            "2024-02-01 10:00:00",
            "+024",
            "é024",
            "2024-é",
            "2024-02-01Té0:00",
            "yesterday",
        ] {
            assert_eq!(span(text), None, "{text}");
        }
    }
}
