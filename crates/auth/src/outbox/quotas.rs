//! Restores what the store lost of limits by the calendar and of credits, from the reports of
//! usage.

use super::publisher::{BATCH, Publisher, with_timeout};
use crate::db::QuotaUsage;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{KnownUse, UnixSeconds, restore_command};
use redis_rest::Command;

impl Publisher {
    /// Restores the states that count now. Returns their number. Repeated, it changes nothing.
    pub async fn restore_quotas(&self, now: UnixSeconds) -> Result<usize, String> {
        if !self.store.has_lists() {
            return Ok(0);
        }
        let since_ms = now.0.saturating_sub(PERIOD_SECONDS_MAX) * 1000;
        let (mut restored, mut last) = (0, None);
        loop {
            let mut page =
                with_timeout(self.db.quota_usage(last.as_ref(), since_ms, BATCH)).await?;
            let commands: Vec<Command> =
                page.iter().filter_map(|usage| self.restore(usage)).collect();
            restored += commands.len();
            self.write(&commands).await.map_err(|error| error.to_string())?;
            last = page.pop();
            if last.is_none() {
                return Ok(restored);
            }
        }
    }

    fn restore(&self, usage: &QuotaUsage) -> Option<Command> {
        let hash = URL_SAFE_NO_PAD.decode(&usage.hash).ok()?.try_into().ok()?;
        let known = KnownUse {
            limit: &usage.limit,
            state: &usage.state,
            hash,
            begun_ms: usage.begun,
            states: &usage.origins,
        };
        Some(restore_command(self.commands.keys(), &known))
    }
}

/// The longest period, and a day for clocks that differ.
const PERIOD_SECONDS_MAX: u64 = 32 * 86_400;
