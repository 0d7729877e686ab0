//! Blocks, quotas and credits on both databases, with a store that fails and delays.

mod store;

use crate::adjustments::{
    Adjustments, Author, BlockSelector, CallerPart, Ending, block_target, limit_caller,
};
use crate::db::{Block, BlockKind, BlockTarget, LimitCaller};
use crate::outbox::{Delivery, StoreHealth};
use crate::problem::Problem;
use crate::testing::{T, TestService, after, config, on_each_database};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use portcullis_core::{StoreKeys, UnixSeconds};
use serde_json::{Value, json};
use std::sync::Arc;
use store::TestStore;

const ISSUER: &str = "https://a.example";

/// Runs a test with a store on each database.
async fn with_store(test: impl AsyncFn(&TestStore, TestService)) {
    let store = TestStore::default();
    let url = store.serve().await;
    on_each_database(
        |config| config.store.url = url.clone(),
        async |service: TestService| {
            store.flush();
            store.set_down(false);
            test(&store, service).await;
        },
    )
    .await;
}

/// Opens another process with the same database and store.
async fn other_process(service: &TestService) -> TestService {
    let mut config = config(&service.url);
    config.store.url = service.sessions.config().store.url.clone();
    TestService::open(&service.url, config).await
}

fn adjustments(service: &TestService) -> Adjustments {
    Adjustments::new(Arc::clone(&service.db), Arc::clone(&service.publisher), ISSUER)
}

fn subject(name: &str) -> BlockTarget {
    let selector = BlockSelector { subject: Some(name.to_owned()), ..BlockSelector::default() };
    block_target(selector, ISSUER).unwrap()
}

fn address(text: &str) -> BlockTarget {
    let selector = BlockSelector { address: Some(text.to_owned()), ..BlockSelector::default() };
    block_target(selector, ISSUER).unwrap()
}

fn subject_key(name: &str) -> String {
    StoreKeys::new("pc").block("subject", ISSUER, name)
}

fn caller(subject: &str) -> LimitCaller {
    let part = CallerPart { part: "subject".into(), value: subject.into() };
    limit_caller("api", vec![part], None, ISSUER).unwrap()
}

/// Returns the key next to a limit's state.
fn quota_key(state: &str, subject: &str) -> String {
    let hash = StoreKeys::limit_hash("api", &format!("{ISSUER}\n{subject}\n"));
    let keys = StoreKeys::new("pc");
    keys.quota(&keys.limit("api", state, &hash))
}

async fn block(
    own: &Adjustments,
    target: BlockTarget,
    reason: &str,
    now: UnixSeconds,
) -> Result<Delivery, Problem> {
    let ending = Ending::After(3600);
    let set = own.set_block(target, reason.to_owned(), ending, &Author::operator(), now).await;
    set.map(|changed| changed.delivery)
}

async fn unblock(own: &Adjustments, target: &BlockTarget, now: UnixSeconds) -> Delivery {
    own.clear_block(target, &Author::operator(), now).await.unwrap().delivery
}

