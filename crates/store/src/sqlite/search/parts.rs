//! Parts of a search: each as candidates (an SQL query that gives `record`) and as a test of one
//! record `r`. Numbers go into the text, texts are bound.

use protocol::ResourceType;
use protocol::resource::search::SearchValue;
use rusqlite::params_from_iter;
use rusqlite::types::Value;

use super::super::keys::{code_hash, reference_hash, text_value, token_hash};
use super::*;

#[derive(Debug)]
pub(super) struct Part {
    pub(super) candidates: String,
    pub(super) probe: String,
    /// The same for both.
    pub(super) values: Vec<Value>,
}

impl Part {
    /// How many candidates there are, at most `bound`.
    pub(super) fn count(&self, conn: &Connection, bound: u64) -> Result<u64> {
        let sql =
            format!("SELECT count(*) FROM (SELECT 1 FROM ({}) LIMIT {bound})", self.candidates);
        let mut statement = conn.prepare_cached(&sql)?;
        Ok(statement.query_row(params_from_iter(&self.values), |row| row.get(0))?)
    }

    pub(super) fn ids(conn: &Connection, kind: ResourceType, ids: &[String]) -> Result<Part> {
        let mut keys = Vec::with_capacity(ids.len());
        for id in ids {
            keys.extend(record_key(conn, kind.name(), id)?);
        }
        let keys = list(&keys);
        Ok(Part {
            candidates: format!("SELECT key AS record FROM record WHERE key IN ({keys})"),
            probe: format!("r.key IN ({keys})"),
            values: Vec::new(),
        })
    }

    pub(super) fn patients(conn: &Connection, patients: &[RecordRef]) -> Result<Part> {
        let mut keys = Vec::with_capacity(patients.len());
        for patient in patients {
            keys.extend(rows::patient_known(conn, patient)?);
        }
        let keys = list(&keys);
        Ok(Part {
            candidates: format!("SELECT record FROM record_patient WHERE patient IN ({keys})"),
            probe: format!(
                "EXISTS (SELECT 1 FROM record_patient AS q
                    WHERE q.record = r.key AND q.patient IN ({keys}))"
            ),
            values: Vec::new(),
        })
    }

    pub(super) fn filter(filter: &SearchFilter) -> Part {
        let param = filter.param as i64;
        let mut tokens = Vec::new();
        let mut texts = Tests::default();
        let mut dates = Tests::default();
        for test in &filter.any {
            match test {
                SearchTest::Is(SearchValue::Token { system, code }) => {
                    tokens.push(token_hash(system, code));
                }
                SearchTest::Is(SearchValue::Reference(record)) => {
                    tokens.push(reference_hash(record));
                }
                SearchTest::Code(code) => tokens.push(code_hash(code)),
                SearchTest::Is(SearchValue::Text(text)) => texts.prefix(text),
                SearchTest::Exact(text) => {
                    texts.add("t.value = ?", Some(Value::Text(text_value(text))));
                }
                SearchTest::Is(SearchValue::Date { low, high }) => {
                    dates.add(&date_test(DatePrefix::Eq, *low, *high), None);
                }
                SearchTest::Date { prefix, low, high } => {
                    dates.add(&date_test(*prefix, *low, *high), None);
                }
            }
        }
        let mut part = Part { candidates: String::new(), probe: String::new(), values: Vec::new() };
        if !tokens.is_empty() {
            let test = format!("t.value IN ({})", list(&tokens));
            part.any_of("search_token", "", param, Tests { sql: test, values: Vec::new() });
        }
        part.any_of("search_text", "INDEXED BY search_text_record", param, texts);
        part.any_of("search_date", "INDEXED BY search_date_record", param, dates);
        if part.probe.is_empty() {
            part.candidates = "SELECT key AS record FROM record WHERE FALSE".to_owned();
            part.probe = "FALSE".to_owned();
        }
        part
    }

    /// Or what `tests` find in `table`. `by`: the index for the test of one record, which without
    /// statistics the planner might not see.
    fn any_of(&mut self, table: &str, by: &str, param: i64, tests: Tests) {
        if tests.sql.is_empty() {
            return;
        }
        let what = format!("t.param = {param} AND ({})", tests.sql);
        let (union, or) = if self.probe.is_empty() { ("", "") } else { (" UNION ALL ", " OR ") };
        self.candidates += &format!("{union}SELECT t.record FROM {table} AS t WHERE {what}");
        let probe = std::mem::take(&mut self.probe);
        let test =
            format!("EXISTS (SELECT 1 FROM {table} AS t {by} WHERE t.record = r.key AND {what})");
        self.probe = format!("({probe}{or}{test})");
        self.values.extend(tests.values);
    }
}

/// Alternatives on a row `t` of an index table.
#[derive(Default)]
struct Tests {
    sql: String,
    values: Vec<Value>,
}

impl Tests {
    fn add(&mut self, test: &str, value: impl IntoIterator<Item = Value>) {
        let or = if self.sql.is_empty() { "" } else { " OR " };
        self.sql += &format!("{or}({test})");
        self.values.extend(value);
    }

    fn prefix(&mut self, text: &str) {
        let low = text_value(text);
        // Texts are compared by their bytes: no character sorts after the last one.
        let high = format!("{low}{}", char::MAX);
        self.add("t.value >= ? AND t.value < ?", [Value::Text(low), Value::Text(high)]);
    }
}

/// FHIR's comparisons of the range that a record's date covers with the one that was asked for.
fn date_test(prefix: DatePrefix, low: i64, high: i64) -> String {
    let within = format!("t.low >= {low} AND t.high <= {high}");
    match prefix {
        DatePrefix::Eq => format!("t.low <= {high} AND {within}"),
        DatePrefix::Ne => format!("NOT ({within})"),
        DatePrefix::Lt => format!("t.low < {low}"),
        DatePrefix::Le => format!("t.low <= {high} AND (t.low < {low} OR t.high <= {high})"),
        DatePrefix::Gt => format!("t.high > {high}"),
        DatePrefix::Ge => format!("t.high > {high} OR ({within})"),
    }
}

fn list(numbers: &[i64]) -> String {
    numbers.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
}
