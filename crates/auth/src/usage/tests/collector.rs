//! Tests of the collector: each batch counts once, whatever fails.

use super::*;

#[tokio::test]
async fn batch_that_is_delivered_twice_counts_once() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, None);
            assert_eq!(collector.collect(T).await, Ok(Round::Empty));
            let first = batch("a", vec![row("alice", 3), row("bob", 2), row("alice", 1)]);
            for batch in [&first, &first, &batch("b", vec![row("alice", 10)])] {
                store.push_batch(batch);
            }
            assert_eq!(collector.collect(T).await, Ok(Round::Done));
            assert!(store.list("pc:usage").is_empty());
            store.push_batch(&first);
            collector.collect(after(86_400)).await.unwrap();
            let expect = BTreeMap::from([("alice".to_owned(), 14), ("bob".to_owned(), 2)]);
            assert_eq!(by_subject(&service).await, expect);
            assert_eq!(totals(&service).await, (16, 0));
            let batches = "portcullis_auth_usage_batches_total";
            assert!((metric(&registry, batches, "counted") - 2.0).abs() < 0.1);
            assert!((metric(&registry, batches, "repeated") - 2.0).abs() < 0.1);
            assert!(
                (metric(&registry, "portcullis_auth_usage_requests_total", "") - 16.0).abs() < 0.1
            );
            assert!(
                (metric(&registry, "portcullis_auth_usage_lag_seconds", "") - 86_400.0).abs() < 0.1
            );
            store.clear();
        },
    )
    .await;
}

/// The process dies, or the store fails, between two steps.
#[tokio::test]
async fn batch_counts_once_whatever_step_fails() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            store.push_batch(&batch("a", vec![row("alice", 3)]));
            for step in ["LLEN", "LREM"] {
                store.fail_at(Some(step));
                assert!(collector.collect(T).await.is_err(), "{step}");
                assert_eq!(store.list("pc:usage").len(), 1, "{step}");
            }
            // It was committed, but is still in the list.
            assert_eq!(totals(&service).await, (3, 0));
            store.fail_at(None);
            assert_eq!(collector.collect(T).await, Ok(Round::Done));
            assert_eq!(totals(&service).await, (3, 0));
            assert!(store.list("pc:usage").is_empty());
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn two_collectors_count_each_batch_once() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let ((one, _), (two, _)) =
                (collector(&service, &url, None), collector(&service, &url, None));
            for number in 0..100 {
                let subjects = ["alice", "bob", "carol"];
                let rows = subjects.iter().cycle().skip(number % 3).take(3);
                let rows = rows.map(|subject| row(subject, 1)).collect();
                store.push_batch(&batch(&format!("b{number}"), rows));
            }
            let all = async |collector: &Collector| {
                while collector.collect(T).await.unwrap() == Round::More {}
            };
            tokio::join!(all(&one), all(&two));
            all(&one).await;
            assert!(store.list("pc:usage").is_empty());
            let expect = ["alice", "bob", "carol"].map(|subject| (subject.to_owned(), 100));
            assert_eq!(by_subject(&service).await, BTreeMap::from(expect));
            store.clear();
        },
    )
    .await;
}

#[tokio::test]
async fn malformed_batches_are_set_aside() {
    let store = ListStore::default();
    let url = store.serve().await;
    let seal = Seal::new(&format!("a:{}", "A".repeat(43)), None).unwrap();
    let other = Seal::new(&format!("b:{}", "A".repeat(43)), None).unwrap();
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, Some(seal.clone()));
            let good = batch("a", vec![row("alice", 3)]);
            store.push("{".into());
            store.push_batch(&good);
            store.push(good.encode("pc:usage", Some(&other), [1; 12]));
            store.push(good.encode("pc:metrics", Some(&seal), [2; 12]));
            store.push(good.encode("pc:usage", Some(&seal), [3; 12]));
            (0..25).for_each(|number| store.push(format!("bad {number}")));
            while collector.collect(T).await.unwrap() == Round::More {}
            assert_eq!(totals(&service).await, (3, 0));
            assert!(store.list("pc:usage").is_empty());
            assert_eq!(store.list("pc:usage:malformed").len(), 20);
            let malformed = metric(&registry, "portcullis_auth_usage_batches_total", "malformed");
            assert!((malformed - 29.0).abs() < 0.1, "{malformed}");
            store.clear();
        },
    )
    .await;
}

