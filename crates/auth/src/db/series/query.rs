//! Reads the series.

use super::packed::{Counters, is_maximum, joined, pairs};
use super::{HOUR, MINUTE};
use crate::db::pool::{Db, Purpose, bounded, to_i64};
use sqlx::Row as _;
use std::collections::{BTreeMap, HashMap};

/// The sums of rows in steps of equal length.
pub struct SeriesRows {
    /// The counts by the ids of their names, by the start of their step.
    steps: BTreeMap<u64, HashMap<i64, u64>>,
    names: HashMap<i64, String>,
}

impl Db {
    /// Adds up the rows from `from` until before `to`, in steps of `step_seconds`
    /// from `from` on.
    pub async fn series(
        &self,
        from: u64,
        to: u64,
        step_seconds: u64,
    ) -> Result<SeriesRows, sqlx::Error> {
        self.count(Purpose::Series);
        // The names first: which are maxima must be known. A name that is added meanwhile is
        // missing until the next query.
        let query = sqlx::query("SELECT id, name FROM series_names");
        let mut names = HashMap::new();
        for row in bounded(query.fetch_all(&self.readers)).await? {
            names.insert(row.try_get("id")?, row.try_get("name")?);
        }
        let mut rows = SeriesRows { steps: BTreeMap::new(), names };
        let mut place = to_i64(from);
        // In pages, so that the text of a busy day is never in memory as a whole.
        for span in [HOUR, MINUTE] {
            loop {
                self.count(Purpose::Series);
                let query = sqlx::query(
                    "SELECT start, data FROM series WHERE span = $1 AND start >= $2 AND start < $3
                     ORDER BY start LIMIT $4",
                );
                let query = query.bind(span).bind(place).bind(to_i64(to)).bind(PAGE);
                let page = bounded(query.fetch_all(&self.readers)).await?;
                for row in &page {
                    let (start, data): (i64, String) =
                        (row.try_get("start")?, row.try_get("data")?);
                    place = start + 1;
                    rows.add(start_of_step(from, start.unsigned_abs(), step_seconds), &data);
                }
                if i64::try_from(page.len()).is_ok_and(|length| length < PAGE) {
                    break;
                }
            }
            place = to_i64(from);
        }
        Ok(rows)
    }
}

impl SeriesRows {
    fn add(&mut self, start: u64, data: &str) {
        let step = self.steps.entry(start).or_default();
        for (id, count) in pairs(data) {
            let Some(name) = self.names.get(&id) else { continue };
            match step.get_mut(&id) {
                Some(sum) => *sum = joined(*sum, count, is_maximum(name)),
                None => {
                    step.insert(id, count);
                }
            }
        }
    }

    /// Returns the counts of each step that has a row, by its start.
    pub fn into_steps(self) -> Vec<(u64, Counters)> {
        let Self { steps, names } = self;
        let named = |counts: HashMap<i64, u64>| {
            let named = counts.into_iter();
            named.filter_map(|(id, count)| Some((names.get(&id)?.clone(), count))).collect()
        };
        steps.into_iter().map(|(start, counts)| (start, named(counts))).collect()
    }
}

fn start_of_step(from: u64, at: u64, step_seconds: u64) -> u64 {
    at - at.saturating_sub(from) % step_seconds.max(1)
}

/// How many rows one query returns.
const PAGE: i64 = 240;
