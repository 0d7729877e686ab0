//! When API keys were last used.

use crate::db::pool::{Db, Purpose, to_i64};
use std::collections::BTreeMap;

impl Db {
    /// Records when keys were used, given their ids. A key's row changes at most once a minute, so
    /// that frequent use costs no writes. Ignores unknown ids, and keys that are being changed.
    pub async fn record_key_use(&self, uses: &[(&str, u64)]) -> Result<(), sqlx::Error> {
        let mut latest: BTreeMap<&str, u64> = BTreeMap::new();
        for (id, at) in uses {
            let known = latest.entry(id).or_default();
            *known = (*at).max(*known);
        }
        let latest: Vec<(&str, u64)> = latest.into_iter().collect();
        for batch in latest.chunks(BATCH) {
            let values = (0..batch.len()).map(|number| {
                let (id, at) = (2 * number + 1, 2 * number + 2);
                format!("(CAST(${id} AS TEXT), CAST(${at} AS BIGINT))")
            });
            let values = values.collect::<Vec<_>>().join(", ");
            // A key that is being changed is skipped: waiting for it could be a deadlock with a
            // change of all keys of an owner. Its next use is recorded.
            let statement = self.skipping_locked(&format!(
                "WITH used (id, at) AS (VALUES {values})
                 UPDATE api_keys SET last_used_at = used.at FROM used
                 WHERE api_keys.id = used.id AND api_keys.id IN
                 (SELECT k.id FROM api_keys AS k, used AS u WHERE k.id = u.id AND
                 (k.last_used_at IS NULL OR u.at >= k.last_used_at + {EACH_SECONDS})
                 /* skip locked */)"
            ));
            self.count(Purpose::Maintenance);
            let mut query = sqlx::query(statement);
            for (id, at) in batch {
                query = query.bind((*id).to_owned()).bind(to_i64(*at));
            }
            query.execute(&self.writer).await?;
        }
        Ok(())
    }
}

/// How often the time of a key's last use is written at most.
pub const EACH_SECONDS: u64 = 60;
/// Fewer than the parameters that a statement may have: 999 in older versions of SQLite.
const BATCH: usize = 200;