fn networks(store: &TestStore) -> Vec<String> {
    let Some((value, _)) = store.value("pc:block:networks") else { return Vec::new() };
    let value: Value = serde_json::from_str(&value).unwrap();
    assert_eq!(value["v"], 1);
    let entries = value["networks"].as_array().unwrap();
    let mut names: Vec<String> =
        entries.iter().map(|entry| entry[0].as_str().unwrap().to_owned()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn block_is_in_the_store_until_its_end_or_its_clearance() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        assert_eq!(block(&own, subject("alice"), "scraping", T).await, Ok(Delivery::Done));
        let (value, expiry) = store.value(&subject_key("alice")).unwrap();
        let value: Value = serde_json::from_str(&value).unwrap();
        let until = T.0 + 3600;
        assert_eq!(value, json!({ "v": 1, "reason": "scraping", "until": until }));
        assert_eq!(expiry, format!("EXAT {until}"));
        assert!(networks(store).is_empty());

        // The second block replaces the first, and keeps its beginning.
        assert_eq!(block(&own, subject("alice"), "again", after(10)).await, Ok(Delivery::Done));
        let page = own.blocks("", 10, after(10)).await.unwrap();
        let listed: &Block = &page.entries[0];
        assert_eq!((page.entries.len(), listed.reason.as_str()), (1, "again"));
        assert_eq!((listed.created_at, listed.ends_at), (T.0, T.0 + 3610));
        assert_eq!(listed.actor, "operator");

        // Two clearances are one change.
        for _ in 0..2 {
            assert_eq!(unblock(&own, &subject("alice"), after(20)).await, Delivery::Done);
        }
        assert!(store.keys().is_empty());
        assert!(own.blocks("", 10, after(20)).await.unwrap().entries.is_empty());
        let unknown = own.clear_block(&subject("bob"), &Author::operator(), T).await;
        assert_eq!(unknown.err(), Some(Problem::BlockUnknown));
        assert_eq!(service.audited("block_set").await, 2);
        assert_eq!(service.audited("block_cleared").await, 1);
        let detail = "SELECT COUNT(*) FROM audit WHERE actor = 'operator' AND event = 'block_set'
             AND detail LIKE 'subject alice of https://a.example until % scraping'";
        assert_eq!(service.db.query_number(detail).await.unwrap(), 1);
        assert!(service.outbox().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn list_of_networks_follows_each_change_of_an_address() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        for text in ["192.0.2.1", "198.51.100.0/24", "2001:db8:1:2::5", "2001:db8::/32"] {
            assert_eq!(block(&own, address(text), "", T).await, Ok(Delivery::Done));
        }
        let all = ["192.0.2.1/32", "198.51.100.0/24", "2001:db8:1:2::/64", "2001:db8::/32"];
        assert_eq!(networks(store), all);
        let keys = StoreKeys::new("pc");
        for group in ["192.0.2.1", "2001:db8:1:2::/64"] {
            assert!(store.value(&keys.block_address(group)).is_some(), "{group}");
        }
        assert_eq!(store.keys().len(), 3, "networks are in the list alone");
        unblock(&own, &address("198.51.100.0/24"), after(1)).await;
        unblock(&own, &address("192.0.2.1"), after(1)).await;
        assert_eq!(networks(store), all[2..]);
        assert!(store.value(&keys.block_address("192.0.2.1")).is_none());
        unblock(&own, &address("2001:db8:1:2:ffff::"), after(2)).await;
        unblock(&own, &address("2001:db8::/32"), after(2)).await;
        assert!(store.keys().is_empty(), "{:?}", store.keys());
    })
    .await;
}

#[tokio::test]
async fn last_change_wins_after_an_outage_of_the_store() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        store.set_down(true);
        let alice = subject("alice");
        assert_eq!(block(&own, alice.clone(), "first", T).await, Ok(Delivery::Pending));
        assert_eq!(unblock(&own, &alice, after(1)).await, Delivery::Pending);
        assert_eq!(unblock(&own, &alice, after(1)).await, Delivery::Pending, "repeated");
        assert_eq!(block(&own, alice.clone(), "second", after(2)).await, Ok(Delivery::Pending));
        assert_eq!(service.outbox().await.len(), 1, "earlier rows are void");
        for (name, seconds) in [("192.0.2.1", 3), ("192.0.2.2", 4)] {
            block(&own, address(name), "", after(seconds)).await.unwrap();
        }
        unblock(&own, &address("192.0.2.1"), after(5)).await;
        store.set_down(false);
        // The first process died; another one delivers.
        drop(own);
        assert!(other_process(&service).await.publisher.drain().await);
        let (value, _) = store.value(&subject_key("alice")).unwrap();
        assert!(value.contains("second"), "{value}");
        assert_eq!(networks(store), ["192.0.2.2/32"]);
        assert_eq!(store.keys().len(), 3);
        assert!(service.outbox().await.is_empty());
    })
    .await;
}

