//! The rows of the reports, put together by caller and period.

use crate::db::QuotaUsage;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::USED_MAX;

/// What one caller of a limit used in one period, or of the credits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CallerUse {
    pub limit: String,
    /// The kind of the state.
    pub state: String,
    hash: String,
    /// 0 for the credits.
    pub begun_ms: u64,
    reported_at: u64,
    /// When each state was made, and what it used.
    pub states: Vec<(u64, u64)>,
}

impl CallerUse {
    fn new(row: QuotaUsage) -> Self {
        let (begun_ms, reported_at) = (row.begun, row.reported_at);
        let states = vec![(row.origin, row.used)];
        Self { limit: row.limit, state: row.state, hash: row.hash, begun_ms, reported_at, states }
    }

    /// Returns the hash of what the limit counts. Returns `None` if the row is malformed.
    pub fn hash_bytes(&self) -> Option<[u8; 32]> {
        URL_SAFE_NO_PAD.decode(&self.hash).ok()?.try_into().ok()
    }

    fn is_same_caller(&self, row: &QuotaUsage) -> bool {
        (&self.limit, &self.state, &self.hash) == (&row.limit, &row.state, &row.hash)
    }

    fn add(&mut self, row: &QuotaUsage) {
        self.reported_at = self.reported_at.max(row.reported_at);
        self.states.push((row.origin, row.used));
        if self.states.len() > STATES_MAX {
            // Together they count as states that the store lost.
            let (_, oldest) = self.states.remove(0);
            if let Some((made, used)) = self.states.first_mut() {
                (*made, *used) = (0, (*used + oldest).min(USED_MAX));
            }
        }
    }
}

/// Puts rows together. They come in the order of the table's key.
#[derive(Debug, Default)]
pub struct Grouping {
    /// The uses of the last caller, by period.
    pending: Vec<CallerUse>,
}

impl Grouping {
    /// Adds a row. Returns what is complete because the row is another caller's.
    pub fn add(&mut self, row: QuotaUsage) -> Vec<CallerUse> {
        // No caller uses as much. The store would refuse it.
        if row.used > USED_MAX || row.origin > USED_MAX {
            return Vec::new();
        }
        let is_other = self.pending.first().is_some_and(|first| !first.is_same_caller(&row));
        let complete = if is_other { self.finish() } else { Vec::new() };
        match self.pending.last_mut() {
            Some(last) if last.begun_ms == row.begun => last.add(&row),
            _ => self.pending.push(CallerUse::new(row)),
        }
        complete
    }

    /// Returns the uses of the last caller.
    pub fn finish(&mut self) -> Vec<CallerUse> {
        let mut uses = std::mem::take(&mut self.pending);
        // If the limit changed from days to months or back, the one counts that was reported last.
        let periods = uses.iter().filter(|usage| usage.begun_ms > 0);
        let latest = periods.max_by_key(|usage| (usage.reported_at, usage.begun_ms));
        let latest = latest.map(|usage| usage.begun_ms);
        uses.retain(|usage| usage.begun_ms == 0 || Some(usage.begun_ms) == latest);
        uses
    }
}

/// The most states of one command. The redis gateway takes 128 values of a command.
const STATES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn row(hash: &str, begun: u64, origin: u64, used: u64, reported_at: u64) -> QuotaUsage {
        let (limit, state, hash) = ("api".into(), "credits".into(), hash.into());
        QuotaUsage { limit, state, hash, begun, origin, used, reported_at }
    }

    /// A caller's hash, when the period began, and the states.
    type Group = (String, u64, Vec<(u64, u64)>);

    fn group(rows: Vec<QuotaUsage>) -> Vec<Group> {
        let mut grouping = Grouping::default();
        let mut uses: Vec<CallerUse> = rows.into_iter().flat_map(|row| grouping.add(row)).collect();
        uses.extend(grouping.finish());
        uses.into_iter().map(|usage| (usage.hash, usage.begun_ms, usage.states)).collect()
    }

    #[test]
    fn rows_are_put_together_by_caller_and_period() {
        let rows = vec![
            row("a", 0, 1, 5, 9),
            row("a", 0, 2, 6, 9),
            row("a", 7, 1, 3, 9),
            row("b", 7, 1, 4, 9),
            row("b", 7, 2, USED_MAX + 1, 9),
        ];
        let expect = [
            ("a".to_owned(), 0, vec![(1, 5), (2, 6)]),
            ("a".to_owned(), 7, vec![(1, 3)]),
            ("b".to_owned(), 7, vec![(1, 4)]),
        ];
        assert_eq!(group(rows), expect);
    }

    /// The other period would reset the state in the store.
    #[test]
    fn period_that_was_reported_last_counts_alone() {
        for (month, day, expect) in [(8, 9, 20), (9, 8, 10)] {
            let uses = group(vec![row("a", 10, 1, 5, month), row("a", 20, 1, 5, day)]);
            let begun: Vec<u64> = uses.iter().map(|usage| usage.1).collect();
            assert_eq!(begun, [expect]);
        }
    }

    #[test]
    fn many_states_count_together() {
        let rows = (1..=1000).map(|origin| row("a", 0, origin, 2, 9)).collect();
        let uses = group(rows);
        let states = &uses[0].2;
        assert_eq!((uses.len(), states.len(), states[0].0), (1, STATES_MAX, 0));
        assert_eq!(states.iter().map(|state| state.1).sum::<u64>(), 2000);
        assert_eq!(states[STATES_MAX - 1], (1000, 2));
    }
}
