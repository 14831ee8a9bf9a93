//! Numbers of changes that came from below, as ranges, for ever: they answer what is sent twice.

use std::collections::BTreeSet;

use protocol::SiteId;
use rusqlite::{Connection, OptionalExtension, params};

use crate::Result;

/// From whom numbers came: the child that brought them, and the key of the site that made them.
pub(super) type From<'a> = (&'a SiteId, i64);

/// Whether all of `numbers` are held.
pub(super) fn holds_all(step: &Connection, from: From<'_>, numbers: &[u64]) -> Result<bool> {
    for number in numbers {
        let high = range_at(step, from, *number)?.map(|(_, high)| high);
        if high.is_none_or(|high| high < *number) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Notes that `number` is held.
pub(super) fn add(step: &Connection, from: From<'_>, number: u64) -> Result<()> {
    let (via, origin) = (from.0.as_str(), from.1);
    step.prepare_cached("DELETE FROM asked_again WHERE via = ?1 AND origin = ?2 AND number = ?3")?
        .execute(params![via, origin, number])?;
    let below = range_at(step, from, number)?;
    if below.is_some_and(|(_, high)| high >= number) {
        return Ok(());
    }
    // The range that begins right after is taken in.
    let above: Option<u64> = step
        .prepare_cached(
            "DELETE FROM received WHERE via = ?1 AND origin = ?2 AND low = ?3 RETURNING high",
        )?
        .query_row(params![via, origin, number + 1], |row| row.get(0))
        .optional()?;
    let high = above.unwrap_or(number);
    match below.filter(|(_, end)| end + 1 == number) {
        Some((low, _)) => step
            .prepare_cached(
                "UPDATE received SET high = ?4 WHERE via = ?1 AND origin = ?2 AND low = ?3",
            )?
            .execute(params![via, origin, low, high])?,
        None => step
            .prepare_cached(
                "INSERT INTO received (via, origin, low, high) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![via, origin, number, high])?,
    };
    Ok(())
}

/// Whether one of `numbers` is to come again.
pub(super) fn are_asked_again(step: &Connection, from: From<'_>, numbers: &[u64]) -> Result<bool> {
    let sql = "SELECT 1 FROM asked_again WHERE via = ?1 AND origin = ?2 AND number = ?3";
    let mut statement = step.prepare_cached(sql)?;
    for number in numbers {
        if statement.exists(params![from.0.as_str(), from.1, number])? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// All numbers are to come again of which not everything is here: what they brought was purged, or
/// they came under the number of a later change.
pub(super) fn ask_again(step: &Connection) -> Result<()> {
    let mut ranges = step.prepare_cached("SELECT via, origin, low, high FROM received")?;
    let mut here = step.prepare_cached(
        "SELECT c.number FROM change AS c CROSS JOIN origin AS o ON o.key = c.via_site
         WHERE c.origin = ?2 AND c.number BETWEEN ?3 AND ?4 AND c.via = 2 AND o.site = ?1
            AND c.purged = 0
            AND EXISTS (SELECT 1 FROM version AS v WHERE v.sequence = c.sequence)",
    )?;
    let mut add = step.prepare_cached("INSERT OR IGNORE INTO asked_again VALUES (?1, ?2, ?3)")?;
    let mut rows = ranges.query([])?;
    while let Some(row) = rows.next()? {
        let (via, origin): (String, i64) = (row.get(0)?, row.get(1)?);
        let (low, high): (u64, u64) = (row.get(2)?, row.get(3)?);
        let whole = here
            .query_map(params![via, origin, low, high], |row| row.get(0))?
            .collect::<rusqlite::Result<BTreeSet<u64>>>()?;
        for number in (low..=high).filter(|number| !whole.contains(number)) {
            add.execute(params![via, origin, number])?;
        }
    }
    step.execute(
        "DELETE FROM receipt WHERE EXISTS (SELECT 1 FROM asked_again AS a
            WHERE a.via = receipt.child AND a.origin = receipt.origin
                AND a.number = receipt.number)",
        [],
    )?;
    Ok(())
}

/// Notes that part `part.0` of `part.1` of a line with this number was applied. Gives whether the
/// line is whole with it: no part before it was refused, or did not come.
pub(super) fn part_applied(
    step: &Connection,
    from: From<'_>,
    number: u64,
    (part, parts): (u32, u32),
) -> Result<bool> {
    let line = params![from.0.as_str(), from.1, number, parts, part];
    let next = if part == 1 {
        step.prepare_cached(
            "INSERT INTO line_part (via, origin, number, parts, next)
             VALUES (?1, ?2, ?3, ?4, ?5 + 1)
             ON CONFLICT DO UPDATE SET parts = excluded.parts, next = excluded.next",
        )?
        .execute(line)?
    } else {
        step.prepare_cached(
            "UPDATE line_part SET next = ?5 + 1
             WHERE via = ?1 AND origin = ?2 AND number = ?3 AND parts = ?4 AND next = ?5",
        )?
        .execute(line)?
    };
    if part >= parts {
        step.prepare_cached(
            "DELETE FROM line_part WHERE via = ?1 AND origin = ?2 AND number = ?3",
        )?
        .execute(params![from.0.as_str(), from.1, number])?;
    }
    Ok(part >= parts && next > 0)
}

/// The last range that begins at or before `number`.
fn range_at(step: &Connection, from: From<'_>, number: u64) -> Result<Option<(u64, u64)>> {
    let (via, origin) = from;
    Ok(step
        .prepare_cached(
            "SELECT low, high FROM received WHERE via = ?1 AND origin = ?2 AND low <= ?3
             ORDER BY low DESC LIMIT 1",
        )?
        .query_row(params![via.as_str(), origin, number], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?)
}