/// The first process sends a block when the second one clears it.
#[tokio::test]
async fn late_delivery_undoes_no_later_change() {
    with_store(async |store, service| {
        let other = other_process(&service).await;
        let first = Arc::new(adjustments(&service));
        let second = adjustments(&other);
        let alice = subject("alice");
        let (came, go) = store.hold("\"SET\"");
        let late = tokio::spawn({
            let (first, alice) = (Arc::clone(&first), alice.clone());
            async move { block(&first, alice, "late", T).await }
        });
        came.await.unwrap();
        assert_eq!(unblock(&second, &alice, after(1)).await, Delivery::Done);
        go.send(()).unwrap();
        assert_eq!(late.await.unwrap(), Ok(Delivery::Done));
        assert!(store.keys().is_empty(), "the block is back");

        // The reverse: a late clearance after the next block.
        block(&first, alice.clone(), "before", after(2)).await.unwrap();
        let (came, go) = store.hold("\"DEL\"");
        let late = tokio::spawn({
            let (first, alice) = (Arc::clone(&first), alice.clone());
            async move { unblock(&first, &alice, after(3)).await }
        });
        came.await.unwrap();
        assert_eq!(block(&second, alice.clone(), "after", after(4)).await, Ok(Delivery::Done));
        go.send(()).unwrap();
        assert_eq!(late.await.unwrap(), Delivery::Done);
        let (value, _) = store.value(&subject_key("alice")).unwrap();
        assert!(value.contains("after"), "{value}");

        // The store goes down before the late delivery can be corrected.
        let (came, go) = store.hold("\"SET\"");
        let late = tokio::spawn({
            let (first, alice) = (Arc::clone(&first), alice.clone());
            async move { block(&first, alice, "late again", after(5)).await }
        });
        came.await.unwrap();
        assert_eq!(unblock(&second, &alice, after(6)).await, Delivery::Done);
        assert!(service.outbox().await.is_empty());
        store.set_down(true);
        go.send(()).unwrap();
        assert_eq!(late.await.unwrap(), Ok(Delivery::Pending));
        store.put(&subject_key("alice"), "it arrived");
        store.set_down(false);
        assert!(second.publisher.drain().await);
        assert!(store.keys().is_empty(), "the block is back");
    })
    .await;
}

/// A process that dies after its late write leaves nothing in the outbox.
#[tokio::test]
async fn write_of_a_dead_process_is_corrected_within_a_minute() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        assert_eq!(service.publisher.check_store("p", 1, T).await, StoreHealth::Republished(0));
        block(&own, subject("alice"), "", T).await.unwrap();
        block(&own, address("192.0.2.1"), "", T).await.unwrap();
        unblock(&own, &subject("alice"), after(1)).await;
        unblock(&own, &address("192.0.2.1"), after(1)).await;
        store.put(&subject_key("alice"), "late");
        store.put("pc:block:networks", "late");
        assert_eq!(service.publisher.check_store("p", 2, after(3)).await, StoreHealth::Intact);
        assert!(store.keys().is_empty(), "{:?}", store.keys());
    })
    .await;
}

#[tokio::test]
async fn lost_data_is_republished() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        let author = Author::operator();
        block(&own, subject("alice"), "", T).await.unwrap();
        block(&own, subject("gone"), "", T).await.unwrap();
        unblock(&own, &subject("gone"), T).await;
        block(&own, address("192.0.2.1"), "", T).await.unwrap();
        block(&own, address("198.51.100.0/24"), "", T).await.unwrap();
        own.set_quota(caller("alice"), 5, Ending::After(3600), &author, T).await.unwrap();
        own.add_credits(&caller("bob"), 70, None, &author, T).await.unwrap();
        let check = async |round: u64, seconds: u64| {
            service.publisher.check_store("p", round, after(seconds)).await
        };
        let before = store.keys();
        assert_eq!(before.len(), 3 + 5 + 1, "{before:?}");
        assert!(matches!(check(1, 1000).await, StoreHealth::Republished(_)));
        assert_eq!(check(2, 1002).await, StoreHealth::Intact);
        // The whole store, with the counter.
        assert_eq!(store.flush(), before);
        assert!(matches!(check(3, 1004).await, StoreHealth::Republished(_)));
        assert_eq!(store.keys(), before);
        // One key of each kind, found by samples of random kinds, after a pause of 60 s each.
        let (mut round, mut seconds) = (3, 1006);
        for key in [
            subject_key("alice"),
            StoreKeys::new("pc").block_address("192.0.2.1"),
            "pc:block:networks".to_owned(),
            quota_key("bucket", "alice"),
            quota_key("credits", "bob"),
        ] {
            store.evict(&key);
            seconds += 50;
            let mut rounds = 0;
            while store.value(&key).is_none() {
                round += 1;
                rounds += 1;
                seconds += 10;
                check(round, seconds).await;
                assert!(rounds < 200, "{key} is never missed");
            }
        }
        assert_eq!(store.keys(), before);
    })
    .await;
}

