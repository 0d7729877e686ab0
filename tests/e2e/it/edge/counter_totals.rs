//! Runs the script that adds up the edges' counters in a real Redis, while many push and read, and
//! with what a hostile edge could push.

use crate::support::redis_server::Redis;
use portcullis_core::{
    StoreKeys, add_up_counters, are_totals_due, push_counters, read_counters, read_totals,
};
use redis::{Connection, Value};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn run(words: &[Vec<u8>], connection: &mut Connection) -> Value {
    let (name, arguments) = words.split_first().unwrap();
    let command = redis::cmd(str::from_utf8(name).unwrap());
    let command = arguments.iter().fold(command, |mut command, word| {
        command.arg(word);
        command
    });
    command.query(connection).unwrap()
}

/// Pushes a batch as an isolate does.
fn push(batch: &BTreeMap<String, u64>, connection: &mut Connection) {
    let keys = StoreKeys::new("pc");
    let commands = push_counters(&keys, batch, true);
    let replies: Vec<Value> = commands.iter().map(|own| run(own.words(), connection)).collect();
    let Value::Int(waiting) = replies[0] else { panic!("no number: {replies:?}") };
    if are_totals_due(waiting, batch.len()) {
        add_up_counters(&keys).iter().for_each(|command| drop(run(command.words(), connection)));
    }
}

fn read(connection: &mut Connection) -> BTreeMap<String, u64> {
    let text = run(read_totals(&StoreKeys::new("pc")).words(), connection);
    let Value::BulkString(text) = text else { panic!("no text: {text:?}") };
    read_counters(str::from_utf8(&text).unwrap())
}

fn waiting(connection: &mut Connection) -> i64 {
    let key = StoreKeys::new("pc").metrics_batches();
    redis::cmd("LLEN").arg(key).query(connection).unwrap()
}

#[test]
fn no_count_is_lost_or_repeated_while_many_isolates_push_and_others_read() {
    let redis = Redis::start(&[]);
    let batch = |isolate: u64, round: u64| {
        let own = (format!("own_total{{isolate=\"{isolate}\"}}"), 1);
        BTreeMap::from([
            own,
            ("all_total{route=\"a b\"}".to_owned(), round),
            ("never_total{}".to_owned(), 0),
        ])
    };
    std::thread::scope(|scope| {
        for isolate in 0..8 {
            let mut connection = redis.connection();
            scope.spawn(move || {
                (1..=200).for_each(|round| push(&batch(isolate, round), &mut connection))
            });
        }
        for _ in 0..2 {
            let mut connection = redis.connection();
            scope.spawn(move || {
                let (mut last, mut most) = (0, 0);
                while last < 8 * 20_100 {
                    let all = read(&mut connection).get("all_total{route=\"a b\"}").copied();
                    assert!(all.unwrap_or_default() >= last, "{all:?} after {last}");
                    last = all.unwrap_or_default();
                    most = most.max(waiting(&mut connection));
                }
                assert!(most < 64 + 8, "{most} batches waited");
            });
        }
    });
    let mut connection = redis.connection();
    let counters = read(&mut connection);
    assert_eq!(counters["all_total{route=\"a b\"}"], 8 * 20_100);
    assert_eq!(counters["never_total{}"], 0);
    for isolate in 0..8 {
        assert_eq!(counters[&format!("own_total{{isolate=\"{isolate}\"}}")], 200);
    }
    assert!(waiting(&mut connection) < 64 + 8);
    let keys = StoreKeys::new("pc");
    let seconds: i64 = redis::cmd("TTL").arg(keys.metrics_totals()).query(&mut connection).unwrap();
    assert!((604_700..=604_800).contains(&seconds), "{seconds}");
}

#[test]
fn batches_with_many_names_wait_for_no_others() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let batch: BTreeMap<String, u64> =
        (0..2000).map(|at| (format!("x_total{{route=\"{at}\"}}"), 2)).collect();
    for round in 1..=20 {
        push(&batch, &mut connection);
        assert!(waiting(&mut connection) < 2, "round {round}");
    }
    assert_eq!(read(&mut connection)["x_total{route=\"1999\"}"], 40);
}

#[test]
fn hostile_batches_neither_break_the_totals_nor_hold_up_the_store() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let keys = StoreKeys::new("pc");
    let push_text = |text: String| {
        let key = keys.metrics_batches();
        redis::cmd("RPUSH").arg(key).arg(text).exec(&mut redis.connection()).unwrap();
    };
    push(&BTreeMap::from([("good_total{}".to_owned(), 3)]), &mut connection);
    let mebibyte = 1 << 20;
    push_text("x".repeat(mebibyte));
    push_text(" ".repeat(mebibyte) + "\n");
    push_text("1 ".repeat(mebibyte / 2) + "\n");
    push_text("1".repeat(mebibyte) + " 1\n");
    push_text("\n".repeat(mebibyte));
    push_text("good_total{} -1\ngood_total{} 1e9\ngood_total{} 0x10\ngood_total{}\n 5\n7\n".into());
    push_text("great_total{} 99999999999999999999999999\n".repeat(3));
    push_text("%s %d%n\\ 4\n\0 1\n\u{fffd} 1\n".into());
    push_text("x\n".repeat(mebibyte / 2));
    for batch in 0..15 {
        let line = |at| format!("n_total{{at=\"{batch}-{at}\"}} 1\n");
        push_text((0..2100).map(line).collect());
    }
    push(&BTreeMap::from([("good_total{}".to_owned(), 4)]), &mut connection);
    let begun = Instant::now();
    for command in add_up_counters(&keys) {
        run(command.words(), &mut connection);
    }
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
    println!("hostile batches held up the store for {took:?}");
    let counters = read(&mut connection);
    assert_eq!(counters["good_total{}"], 7);
    assert_eq!(counters["great_total{}"], 1_000_000_000_000_000);
    let names = counters.keys().filter(|name| name.starts_with("n_total{")).count();
    assert!((19_990..20_000).contains(&names), "{names}");
    assert_eq!(waiting(&mut connection), 0);
}

#[test]
fn full_store_returns_the_totals_with_what_waits() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let keys = StoreKeys::new("pc");
    let push = push_counters(&keys, &BTreeMap::from([("a_total{}".to_owned(), 1)]), false);
    for _ in 0..70 {
        run(push[0].words(), &mut connection);
    }
    let memory = |most: &str, connection: &mut Connection| {
        redis::cmd("CONFIG").arg("SET").arg("maxmemory").arg(most).exec(connection).unwrap();
    };
    memory("1", &mut connection);
    for _ in 0..2 {
        assert_eq!(read(&mut connection)["a_total{}"], 70);
        assert_eq!(waiting(&mut connection), 70);
    }
    memory("0", &mut connection);
    assert_eq!(read(&mut connection)["a_total{}"], 70);
    assert_eq!(waiting(&mut connection), 0);
    assert_eq!(read(&mut connection)["a_total{}"], 70);
}

#[test]
fn batches_that_can_not_be_added_up_are_bounded() {
    let redis = Redis::start(&["--rename-command", "EVAL", "NONE"]);
    let mut connection = redis.connection();
    let keys = StoreKeys::new("pc");
    let push = push_counters(&keys, &BTreeMap::from([("a_total{}".to_owned(), 1)]), false);
    let [_, trim] = add_up_counters(&keys);
    for _ in 0..1200 {
        run(push[0].words(), &mut connection);
    }
    run(trim.words(), &mut connection);
    assert_eq!(waiting(&mut connection), 1024);
}
