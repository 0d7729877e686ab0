//! The counters of all edges in the store. Each isolate pushes batches to a list, and a script adds
//! them to the totals: stores bill each command, and a batch has many counters.

use crate::store::keys::StoreKeys;
use crate::store::script;
use redis_rest::Command;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The script that adds the batches up.
pub const TOTALS_SCRIPT: &str = script::text(&TOTALS);
const TOTALS: [u8; script::bare_bytes(SOURCE)] = script::bare(SOURCE);
const SOURCE: &str = include_str!("totals.lua");

/// Returns the commands that push a batch: counts by names with labels, without line breaks. The
/// reply to the first is how many batches wait. `renews`: whether to tell the store how long to
/// keep the counters.
pub fn push_counters(
    keys: &StoreKeys,
    batch: &BTreeMap<String, u64>,
    renews: bool,
) -> Vec<Command> {
    let mut text = String::new();
    for (name, count) in batch {
        let _ = writeln!(text, "{name} {count}");
    }
    let mut commands = vec![Command::new("RPUSH").arg(keys.metrics_batches()).arg(text)];
    if renews {
        for key in [keys.metrics_batches(), keys.metrics_totals()] {
            commands.push(Command::new("EXPIRE").arg(key).arg(KEPT_SECONDS));
        }
    }
    commands
}

/// Returns whether an isolate adds the batches to the totals after its batch, which has so many
/// names, and with which so many batches wait. So one isolate of all does it. The more names, the
/// sooner: a script holds up the store.
pub fn are_totals_due(waiting: i64, names: usize) -> bool {
    let each = (NAMES_WAITING_MAX / names.max(1) as u64).clamp(1, BATCHES_WAITING_MAX);
    waiting.unsigned_abs().is_multiple_of(each)
}

/// Returns the commands that add the batches to the totals. If the store refuses that, the oldest
/// batches are dropped, of more than 1,024.
pub fn add_up_counters(keys: &StoreKeys) -> [Command; 2] {
    let batches = keys.metrics_batches();
    [run(keys, 1), Command::new("LTRIM").arg(batches).arg(-BATCHES_KEPT_MAX).arg(-1)]
}

/// Returns the command that returns the totals with what waits, as [`read_counters`] reads them. It
/// writes them if no isolate has.
///
/// [`read_counters`]: super::samples::read_counters
pub fn read_totals(keys: &StoreKeys) -> Command {
    run(keys, BATCHES_WAITING_MAX)
}

fn run(keys: &StoreKeys, waiting_min: u64) -> Command {
    Command::new("EVAL")
        .arg(TOTALS_SCRIPT)
        .arg(2)
        .arg(keys.metrics_totals())
        .arg(keys.metrics_batches())
        .arg(waiting_min)
}

/// How many batches wait at most, and how many names in all of them, by about.
const BATCHES_WAITING_MAX: u64 = 64;
const NAMES_WAITING_MAX: u64 = 4096;
/// How many batches are kept that can't be added up. The script reads 128 at once.
const BATCHES_KEPT_MAX: i64 = 1024;
/// How long the store keeps counters to which no edge adds, as in the script.
const KEPT_SECONDS: u32 = 7 * 86_400;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn both_documented_tokens_may_run_the_script() {
        assert_eq!(script::documented_tokens(TOTALS_SCRIPT), 2);
    }

    #[test]
    fn script_has_the_same_life() {
        assert!(TOTALS_SCRIPT.contains(&format!("'EX', {KEPT_SECONDS})")));
    }

    #[test]
    fn totals_are_due_for_one_of_the_isolates() {
        let due = |names| (1..=128).filter(|waiting| are_totals_due(*waiting, names)).count();
        assert_eq!(
            [0, 1, 20, 64, 65, 512, 2000, 4096, 9000].map(due),
            [2, 2, 2, 2, 2, 16, 64, 128, 128]
        );
        assert!(are_totals_due(64, 20) && !are_totals_due(63, 20));
    }

    #[test]
    fn batch_is_one_line_for_each_name() {
        let batch = [("a{x=\"b c\"}", 3), ("b{}", 0)].map(|(name, count)| (name.to_owned(), count));
        let commands = push_counters(&StoreKeys::new("pc"), &batch.into(), false);
        assert_eq!(commands[0].text(2), Some("a{x=\"b c\"} 3\nb{} 0\n"));
    }
}
