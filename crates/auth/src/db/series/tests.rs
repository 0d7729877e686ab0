//! The series on both databases.

use super::*;
use crate::testing::{T, TestService, after, on_each_database};
use std::sync::Arc;

const MINUTE_0: u64 = T.0 - T.0 % 60;

fn counters(pairs: &[(&str, u64)]) -> Counters {
    pairs.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
}

fn edges(version: &str, total: u64, minutes: &[(u64, u64)]) -> EdgeCounts {
    let minutes = minutes.iter().map(|(start, count)| (*start, counters(&[("a{}", *count)])));
    let counters = counters(&[("a{}", total)]);
    EdgeCounts { version: version.to_owned(), counters, minutes: minutes.collect() }
}

async fn steps(db: &Db, from: u64, to: u64, step: u64) -> Vec<(u64, Counters)> {
    db.series(from, to, step).await.unwrap().into_steps()
}

async fn rows(db: &Db, span: &str) -> i64 {
    db.query_number(&format!("SELECT COUNT(*) FROM series WHERE span = '{span}'")).await.unwrap()
}

#[tokio::test]
async fn counts_of_a_reading_are_added_once() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let db = &service.db;
            assert_eq!(db.series_state().await.unwrap(), SeriesState::default());
            let none = Counters::new();
            // The first reading has no differences.
            assert!(db.add_series(Some(&edges("", 100, &[])), (0, &none), T).await.unwrap());
            let state = db.series_state().await.unwrap();
            assert_eq!((state.at, &state.counters), (T.0, &counters(&[("a{}", 100)])));
            assert_eq!(rows(db, MINUTE).await, 0);
            let change = edges(&state.version, 107, &[(MINUTE_0, 7)]);
            let own = counters(&[("auth_x{}", 2), ("auth_age_max", 5)]);
            assert!(db.add_series(Some(&change), (MINUTE_0, &own), after(60)).await.unwrap());
            // Another process read the same state: only its own counts are added.
            let own = counters(&[("auth_x{}", 3), ("auth_age_max", 4)]);
            assert!(!db.add_series(Some(&change), (MINUTE_0, &own), after(61)).await.unwrap());
            let expect = counters(&[("a{}", 7), ("auth_x{}", 5), ("auth_age_max", 5)]);
            assert_eq!(steps(db, MINUTE_0, MINUTE_0 + 60, 60).await, [(MINUTE_0, expect)]);
            assert_eq!(db.series_state().await.unwrap().counters, counters(&[("a{}", 107)]));
        },
    )
    .await;
}

#[tokio::test]
async fn of_many_processes_one_writes_a_minute() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let db = &service.db;
            let none = Counters::new();
            db.add_series(Some(&edges("", 0, &[])), (0, &none), T).await.unwrap();
            for minute in 1..=5 {
                let version = db.series_state().await.unwrap().version;
                let start = MINUTE_0 + minute * 60;
                let write = || {
                    let (db, change) = (Arc::clone(db), edges(&version, minute, &[(start, 1)]));
                    tokio::spawn(async move {
                        let own = counters(&[("auth_x{}", 1)]);
                        db.add_series(Some(&change), (start, &own), UnixSeconds(start)).await
                    })
                };
                let writes: Vec<_> = (0..8).map(|_| write()).collect();
                let mut counted = 0;
                for write in writes {
                    counted += usize::from(write.await.unwrap().unwrap());
                }
                assert_eq!(counted, 1, "minute {minute}");
                let expect = counters(&[("a{}", 1), ("auth_x{}", 8)]);
                assert_eq!(steps(db, start, start + 60, 60).await, [(start, expect)]);
            }
            // New names, too, are added once.
            assert_eq!(db.query_number("SELECT COUNT(*) FROM series_names").await.unwrap(), 2);
        },
    )
    .await;
}

