//! The periods of the UTC calendar that run at a moment.

use portcullis_core::{UnixMillis, UnixSeconds};

/// The day and the month that run, each with its begin and its end in Unix milliseconds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RunningPeriods {
    day: (u64, u64),
    month: (u64, u64),
}

impl RunningPeriods {
    /// Returns the periods that run at `now`.
    pub fn at(now: UnixSeconds) -> Self {
        let now_ms = now.0.saturating_mul(1000);
        let day = now_ms - now_ms % DAY_MS;
        let month = month_start(day);
        // 31 days after the first of a month it is the next month.
        Self { day: (day, day + DAY_MS), month: (month, month_start(month + 31 * DAY_MS)) }
    }

    /// Returns when the day and the month began.
    pub fn begun_ms(self) -> [u64; 2] {
        [self.day.0, self.month.0]
    }

    /// Returns when a running period ends that began then, or 0 for the credits. On the first of a
    /// month that is the end of the month: a day that began then could be a month.
    pub fn ends_ms(self, begun_ms: u64) -> u64 {
        match begun_ms {
            0 => 0,
            begun_ms if begun_ms == self.month.0 => self.month.1,
            _ => self.day.1,
        }
    }
}

/// Returns when the month of a day began.
fn month_start(day_ms: u64) -> u64 {
    let date = UnixMillis(day_ms).to_string();
    let day_of_month: u64 = date.get(8..10).and_then(|day| day.parse().ok()).unwrap_or(1);
    day_ms - (day_of_month - 1) * DAY_MS
}

const DAY_MS: u64 = 86_400_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_are_those_of_the_utc_calendar() {
        for (now, day, month, month_ends) in [
            // 2024-02-29T23:59:59Z
            (1_709_251_199, 1_709_164_800, 1_706_745_600, 1_709_251_200),
            // 2024-03-01T00:00:00Z
            (1_709_251_200, 1_709_251_200, 1_709_251_200, 1_711_929_600),
            // 2026-12-31T12:00:00Z
            (1_798_718_400, 1_798_675_200, 1_796_083_200, 1_798_761_600),
        ] {
            let running = RunningPeriods::at(UnixSeconds(now));
            assert_eq!(running.begun_ms(), [day * 1000, month * 1000], "{now}");
            assert_eq!(running.ends_ms(month * 1000), month_ends * 1000, "{now}");
            if day != month {
                assert_eq!(running.ends_ms(day * 1000), (day + 86_400) * 1000, "{now}");
            }
            assert_eq!(running.ends_ms(0), 0);
        }
    }
}
