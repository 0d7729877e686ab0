//! The ranges of time that the console shows.

use crate::db::{Counters, add_counters};
use crate::http::query::Query;
use crate::problem::Problem;
use crate::series::{READINGS, STEP_SECONDS, Series, is_own, summary};
use portcullis_core::UnixSeconds;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// A range of time until now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Range {
    /// The last ten minutes, from memory.
    Live,
    Hour,
    Day,
    Week,
}

/// What was counted in a range. Its steps are equally long.
pub struct Counted {
    /// Each step's start in Unix seconds and its counts. A step without a reading has none.
    pub steps: Vec<(u64, Counters)>,
    /// The sums of all steps.
    pub total: Counters,
}

impl Range {
    /// Takes the parameter `range` of a query. Without it, the range is the last hour.
    pub fn take(query: &mut Query) -> Result<Self, Problem> {
        match query.take("range")?.as_deref() {
            Some("live") => Ok(Self::Live),
            None | Some("hour") => Ok(Self::Hour),
            Some("day") => Ok(Self::Day),
            Some("week") => Ok(Self::Week),
            Some(_) => Err(Problem::QueryInvalid("range is unknown; give live, hour, day or week")),
        }
    }

    /// Returns the name in requests and responses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
        }
    }

    /// Returns the length of a step.
    pub fn step_seconds(self) -> u64 {
        match self {
            Self::Live => STEP_SECONDS,
            Self::Hour => 60,
            Self::Day => 600,
            Self::Week => 3600,
        }
    }

    /// Returns when the range begins, in Unix seconds.
    pub fn from(self, now: UnixSeconds) -> u64 {
        let seconds = match self {
            Self::Live => 600,
            Self::Hour => 3600,
            Self::Day => 86_400,
            Self::Week => 7 * 86_400,
        };
        let step = self.step_seconds().min(60);
        (now.0 - now.0 % step).saturating_sub(seconds)
    }

    /// Returns what was counted. The last step ends with the last minute, or the last ten seconds.
    pub async fn counted(self, series: &Series, now: UnixSeconds) -> Result<Counted, Problem> {
        let (from, step) = (self.from(now), self.step_seconds());
        let to = now.0 - now.0 % step.min(60);
        let mut points = match self {
            Self::Live => series.live(),
            Self::Hour | Self::Day | Self::Week => {
                // A week has many rows. Those who ask must leave connections to other requests.
                let _permit = QUERIES.acquire().await.map_err(|_| Problem::Internal)?;
                series.range(from, to, step).await?
            }
        };
        points.retain(|point| (from..to).contains(&point.start));
        let mut total = Counters::new();
        points.iter().for_each(|point| add_counters(&mut total, &point.counters));
        let mut points = points.into_iter().peekable();
        let steps = (0..(to - from) / step).map(|place| {
            let start = from + place * step;
            let point = points.next_if(|point| point.start == start);
            (start, point.map(|point| point.counters).unwrap_or_default())
        });
        Ok(Counted { steps: steps.collect(), total })
    }
}

/// Returns one step as JSON. What the edges count is `null` if no process read it.
pub fn shown_point(start: u64, counters: &Counters) -> Value {
    let mut shown = summary(counters);
    if !counters.contains_key(READINGS) {
        let of_edges = shown.iter_mut().filter(|(name, _)| !is_own(name));
        of_edges.for_each(|(_, value)| *value = Value::Null);
    }
    shown.insert("start".to_owned(), json!(start));
    Value::Object(shown)
}

/// The ranges that are read at once, half as many as SQLite has connections that read.
static QUERIES: Semaphore = Semaphore::const_new(2);