#[tokio::test]
async fn minutes_of_an_old_hour_become_one_row() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let db = &service.db;
            let hour = T.0 - T.0 % 3600;
            for minute in 0..120 {
                let counts = counters(&[("a{}", minute), ("b_max", minute)]);
                let start = hour + minute * 60;
                db.add_series(None, (start, &counts), UnixSeconds(start)).await.unwrap();
            }
            let sum = |range: std::ops::Range<u64>| {
                counters(&[("a{}", range.clone().sum()), ("b_max", range.end - 1)])
            };
            let day = 86_400;
            let expect = [(hour, sum(0..60)), (hour + 3600, sum(60..120))];
            assert_eq!(steps(db, hour, hour + 7200, 3600).await, expect);
            // The last minute of the first hour is a day old only when the hour's end is.
            let early = UnixSeconds(hour + 3600 + day - 1);
            assert_eq!(db.roll_up_series(early).await.unwrap(), 0);
            let due = UnixSeconds(hour + 3600 + day);
            assert_eq!(db.roll_up_series(due).await.unwrap(), 60);
            assert_eq!(db.roll_up_series(due).await.unwrap(), 0);
            assert_eq!((rows(db, MINUTE).await, rows(db, HOUR).await), (60, 1));
            assert_eq!(steps(db, hour, hour + 7200, 3600).await, expect, "nothing is lost");
            // Minutes of the same hour that come late are added to its row.
            let late = counters(&[("a{}", 1), ("b_max", 3)]);
            db.add_series(None, (hour + 60, &late), due).await.unwrap();
            assert_eq!(db.roll_up_series(due).await.unwrap(), 1);
            let mut first = sum(0..60);
            first.insert("a{}".into(), 1770 + 1);
            assert_eq!(steps(db, hour, hour + 3600, 3600).await, [(hour, first)]);
        },
    )
    .await;
}

#[tokio::test]
async fn two_roll_ups_at_once_count_each_minute_once() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let hour = T.0 - T.0 % 3600;
            for minute in 0..60 {
                let start = hour + minute * 60;
                let counts = counters(&[("a{}", 1)]);
                service.db.add_series(None, (start, &counts), T).await.unwrap();
            }
            let due = UnixSeconds(hour + 90_000);
            let roll_up = || {
                let db = Arc::clone(&service.db);
                tokio::spawn(async move { db.roll_up_series(due).await })
            };
            let all = [roll_up(), roll_up(), roll_up()];
            let mut rolled_up = 0;
            for one in all {
                rolled_up += one.await.unwrap().unwrap();
            }
            assert_eq!(rolled_up, 60);
            let expect = [(hour, counters(&[("a{}", 60)]))];
            assert_eq!(steps(&service.db, hour, hour + 3600, 3600).await, expect);
        },
    )
    .await;
}

#[tokio::test]
async fn old_hours_and_the_names_that_only_they_had_are_deleted() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (db, day) = (&service.db, 86_400);
            let hour = T.0 - T.0 % 3600;
            for (days, name) in [(0, "old{}"), (0, "kept{}"), (40, "kept{}"), (100, "kept{}")] {
                let start = hour + days * day;
                let counts = counters(&[(name, 1)]);
                db.add_series(None, (start, &counts), UnixSeconds(start)).await.unwrap();
            }
            let at = |days: u64| UnixSeconds(hour + days * day);
            while db.roll_up_series(at(102)).await.unwrap() > 0 {}
            assert_eq!(rows(db, HOUR).await, 3);
            let delete = async |days| {
                let mut deleted = 0;
                loop {
                    match db.delete_old_series(at(days), 90 * day).await.unwrap() {
                        0 => return deleted,
                        batch => deleted += batch,
                    }
                }
            };
            assert_eq!(delete(90).await, 0);
            assert_eq!(delete(91).await, 1, "an hour");
            assert_eq!(delete(94).await, 0, "a name is kept longer than its hours");
            assert_eq!(delete(95).await, 1, "the name");
            let expect = [(hour + 40 * day, counters(&[("kept{}", 1)]))];
            assert_eq!(steps(db, hour, hour + 90 * day, 3600).await, expect);
            let name = "SELECT COUNT(*) FROM series_names WHERE name = 'kept{}'";
            assert_eq!(db.query_number(name).await.unwrap(), 1);
        },
    )
    .await;
}

/// The surplus of a row has a name that no counter has.
#[tokio::test]
async fn name_of_the_surplus_is_in_use_and_never_deleted() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (db, day) = (&service.db, 86_400);
            let many: Counters = (0..2100).map(|n| (format!("n{n}{{}}"), n + 1)).collect();
            let hour = T.0 - T.0 % 3600;
            let at = |days: u64| UnixSeconds(hour + days * day);
            for days in [0, 2] {
                db.add_series(None, (at(days).0, &many), at(days)).await.unwrap();
            }
            let used_at = "SELECT used_at FROM series_names WHERE name = 'other'";
            let used_at = db.query_number(used_at).await.unwrap();
            assert_eq!(used_at.unsigned_abs(), at(2).0);
            while db.roll_up_series(at(200)).await.unwrap() > 0 {}
            while db.delete_old_series(at(200), 90 * day).await.unwrap() > 0 {}
            assert_eq!(db.query_number("SELECT COUNT(*) FROM series_names").await.unwrap(), 1);
            db.add_series(None, (at(200).0, &many), at(200)).await.unwrap();
            let found = steps(db, at(200).0, at(201).0, 60).await;
            // The smallest 101 counts.
            assert_eq!(found[0].1.get(packed::OTHER), Some(&(101 * 102 / 2)));
            assert_eq!(found[0].1.values().sum::<u64>(), many.values().sum::<u64>());
        },
    )
    .await;
}

