//! Tests of what the database keeps, and of how often it is asked.

use super::*;

#[tokio::test]
async fn periods_keep_the_largest_report_of_each_state() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let period =
                |hash: &str, state: &str, begun: u64, origin: u64, used: u64| PeriodUsage {
                    limit: "api".into(),
                    state: state.into(),
                    hash: hash.repeat(43),
                    begun,
                    origin,
                    used,
                };
            let mut number = 0;
            let mut report = async |periods: Vec<PeriodUsage>, now: UnixSeconds| {
                number += 1;
                let batch = UsageBatch { periods, ..batch(&format!("p{number}"), Vec::new()) };
                let counted =
                    service.db.add_usage(std::slice::from_ref(&batch), now).await.unwrap();
                assert!(counted.contains(&batch.id));
            };
            report(vec![period("A", "month", 1000, 1, 5), period("B", "credits", 0, 1, 7)], T)
                .await;
            report(vec![period("A", "month", 1000, 1, 9), period("A", "month", 1000, 2, 1)], T)
                .await;
            report(vec![period("A", "month", 1000, 1, 6), period("A", "month", 10, 1, 3)], T).await;
            let places = async |begun: [u64; 2]| {
                let (mut found, mut last) = (Vec::new(), None);
                while let Some(row) =
                    service.db.quota_usage(last.as_ref(), begun, 1).await.unwrap().pop()
                {
                    found.push((row.begun, row.origin, row.used));
                    last = Some(row);
                }
                let rows = service.db.quota_usage(None, begun, 10).await.unwrap();
                assert_eq!(rows.len(), found.len());
                found
            };
            assert_eq!(places([1000, 2000]).await, [(0, 1, 7), (1000, 1, 9), (1000, 2, 1)]);
            assert_eq!(places([2000, 10]).await, [(0, 1, 7), (10, 1, 3)]);
            assert_eq!(places([2000, 3000]).await, [(0, 1, 7)]);
            service.db.delete_old_usage(after(63 * 86_400), 1).await.unwrap();
            assert_eq!(places([1000, 10]).await, [(0, 1, 7)]);
            service.db.delete_old_usage(after(401 * 86_400), 1).await.unwrap();
            assert_eq!(places([1000, 10]).await, []);
        },
    )
    .await;
}

/// What was spent is known as long as what was granted.
#[tokio::test]
async fn use_of_credits_is_kept_as_long_as_their_balance() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let caller = |hash: &str| LimitCaller {
                limit: "api".into(),
                issuer: "https://a.example".into(),
                parts: "[]".into(),
                hash: hash.repeat(43),
            };
            let balance = caller("A");
            let grant = CreditGrant { caller: &balance, id: "g", credits: 9, actor: "operator" };
            let change = AuditedChange { now: T, events: &[] };
            service.db.add_credits(&grant, 100, &|_| Vec::new(), &change).await.unwrap();
            let period = |hash: &str, begun: u64| PeriodUsage {
                limit: "api".into(),
                state: "credits".into(),
                hash: hash.repeat(43),
                begun,
                origin: 1,
                used: 7,
            };
            let periods = vec![period("A", 0), period("A", 1000), period("B", 0)];
            let batch = UsageBatch { periods, ..batch("p", Vec::new()) };
            service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
            service.db.delete_old_usage(after(2000 * 86_400), 1).await.unwrap();
            let left = service.db.quota_usage(None, [1000, 1000], 10).await.unwrap();
            let left: Vec<_> = left.iter().map(|row| (row.hash.as_str(), row.begun)).collect();
            assert_eq!(left, [(balance.hash.as_str(), 0)]);
        },
    )
    .await;
}

