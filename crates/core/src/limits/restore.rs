//! Gives back to a limit's state what the store lost of it. The auth service knows it from the
//! reports of usage.

use crate::store::keys::StoreKeys;
use crate::store::script;
use redis_rest::Command;

/// The script that adds to a state what the store lost of it.
pub const RESTORE_SCRIPT: &str = script::text(&RESTORE);
const RESTORE: [u8; script::bare_bytes(SOURCE)] = script::bare(SOURCE);
const SOURCE: &str = include_str!("restore.lua");

/// The reported use of one quota in one period, or of one balance of credits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownUse<'u> {
    /// The limit's name.
    pub limit: &'u str,
    /// The kind of the state: `day`, `month` or `credits`.
    pub state: &'u str,
    /// The hash of what the limit counts.
    pub hash: [u8; 32],
    /// When the period began, in Unix milliseconds; 0 for the credits.
    pub begun_ms: u64,
    /// When the period ends, in Unix milliseconds; 0 for the credits.
    pub ends_ms: u64,
    /// Each state of it that the store ever had: when it was made, and what it used at the last
    /// report.
    pub states: &'u [(u64, u64)],
}

/// Returns the command that restores a state. What other states used than the store's present one
/// counts as used before it; what the present one used counts if it is more than the store says.
/// If the store lost nothing, the command writes nothing. It leaves a state of a later period as
/// it is, and refuses a period that does not run now, or a number above [`USED_MAX`].
pub fn restore_command(keys: &StoreKeys, known: &KnownUse<'_>) -> Command {
    let life_ms = if known.state == CREDITS { CREDITS_LIFE_MS } else { 0 };
    let command = Command::new("EVAL")
        .arg(RESTORE_SCRIPT)
        .arg(1)
        .arg(keys.limit(known.limit, known.state, &known.hash))
        .arg(life_ms)
        .arg(known.begun_ms)
        .arg(known.ends_ms);
    known.states.iter().fold(command, |command, (made_ms, used)| command.arg(*made_ms).arg(*used))
}

/// The most that one state may have used, as in the script. Lua counts exactly up to 2^53.
pub const USED_MAX: u64 = 1_000_000_000_000_000;
const CREDITS: &str = "credits";
/// As in the script that counts.
const CREDITS_LIFE_MS: u64 = 400 * 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn documented_token_may_run_the_script() {
        assert_eq!(script::documented_tokens(RESTORE_SCRIPT), 1);
    }

    #[test]
    fn script_has_the_same_bound() {
        assert!(RESTORE_SCRIPT.contains("> 1e15"));
        assert_eq!(USED_MAX.to_string(), format!("1{}", "0".repeat(15)));
    }
}
