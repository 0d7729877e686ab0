//! Reads the counters of the edges every ten seconds, and writes a minute at its end.

use super::counters::{READINGS, difference, spread};
use super::edges::{EdgeReports, read_reports};
use super::live::STEP_SECONDS;
use super::service::{Observed, Series, locked};
use crate::clock::{now, now_ms};
use crate::db::{Counters, EdgeCounts, SeriesState, add_counters};
use portcullis_core::{UnixSeconds, read_counters, read_totals};
use redis_rest::{Command, Reply};
use std::sync::Arc;
use std::time::Duration;

/// What the rounds of a collector remember.
#[derive(Default)]
pub struct Readings {
    /// The counters of the edges at the last round that could read them, and when that was.
    edges: Option<(u64, Counters)>,
    /// This process's own counters then.
    own: Counters,
    /// Its own counters when they were written last.
    written: Counters,
    /// The largest numbers since then.
    maxima: Counters,
    /// The minute whose begin was the reason for the last write.
    minute: u64,
    has_failed: bool,
}

impl Series {
    /// Collects until the future is dropped.
    pub async fn run(&self) {
        let mut readings = Readings::default();
        loop {
            self.round(&mut readings, now()).await;
            // Just after the end of a step, so that a reading has what was counted in it.
            let step_ms = STEP_SECONDS * 1000;
            tokio::time::sleep(Duration::from_millis(step_ms - now_ms() % step_ms)).await;
        }
    }

    /// Reads all counters. Writes the last minute if a new one has begun since the last write.
    pub async fn round(&self, readings: &mut Readings, now: UnixSeconds) {
        let minute = now.0 - now.0 % MINUTE_SECONDS;
        let is_due = minute != readings.minute;
        // Before the counters are read, so that another process's later reading is noticed.
        let state = if is_due { Some(self.db.series_state().await) } else { None };
        let backlog = self.db.outbox_backlog().await;
        let (edges, reports) = self.read_edges(now).await;
        let own = self.own.read();
        let (rows, age) = backlog.as_ref().map_or((0, 0), |backlog| {
            let oldest = backlog.oldest_created_at.map_or(now.0, i64::unsigned_abs);
            (backlog.rows.unsigned_abs(), now.0.saturating_sub(oldest))
        });
        let mut maxima = Counters::new();
        if backlog.is_ok() {
            maxima.insert("auth_outbox_rows_max".to_owned(), rows);
            maxima.insert("auth_outbox_age_seconds_max".to_owned(), age);
        }
        if let Some(ms) = self.own.delivery_times.take_longest_ms() {
            maxima.insert("auth_delivery_milliseconds_max".to_owned(), ms);
        }
        add_counters(&mut readings.maxima, &maxima);
        if let Some(counters) = &edges {
            self.add_live(readings, counters, &own, &maxima, now);
            readings.edges = Some((now.0, counters.clone()));
            readings.own = own.clone();
        } else if !self.store.has_lists() {
            // No edge counts there, so that there is nothing but this process's own counters.
            let counts = joined(difference(&readings.own, &own), &maxima);
            locked(&self.live).add_own(now.0, &counts);
            readings.own = own.clone();
        }
        *locked(&self.observed) = Observed {
            at: now.0,
            store_up: edges.is_some() || (!self.store.has_lists() && self.is_reachable().await),
            database_up: backlog.is_ok(),
            outbox_rows: rows,
            outbox_age_seconds: age,
            edges: reports,
        };
        let written = match state {
            None => Ok(()),
            Some(Ok(state)) => self.write(readings, &state, edges, own, now).await,
            Some(Err(error)) => Err(error),
        };
        match written {
            Ok(()) => readings.has_failed = false,
            Err(error) => {
                match readings.has_failed {
                    true => tracing::debug!(event = "series_not_written", %error),
                    false => tracing::warn!(event = "series_not_written", %error),
                }
                readings.has_failed = true;
            }
        }
        self.rounds.send_modify(|round| *round = round.wrapping_add(1));
    }

    /// Adds what was counted since the last round to the live steps.
    fn add_live(
        &self,
        readings: &Readings,
        edges: &Counters,
        own: &Counters,
        maxima: &Counters,
        now: UnixSeconds,
    ) {
        let own = joined(difference(&readings.own, own), maxima);
        let mut live = locked(&self.live);
        if let Some((since, before)) = &readings.edges {
            live.add(*since, now.0, &difference(before, edges));
            live.add_own(now.0, &own);
        }
    }

    /// Writes what was counted since the last write. If another process has written the edges'
    /// counts meanwhile, only this process's own ones are added.
    async fn write(
        &self,
        readings: &mut Readings,
        state: &SeriesState,
        edges: Option<Counters>,
        own: Counters,
        now: UnixSeconds,
    ) -> Result<(), sqlx::Error> {
        let minute = now.0 - now.0 % MINUTE_SECONDS;
        let edges = edges.and_then(|counters| since_last(state, counters, now.0));
        let counts = joined(difference(&readings.written, &own), &readings.maxima);
        let start = minute.saturating_sub(MINUTE_SECONDS);
        let write = self.db.add_series(edges.as_ref(), (start, &counts), now);
        let silent = Err(sqlx::Error::PoolTimedOut);
        tokio::time::timeout(DATABASE_TIMEOUT, write).await.unwrap_or(silent)?;
        (readings.written, readings.minute) = (own, minute);
        readings.maxima.clear();
        Ok(())
    }