#[tokio::test]
async fn old_rows_are_deleted() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            let old = UsageRow { hour: HOUR - 7200, last: HOUR - 7200, ..row("alice", 5) };
            service.db.add_usage(&[batch("a", vec![old, row("alice", 3)])], T).await.unwrap();
            let day = 86_400;
            assert_eq!(service.db.delete_old_usage(T, 10 * day).await.unwrap(), 0);
            assert_eq!(service.db.delete_old_usage(T, T.0 - HOUR).await.unwrap(), 1);
            assert_eq!(totals(&service).await, (3, 0));
            let count = async || {
                service.db.query_number("SELECT COUNT(*) FROM usage_batches").await.unwrap()
            };
            service.db.delete_old_usage(after(7 * day), 90 * day).await.unwrap();
            assert_eq!(count().await, 1, "the store may still have it");
            service.db.delete_old_usage(after(8 * day + 1), 90 * day).await.unwrap();
            assert_eq!(count().await, 0);
        },
    )
    .await;
}

#[test]
fn last_use_of_each_own_key_is_found() {
    let of = |issuer: &str, key: &str, last: u64| UsageRow {
        issuer: issuer.into(),
        key: key.into(),
        last,
        ..row("alice", 1)
    };
    let rows = [of("own", "k", 5), of("own", "k", 9), of("own", "k", 7), of("own", "", 8)];
    let other = of("other", "x", 9);
    assert_eq!(key_uses(&[&rows[..], &[other]].concat(), "own"), [("k", 9)]);
}

/// The promise of a database that is rarely queried holds for usage, too.
#[tokio::test]
async fn many_batches_of_the_same_callers_are_a_few_statements() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            let queries = service.db.queries().with_label_values(&["usage"]);
            // The ids and the rows; for 5,000 rows in two transactions.
            for (name, batches, expect) in [("few", 8, 2), ("more", 10, 4)] {
                for number in 0..batches {
                    let rows = (0..500).map(|at| row(&format!("s{at}"), 1)).collect();
                    store.push_batch(&batch(&format!("{name}{number}"), rows));
                }
                let before = queries.get();
                assert_eq!(collector.collect(T).await, Ok(Round::Done));
                assert_eq!(queries.get() - before, expect, "{name}");
            }
            assert_eq!(totals(&service).await, (9000, 0));
            assert!(by_subject(&service).await.values().all(|count| *count == 18));
            // Of one state, the largest report is enough.
            let period = |used| PeriodUsage {
                limit: "l".into(),
                state: "month".into(),
                hash: "A".into(),
                begun: 1000,
                origin: 1,
                used,
            };
            let reports = [3, 9, 5].map(|used| UsageBatch {
                periods: vec![period(used)],
                ..batch(&format!("report{used}"), Vec::new())
            });
            let before = queries.get();
            assert_eq!(service.db.add_usage(&reports, T).await.unwrap().len(), 3);
            assert_eq!(queries.get() - before, 2);
            let kept = service.db.quota_usage(None, [1000, 1000], 10).await.unwrap();
            assert_eq!(kept.iter().map(|row| row.used).collect::<Vec<_>>(), [9]);
            store.clear();
        },
    )
    .await;
}

/// What it prints is the basis of a statement in docs/storage.md. Tests are not optimized.
#[tokio::test]
async fn full_batch_holds_the_writer_briefly() {
    on_each_database(
        |_| (),
        async |service: TestService| {
            service.add("alice").await;
            let rows =
                |first: u64| (first..first + 512).map(|at| row(&format!("s{at}"), 1)).collect();
            let mut worst = std::time::Duration::ZERO;
            for number in 0..6 {
                // A quarter of the rows is new each time.
                let batch = batch(&format!("f{number}"), rows(128 * number));
                let begun = std::time::Instant::now();
                service.db.add_usage(std::slice::from_ref(&batch), T).await.unwrap();
                worst = worst.max(begun.elapsed());
            }
            // As many as one transaction has.
            let page: Vec<UsageBatch> = (0..8)
                .map(|number| batch(&format!("p{number}"), rows(10_000 + 512 * number)))
                .collect();
            let begun = std::time::Instant::now();
            service.db.add_usage(&page, T).await.unwrap();
            let whole = begun.elapsed();
            println!(
                "512 rows: {worst:?} at most; 4,096 new ones: {whole:?}; {}",
                &service.url[..8]
            );
            assert!(worst.max(whole) < std::time::Duration::from_secs(2), "{worst:?}, {whole:?}");
        },
    )
    .await;
}