#[tokio::test]
async fn steps_begin_where_the_range_does() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let from = MINUTE_0 + 420;
            for minute in 0..300 {
                let start = MINUTE_0 + minute * 60;
                let counts = counters(&[("a{}", 1)]);
                service.db.add_series(None, (start, &counts), T).await.unwrap();
            }
            let found = steps(&service.db, from, from + 280 * 60, 600).await;
            assert_eq!(found.len(), 28);
            for (place, (start, counts)) in found.iter().enumerate() {
                assert_eq!(*start, from + place as u64 * 600);
                assert_eq!(*counts, counters(&[("a{}", 10)]));
            }
        },
    )
    .await;
}

/// The row of a gate with 20 routes, 30 codes and 10 limits, whose every counter moves. Prints what
/// docs/storage.md says.
#[tokio::test]
async fn busy_hour_has_a_small_row() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let busy = busy();
            let hour = T.0 - T.0 % 3600;
            service.db.add_series(None, (hour, &busy), T).await.unwrap();
            let bytes = "SELECT MAX(LENGTH(data)) FROM series";
            let bytes = service.db.query_number(bytes).await.unwrap();
            let started = std::time::Instant::now();
            for minute in 1..60 {
                let start = hour + minute * 60;
                service.db.add_series(None, (start, &busy), T).await.unwrap();
            }
            let written = started.elapsed() / 59;
            let started = std::time::Instant::now();
            let whole = steps(&service.db, hour, hour + 3600, 600).await;
            let read = started.elapsed();
            assert_eq!(whole.len(), 6);
            println!(
                "{} counters, {bytes} bytes, {} kB a year; write {written:?}, read 60 rows {read:?}",
                busy.len(),
                bytes * 8766 / 1000
            );
            assert!(bytes < 16_000, "{bytes}");
        },
    )
    .await;
}

/// Returns the counts of a busy hour.
fn busy() -> Counters {
    let mut all = Counters::new();
    let bounds = ["2", "5", "10", "25", "50", "100", "250", "500", "1000", "5000", "+Inf"];
    let mut histogram = |name: &str, labels: &str| {
        for (place, bound) in (1_u64..).zip(bounds) {
            let comma = if labels.is_empty() { "" } else { "," };
            let name = format!("{name}_milliseconds_bucket{{{labels}{comma}le=\"{bound}\"}}");
            all.insert(name, 100_000 + place * 7919);
        }
        all.insert(format!("{name}_milliseconds_count{{{labels}}}"), 187_109);
        all.insert(format!("{name}_milliseconds_sum{{{labels}}}"), 3_456_789);
    };
    for route in 0..20 {
        histogram("request", &format!("route=\"route-{route}\""));
        histogram("upstream", &format!("route=\"route-{route}\""));
    }
    for name in ["store", "provider", "clearance_age", "auth_delivery"] {
        histogram(name, "");
    }
    for route in 0..20 {
        let labels = format!("route=\"route-{route}\",outcome=\"forwarded\",code=\"none\"");
        all.insert(format!("requests_total{{{labels}}}"), 180_000);
        // Each route has some of the 30 codes.
        for code in 0..30 {
            let labels =
                format!("route=\"route-{route}\",outcome=\"refused\",code=\"code-{code}\"");
            all.insert(format!("requests_total{{{labels}}}"), 100 + code);
        }
        for source in ["isolate", "store", "provider", "signature"] {
            let labels = format!("route=\"route-{route}\",cache=\"{source}\"");
            all.insert(format!("verdicts_total{{{labels}}}"), 45_000);
        }
    }
    for limit in 0..10 {
        for result in ["passed", "refused", "shadow"] {
            let labels = format!("limit=\"limit-{limit}\",result=\"{result}\"");
            all.insert(format!("limit_checks_total{{{labels}}}"), 12_345);
        }
        all.insert(format!("limited_total{{limit=\"limit-{limit}\",shadow=\"false\"}}"), 1234);
    }
    all
}
