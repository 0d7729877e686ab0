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
    /// Each state of it that the store ever had: when it was made, and what it used at the last
    /// report.
    pub states: &'u [(u64, u64)],
}

/// Returns the command that restores a state. What other states used than the store's present one
/// counts as used before it; what the present one used counts if it is more than the store says.
/// Repeated, the command changes nothing. It leaves a state of a later period as it is.
pub fn restore_command(keys: &StoreKeys, known: &KnownUse<'_>) -> Command {
    let life_days = if known.state == CREDITS { CREDITS_LIFE_DAYS } else { PERIOD_LIFE_DAYS };
    let command = Command::new("EVAL")
        .arg(RESTORE_SCRIPT)
        .arg(1)
        .arg(keys.limit(known.limit, known.state, &known.hash))
        .arg(life_days * 86_400_000)
        .arg(known.begun_ms);
    known.states.iter().fold(command, |command, (made_ms, used)| command.arg(*made_ms).arg(*used))
}

const CREDITS: &str = "credits";
/// As in the script that counts.
const CREDITS_LIFE_DAYS: u64 = 400;
/// The longest period, and some days.
const PERIOD_LIFE_DAYS: u64 = 40;