#[tokio::test]
async fn adjustments_end_and_their_rows_are_deleted() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        let author = Author::operator();
        let end = async |seconds: u64| service.publisher.end_adjustments(after(seconds)).await;
        block(&own, subject("alice"), "", T).await.unwrap();
        block(&own, address("192.0.2.1"), "", T).await.unwrap();
        block(&own, address("192.0.2.2"), "", after(100)).await.unwrap();
        own.set_quota(caller("alice"), 5, Ending::After(3600), &author, T).await.unwrap();
        // A row that is still undelivered at the end is void.
        store.set_down(true);
        let pending = block(&own, subject("bob"), "", T).await;
        assert_eq!(pending, Ok(Delivery::Pending));
        assert_eq!(end(3599).await.unwrap(), 0);
        assert_eq!(end(3600).await.unwrap(), 4);
        store.set_down(false);
        assert!(service.publisher.drain().await);
        assert!(store.value(&subject_key("bob")).is_none());
        assert_eq!(networks(store), ["192.0.2.2/32"]);
        assert_eq!(store.keys().len(), 2, "{:?}", store.keys());
        let count = async |table: &str| {
            service.db.query_number(&format!("SELECT COUNT(*) FROM {table}")).await.unwrap()
        };
        assert_eq!((count("blocks").await, count("quota_overrides").await), (4, 1));
        assert_eq!(end(3700).await.unwrap(), 1);
        // A day later the rows have gone, and no store goes back by more.
        assert_eq!(end(3601 + 86_400).await.unwrap(), 4);
        assert_eq!((count("blocks").await, count("quota_overrides").await), (1, 0));
        // The last one is still undelivered.
        assert_eq!(end(3701 + 86_400).await.unwrap(), 0);
        assert!(service.publisher.drain().await);
        assert!(store.keys().is_empty());
        assert_eq!(end(3701 + 86_400).await.unwrap(), 1);
        assert_eq!(count("blocks").await, 0);
        // A block of the same target begins again.
        block(&own, subject("alice"), "", after(200_000)).await.unwrap();
        assert!(store.value(&subject_key("alice")).is_some());
    })
    .await;
}

#[tokio::test]
async fn list_has_at_most_a_thousand_networks() {
    with_store(async |store, service| {
        let own = adjustments(&service);
        // The longest texts.
        let network = |number: u32| format!("ffff:ffff:ffff:{number:04x}::/64");
        for number in 0x1000..0x1000 + 999 {
            let target = address(&network(number));
            let insert = format!(
                "INSERT INTO blocks (id, hash, kind, issuer, name, reason, ends_at, created_at,
                 changed_at, cleared_at, actor) VALUES ('{}', 'h', 'address', '', '{}', '', {}, 1,
                 1, NULL, 'operator') RETURNING 1",
                target.id(),
                target.name,
                T.0 + 5000
            );
            service.db.query_number(&insert).await.unwrap();
        }
        let begun = std::time::Instant::now();
        assert_eq!(block(&own, address(&network(0xfff0)), "", T).await, Ok(Delivery::Done));
        println!("one of 1000 networks takes {:?}", begun.elapsed());
        assert_eq!(networks(store).len(), 1000);
        let (value, _) = store.value("pc:block:networks").unwrap();
        assert!(value.len() <= 40 * 1024, "{} bytes", value.len());
        let refused = block(&own, address(&network(0xfff1)), "", T).await;
        assert_eq!(refused, Err(Problem::BlocksTooMany));
        assert_eq!(service.audited("block_set").await, 1, "a refused block leaves nothing");
        // The same one again, other kinds, and others in its place.
        assert!(block(&own, address(&network(0xfff0)), "again", T).await.is_ok());
        assert!(block(&own, subject("alice"), "", T).await.is_ok());
        unblock(&own, &address(&network(0x1000)), T).await;
        assert!(block(&own, address(&network(0xfff1)), "", T).await.is_ok());
        assert_eq!(networks(store).len(), 1000);
    })
    .await;
}