/// A batch that no reply can hold would stop the others for ever. It stays in the list, because
/// only its place could name it.
#[tokio::test]
async fn batch_that_is_too_long_to_be_read_is_skipped() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, registry) = collector(&service, &url, None);
            store.0.lock().unwrap().bytes_max = Some(2000);
            for number in 0..20 {
                store.push_batch(&batch(&format!("a{number}"), vec![row("alice", 1)]));
            }
            let long = "x".repeat(3000);
            store.push(long.clone());
            store.push_batch(&batch("z", vec![row("alice", 1)]));
            let mut failures = 0;
            while store.list("pc:usage").len() > 1 {
                failures += u32::from(collector.collect(T).await.is_err());
                assert!(failures < 20);
            }
            assert_eq!((totals(&service).await, failures), ((21, 0), 9));
            assert_eq!(store.list("pc:usage"), [long]);
            let malformed = metric(&registry, "portcullis_auth_usage_batches_total", "malformed");
            assert!((malformed - 1.0).abs() < 0.1, "{malformed}");
            assert_eq!(collector.collect(T).await, Ok(Round::Empty));
            // Another process removed it, so that a good batch has its place.
            store.0.lock().unwrap().lists.clear();
            store.push_batch(&batch("y", vec![row("alice", 1)]));
            collector.collect(after(3600)).await.unwrap();
            assert_eq!(totals(&service).await, (22, 0));
            store.clear();
        },
    )
    .await;
}

/// A full batch of the longest names.
#[tokio::test]
async fn batch_that_is_longer_than_other_replies_counts() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            let rows = (0..1024).map(|number| {
                let name = |letter: &str| format!("{number:04}{}", letter.repeat(250));
                UsageRow {
                    issuer: name("i"),
                    client: name("c"),
                    key: name("k"),
                    ..row(&name("s"), 1)
                }
            });
            store.push_batch(&batch("long", rows.collect()));
            assert!(store.list("pc:usage")[0].len() > 1024 * 1024);
            while collector.collect(T).await == Ok(Round::More) {}
            assert_eq!(totals(&service).await, (1024, 0));
            // One that is not a batch is removed, and not kept.
            store.push("x".repeat(3 * 1024 * 1024));
            while !store.list("pc:usage").is_empty() {
                collector.collect(T).await.unwrap();
            }
            assert!(store.list("pc:usage:malformed").is_empty());
            store.clear();
        },
    )
    .await;
}

/// These say nothing about the length of the reply.
#[tokio::test]
async fn refused_reads_leave_the_list_as_it_is() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let (collector, _) = collector(&service, &url, None);
            (0..3).for_each(|number| {
                store.push_batch(&batch(&format!("{number}"), vec![row("alice", 1)]));
            });
            for status in [400, 401, 403, 404, 413, 429, 500, 503] {
                store.0.lock().unwrap().status = Some(status);
                for _ in 0..30 {
                    assert!(collector.collect(T).await.is_err(), "{status}");
                }
                store.0.lock().unwrap().status = None;
            }
            store.fail_at(Some("LRANGE"));
            for _ in 0..30 {
                assert!(collector.collect(T).await.is_err());
            }
            store.fail_at(None);
            assert_eq!(store.list("pc:usage").len(), 3);
            assert_eq!(collector.collect(T).await, Ok(Round::Done), "in one page");
            assert_eq!(totals(&service).await, (3, 0));
            store.clear();
        },
    )
    .await;
}

/// Random batches, some of them delivered several times and in another order, by two collectors of
/// which some writes fail: the sum is that of each batch once.
#[tokio::test]
async fn random_deliveries_add_up_to_the_sum() {
    let store = ListStore::default();
    let url = store.serve().await;
    on_each_database(
        |_| (),
        async |service: TestService| {
            let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
            let mut random = move |below: u64| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) % below
            };
            let ((one, _), (two, _)) =
                (collector(&service, &url, None), collector(&service, &url, None));
            let mut expected: BTreeMap<String, u64> = BTreeMap::new();
            let mut batches: Vec<UsageBatch> = Vec::new();
            for number in 0..60 {
                let rows = (0..random(80)).map(|_| {
                    let subject = format!("s{}", random(20));
                    let hour = HOUR + 3600 * random(3);
                    UsageRow { hour, last: hour, ..row(&subject, random(9)) }
                });
                let rows: Vec<UsageRow> = rows.collect();
                for row in &rows {
                    *expected.entry(row.subject.clone()).or_default() += row.passed;
                }
                let at = T.0 + 10_000;
                batches.push(UsageBatch { at, ..batch(&format!("r{number}"), rows) });
                store.push_batch(&batches[number]);
                if random(3) == 0 {
                    let again = usize::try_from(random(number as u64 + 1)).unwrap();
                    store.push_batch(&batches[again]);
                }
                store.fail_at(["LREM", "LRANGE", "LLEN"].get(random(6) as usize).copied());
                let (_, _) = tokio::join!(one.collect(T), two.collect(T));
                store.fail_at(None);
            }
            while !store.list("pc:usage").is_empty() {
                let _ = one.collect(T).await;
            }
            assert_eq!(by_subject(&service).await, expected);
            store.clear();
        },
    )
    .await;
}
