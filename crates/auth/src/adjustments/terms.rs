//! The bounds of adjustments, and when they end.

use crate::problem::Problem;
use portcullis_core::UnixSeconds;

/// When an adjustment shall end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ending {
    /// So many seconds from now.
    After(u64),
    /// At this Unix time.
    At(u64),
}

impl Ending {
    /// Returns the ending of a request, which names one of the two.
    pub fn new(seconds: Option<u64>, until: Option<u64>) -> Result<Self, Problem> {
        match (seconds, until) {
            (Some(seconds), None) => Ok(Self::After(seconds)),
            (None, Some(until)) => Ok(Self::At(until)),
            _ => Err(Problem::AdjustmentInvalid("no end, or two; give seconds or until")),
        }
    }

    /// Returns the Unix time of the end.
    pub(super) fn at(self, now: UnixSeconds) -> Result<u64, Problem> {
        let seconds = match self {
            Self::After(seconds) => seconds,
            Self::At(until) => until.saturating_sub(now.0),
        };
        match (1..=SECONDS_MAX).contains(&seconds) {
            true => Ok(now.plus(seconds).0),
            false => Err(Problem::AdjustmentInvalid(
                "the end is out of bounds; give a time from 1 second to 400 days ahead",
            )),
        }
    }
}

/// Parses a duration of a command: a whole number of seconds, minutes, hours or days, such as `1h`.
pub fn parse_duration(text: &str) -> Result<u64, String> {
    let problem = || format!("{text} is no duration; give a number with s, m, h or d, such as 1h");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(problem)?;
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(problem()),
    };
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let seconds = number.parse::<u64>().ok().filter(|_| is_number);
    let seconds = seconds.and_then(|number| number.checked_mul(unit)).ok_or_else(problem)?;
    match (1..=SECONDS_MAX).contains(&seconds) {
        true => Ok(seconds),
        false => Err(format!("{text} is out of bounds; give 1s to 400d")),
    }
}

/// Checks a text: at most `max` bytes, none of which is a control character.
pub(super) fn check_text(text: &str, max: usize, problem: &'static str) -> Result<(), Problem> {
    match text.len() <= max && !text.chars().any(char::is_control) {
        true => Ok(()),
        false => Err(Problem::AdjustmentInvalid(problem)),
    }
}

/// The longest time to the end: 400 days.
const SECONDS_MAX: u64 = 400 * 86_400;
/// The most entries of a list in one response.
pub const LIST_MAX: u32 = 1000;