    /// Returns the counters of the edges, `None` if the store does not answer, and the reports of
    /// their isolates. Deletes old reports.
    async fn read_edges(
        &self,
        now: UnixSeconds,
    ) -> (Option<Counters>, Arc<Vec<super::EdgeReport>>) {
        if !self.store.has_lists() {
            return (None, Arc::default());
        }
        let edges = self.keys.edges();
        let query = [read_totals(&self.keys), Command::new("HGETALL").arg(&edges)];
        let replies = self.store.execute_bounded(&query, REPLY_BYTES_MAX).await;
        let Ok([totals, reports]) = replies.as_deref() else {
            return (None, Arc::default());
        };
        let Some(totals) = totals.as_text() else {
            return (None, Arc::default());
        };
        let reports = match reports {
            Reply::Array(fields) => read_reports(fields, now.0.saturating_mul(1000)),
            _ => EdgeReports::default(),
        };
        if !reports.stale.is_empty() {
            let delete = Command::new("HDEL").arg(&edges);
            let delete = reports.stale.iter().fold(delete, |delete, field| delete.arg(field));
            if let Err(error) = self.store.write(&[delete]).await {
                tracing::debug!(event = "edges_not_deleted", fault = %error);
            }
        }
        (Some(edge_counters(totals)), Arc::new(reports.reports))
    }

    /// Returns whether a store without hashes answers.
    async fn is_reachable(&self) -> bool {
        let query = Command::new("GET").arg(self.keys.blocked_networks());
        self.store.execute(&[query]).await.is_ok()
    }
}

/// Returns what the edges have counted since the last reading, by minutes. Returns `None` if
/// another process has read them in this minute.
fn since_last(state: &SeriesState, counters: Counters, now: u64) -> Option<EdgeCounts> {
    let minute = now - now % MINUTE_SECONDS;
    let version = state.version.clone();
    if version.is_empty() {
        // The counters may be a week old. They count from now on.
        return Some(EdgeCounts { version, counters, minutes: Vec::new() });
    }
    let last = state.at - state.at % MINUTE_SECONDS;
    // A reading that is far in the future is of a process whose clock is wrong.
    if last >= minute && state.at < now + CLOCK_SKEW_SECONDS {
        return None;
    }
    // After a pause of the service, it is unknown in which minutes requests came.
    let parts = (minute.saturating_sub(last) / MINUTE_SECONDS).clamp(1, PARTS_MAX);
    let first = minute.saturating_sub(parts * MINUTE_SECONDS);
    // Each part has all counters. So a long pause has few parts.
    let step = if parts > FINE_PARTS_MAX { COARSE_MINUTES } else { 1 };
    let counts = spread(&difference(&state.counters, &counters), parts.div_ceil(step));
    let minutes = (0..).zip(counts).map(|(place, mut counts)| {
        counts.insert(READINGS.to_owned(), 1);
        (first + place * step * MINUTE_SECONDS, counts)
    });
    let minutes = minutes.collect();
    Some(EdgeCounts { version, counters, minutes })
}

/// Reads the totals. Skips what is not a counter of an edge.
fn edge_counters(totals: &str) -> Counters {
    let counters = read_counters(totals).into_iter();
    counters.filter(|(field, _)| is_counter(field)).take(COUNTERS_MAX).collect()
}

fn is_counter(field: &str) -> bool {
    let name = field.split_once('{').map_or("", |(name, _)| name);
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let is_text = field.bytes().all(|b| b.is_ascii_graphic() || b == b' ');
    // The names of this service, and of maxima, are not the edges'.
    let is_edges = !name.starts_with("auth_") && field.ends_with('}');
    field.len() <= FIELD_BYTES_MAX && is_name && is_text && is_edges
}

fn joined(mut counters: Counters, added: &Counters) -> Counters {
    add_counters(&mut counters, added);
    counters
}

const MINUTE_SECONDS: u64 = 60;
/// The most minutes over which counts are spread: less than minutes are kept.
const PARTS_MAX: u64 = 23 * 60;
/// The most minutes that each get a part. Of a longer pause, each tenth minute gets one.
const FINE_PARTS_MAX: u64 = 60;
const COARSE_MINUTES: u64 = 10;
/// How far the clocks of two processes may differ.
const CLOCK_SKEW_SECONDS: u64 = 300;
const DATABASE_TIMEOUT: Duration = Duration::from_secs(5);
const REPLY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// More counters than any gate has.
const COUNTERS_MAX: usize = 20_000;
const FIELD_BYTES_MAX: usize = 512;
