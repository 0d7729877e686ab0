//! Restores what the store lost of limits by the calendar and of credits, from the reports of
//! usage.

mod periods;
mod uses;

use super::publisher::{BATCH, Publisher, with_timeout};
use periods::RunningPeriods;
use portcullis_core::{KnownUse, UnixSeconds, restore_command};
use redis_rest::Command;
use std::time::Duration;
use uses::{CallerUse, Grouping};

impl Publisher {
    /// Restores the states of periods that run now, and of credits. Returns their number. If the
    /// store lost nothing, it writes nothing. Holds one page of reports at a time.
    pub async fn restore_quotas(&self, now: UnixSeconds) -> Result<usize, String> {
        if !self.store.has_lists() {
            return Ok(0);
        }
        let periods = RunningPeriods::at(now);
        let (mut restored, mut last, mut grouping) = (0, None, Grouping::default());
        loop {
            let page = self.db.quota_usage(last.as_ref(), periods.begun_ms(), BATCH);
            let page = with_timeout(page).await?;
            last = page.last().cloned();
            let mut uses: Vec<CallerUse> =
                page.into_iter().flat_map(|row| grouping.add(row)).collect();
            if last.is_none() {
                uses.extend(grouping.finish());
            }
            let commands: Vec<Command> =
                uses.iter().filter_map(|usage| self.restore(usage, &periods)).collect();
            restored += commands.len();
            self.write(&commands).await.map_err(|error| error.to_string())?;
            if last.is_none() {
                return Ok(restored);
            }
            // The pause lets requests go first, at the database and at the store.
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn restore(&self, usage: &CallerUse, periods: &RunningPeriods) -> Option<Command> {
        let known = KnownUse {
            limit: &usage.limit,
            state: &usage.state,
            hash: usage.hash_bytes()?,
            begun_ms: usage.begun_ms,
            ends_ms: periods.ends_ms(usage.begun_ms),
            states: &usage.states,
        };
        Some(restore_command(self.commands.keys(), &known))
    }
}

const PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests;
