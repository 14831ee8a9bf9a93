//! Numbers of changes that came from below, as ranges, for ever: they answer what is sent twice.

use rusqlite::{Connection, OptionalExtension, params};

use crate::Result;

/// Whether all of `numbers` are held.
pub(super) fn holds_all(step: &Connection, origin: i64, numbers: &[u64]) -> Result<bool> {
    for number in numbers {
        let high = range_at(step, origin, *number)?.map(|(_, high)| high);
        if high.is_none_or(|high| high < *number) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Notes that `number` is held.
pub(super) fn add(step: &Connection, origin: i64, number: u64) -> Result<()> {
    let below = range_at(step, origin, number)?;
    if below.is_some_and(|(_, high)| high >= number) {
        return Ok(());
    }
    // The range that begins right after is taken in.
    let above: Option<u64> = step
        .prepare_cached("DELETE FROM received WHERE origin = ?1 AND low = ?2 RETURNING high")?
        .query_row(params![origin, number + 1], |row| row.get(0))
        .optional()?;
    let high = above.unwrap_or(number);
    match below.filter(|(_, end)| end + 1 == number) {
        Some((low, _)) => step
            .prepare_cached("UPDATE received SET high = ?3 WHERE origin = ?1 AND low = ?2")?
            .execute(params![origin, low, high])?,
        None => step
            .prepare_cached("INSERT INTO received (origin, low, high) VALUES (?1, ?2, ?3)")?
            .execute(params![origin, number, high])?,
    };
    Ok(())
}

/// The last range that begins at or before `number`.
fn range_at(step: &Connection, origin: i64, number: u64) -> Result<Option<(u64, u64)>> {
    Ok(step
        .prepare_cached(
            "SELECT low, high FROM received WHERE origin = ?1 AND low <= ?2
             ORDER BY low DESC LIMIT 1",
        )?
        .query_row(params![origin, number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}