#[tokio::test]
async fn quota_is_written_for_each_kind_of_state() {
    with_store(async |store, service| {
        let (own, author) = (adjustments(&service), Author::operator());
        let set = async |quota: u64, seconds: u64| {
            let ending = Ending::After(3600);
            let set = own.set_quota(caller("alice"), quota, ending, &author, after(seconds)).await;
            set.map(|changed| changed.delivery)
        };
        assert_eq!(set(500, 0).await, Ok(Delivery::Done));
        let states = ["bucket", "day", "fixed", "month", "sliding"];
        for state in states {
            let expect = ("500".to_owned(), format!("EXAT {}", T.0 + 3600));
            assert_eq!(store.value(&quota_key(state, "alice")), Some(expect), "{state}");
        }
        assert_eq!(store.keys().len(), 5);
        assert_eq!(set(7, 10).await, Ok(Delivery::Done));
        assert_eq!(store.value(&quota_key("fixed", "alice")).unwrap().0, "7");
        for quota in [0, 1_000_001] {
            assert!(matches!(set(quota, 0).await, Err(Problem::AdjustmentInvalid(_))));
        }
        let listed = own.quotas("", 10, after(10)).await.unwrap().entries;
        assert_eq!((listed.len(), listed[0].quota, listed[0].created_at), (1, 7, T.0));
        for _ in 0..2 {
            let cleared = own.clear_quota(&caller("alice"), &author, after(20)).await.unwrap();
            assert_eq!(cleared.delivery, Delivery::Done);
        }
        assert!(store.keys().is_empty());
        let unknown = own.clear_quota(&caller("bob"), &author, T).await.err();
        assert_eq!(unknown, Some(Problem::QuotaUnknown));
        assert_eq!(service.audited("quota_set").await, 2);
        assert_eq!(service.audited("quota_cleared").await, 1);
    })
    .await;
}

#[tokio::test]
async fn grant_with_an_id_counts_once() {
    with_store(async |store, service| {
        let other = other_process(&service).await;
        let processes = [Arc::new(adjustments(&service)), Arc::new(adjustments(&other))];
        let add = async |own: &Adjustments, credits: i64, id: &str| {
            let (author, id) = (Author::operator(), Some(id.to_owned()));
            let added = own.add_credits(&caller("alice"), credits, id, &author, T).await;
            added.map(|changed| (changed.value.granted, changed.value.is_repeated))
        };
        // Twenty at once, in two processes: ten grants, each of which is sent twice.
        let grants = (0..20).map(|number: usize| {
            let own = Arc::clone(&processes[number % 2]);
            tokio::spawn(async move {
                let (author, id) = (Author::operator(), Some(format!("invoice-{}", number / 2)));
                own.add_credits(&caller("alice"), 100, id, &author, T).await.unwrap()
            })
        });
        let mut repeated = 0;
        for grant in grants.collect::<Vec<_>>() {
            repeated += u32::from(grant.await.unwrap().value.is_repeated);
        }
        assert_eq!(repeated, 10);
        let key = quota_key("credits", "alice");
        assert_eq!(store.value(&key), Some(("1000".into(), format!("EX {}", 400 * 86_400))));
        let own = &processes[0];
        assert_eq!(add(own, -1000, "refund").await, Ok((0, false)));
        assert_eq!(add(own, -1000, "refund").await, Ok((0, true)));
        assert_eq!(store.value(&key).unwrap().0, "0");
        assert_eq!(add(own, 5, "refund").await, Err(Problem::CreditIdReused));
        assert_eq!(add(own, -1, "below").await, Err(Problem::CreditsOutOfRange));
        assert_eq!(add(own, 1_000_000_000_000, "most").await, Ok((1_000_000_000_000, false)));
        assert_eq!(add(own, 1, "above").await, Err(Problem::CreditsOutOfRange));
        for (credits, id) in [(0, "x"), (i64::MIN, "x"), (i64::MAX, "x"), (1, ""), (1, "a b")] {
            let refused = add(own, credits, id).await;
            assert!(matches!(refused, Err(Problem::AdjustmentInvalid(_))), "{credits} {id:?}");
        }
        assert_eq!(service.audited("credit_added").await, 12);
        assert_eq!(own.credits("", 10).await.unwrap().entries.len(), 1);
        // Another caller has a balance of its own.
        assert!(own.credits_of(&caller("bob")).await.unwrap().entries.is_empty());
    })
    .await;
}

/// Random changes by two processes while the store comes and goes. In the end, store and database
/// agree.
#[tokio::test]
async fn store_agrees_with_the_database_after_any_changes() {
    with_store(async |store, service| {
        let other = other_process(&service).await;
        let mut tasks = Vec::new();
        for (process, own) in [(0_u64, adjustments(&service)), (1, adjustments(&other))] {
            let store = store.clone();
            tasks.push(tokio::spawn(async move {
                let mut random = 7 + process;
                for step in 0..60 {
                    random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    let draw = random >> 33;
                    let target = match draw % 4 {
                        0 => subject("alice"),
                        1 => subject("bob"),
                        2 => address("192.0.2.1"),
                        _ => address("198.51.100.0/24"),
                    };
                    if draw / 8 % 7 == 0 {
                        store.set_down(draw / 56 % 2 == 0);
                    }
                    let (author, now) = (Author::operator(), after(step));
                    match draw / 4 % 2 {
                        0 => drop(block(&own, target, &format!("{process} {step}"), now).await),
                        _ => drop(own.clear_block(&target, &author, now).await),
                    }
                }
            }));
        }
        for task in tasks {
            task.await.unwrap();
        }
        store.set_down(false);
        while !(service.publisher.drain().await && service.outbox().await.is_empty()) {}
        let live = adjustments(&service).blocks("", 10, after(60)).await.unwrap().entries;
        let keys = StoreKeys::new("pc");
        let mut expect = 0;
        for block in &live {
            let key = match block.target.kind {
                BlockKind::Network => continue,
                BlockKind::Address => keys.block_address(&block.target.name),
                _ => subject_key(&block.target.name),
            };
            let (value, _) = store.value(&key).unwrap_or_else(|| panic!("{key} is missing"));
            let value: Value = serde_json::from_str(&value).unwrap();
            assert_eq!(value["reason"], block.reason.as_str());
            expect += 1;
        }
        let in_list = live.iter().filter(|block| block.target.kind.is_in_list()).count();
        assert_eq!(networks(store).len(), in_list);
        let lists = usize::from(in_list > 0);
        assert_eq!(store.keys().len(), expect + lists, "{:?}", store.keys());
    })
    .await;
}

#[tokio::test]
async fn ends_and_reasons_have_bounds() {
    with_store(async |_, service| {
        let own = adjustments(&service);
        let set = async |reason: &str, ending: Ending| {
            let author = Author::operator();
            own.set_block(subject("alice"), reason.to_owned(), ending, &author, T).await.is_ok()
        };
        assert!(set(&"r".repeat(200), Ending::After(1)).await);
        assert!(set("", Ending::At(T.0 + 400 * 86_400)).await);
        assert!(!set(&"r".repeat(201), Ending::After(1)).await);
        assert!(!set("a\u{1b}[2Jb", Ending::After(1)).await);
        for ending in [
            Ending::After(0),
            Ending::After(400 * 86_400 + 1),
            Ending::After(u64::MAX),
            Ending::At(T.0),
            Ending::At(0),
            Ending::At(u64::MAX),
        ] {
            assert!(!set("", ending).await, "{ending:?}");
        }
        assert!(Ending::new(None, None).is_err() && Ending::new(Some(1), Some(1)).is_err());
    })
    .await;
}

#[test]
fn caller_has_the_parts_of_the_limit() {
    let part = |part: &str, value: &str| CallerPart { part: part.into(), value: value.into() };
    let own = |parts: Vec<CallerPart>| limit_caller("api", parts, None, ISSUER);
    for (parts, text) in [
        (vec![part("subject", "alice")], "https://a.example\nalice\n"),
        (vec![part("subject", "a"), part("route", "x")], "https://a.example\na\n\nx\n"),
        (vec![part("address", "2001:DB8::1")], "\n2001:db8:0:0::/64\n"),
        (vec![part("header:X-Tenant", "t")], "\nt\n"),
        (vec![part("claim:org.id", "7")], "https://a.example\n7\n"),
    ] {
        let caller = own(parts).unwrap();
        let hash = StoreKeys::limit_hash("api", text);
        assert_eq!(caller.hash, URL_SAFE_NO_PAD.encode(hash), "{text}");
    }
    let names = ["subject", "client", "session", "route", "address", "claim:a", "claim:b"];
    let value = |name: &&str| part(name, if *name == "address" { "192.0.2.1" } else { "x" });
    assert!(own(names.iter().map(value).collect()).is_ok());
    let too_many = names.iter().chain(&["claim:c", "claim:d"]).map(value).collect();
    for parts in [
        Vec::new(),
        too_many,
        vec![part("user", "alice")],
        vec![part("claim:", "x")],
        vec![part("subject", "a"), part("subject", "b")],
        vec![part("subject", "a\nb")],
        vec![part("subject", &"a".repeat(1025))],
        vec![part("address", "x")],
    ] {
        assert!(own(parts.clone()).is_err(), "{parts:?}");
    }
    for limit in ["", "a b", "a:b", "a{b}"] {
        assert!(limit_caller(limit, vec![part("subject", "a")], None, ISSUER).is_err(), "{limit}");
    }
}
