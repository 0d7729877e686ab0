use super::dispatch::overtaken;
use super::merge::Merge;
use super::plan::{ALL_MASTER_COMMANDS, Target, split};
use super::redirect::Redirect;
use super::slot_map::SlotMap;
use crate::redis_url::Address;
use redis_rest::{Command, Reply};

fn address(port: u16) -> Address {
    Address { host: "h".to_owned(), port }
}

/// Two masters: the lower half of the slots, and the upper one.
fn map() -> SlotMap {
    let range = |first: i64, last: i64, port: i64| {
        let node = vec![Reply::text("h"), Reply::Integer(port), Reply::text("id")];
        Reply::Array(vec![Reply::Integer(first), Reply::Integer(last), Reply::Array(node)])
    };
    let reply = Reply::Array(vec![range(8192, 16383, 2), range(0, 8191, 1)]);
    SlotMap::parse(&reply, &Reply::text(""), &address(9)).unwrap()
}

fn command(text: &str) -> Command {
    let mut arguments = text.split(' ');
    let name = Command::new(arguments.next().unwrap());
    arguments.fold(name, |command, argument| command.arg(argument))
}

fn split_text(text: &str) -> (Vec<String>, Merge) {
    let (map, mut parts) = (map(), Vec::new());
    let merge = split(command(text), &map, 0, &mut parts);
    let shown = parts.iter().map(|part| {
        let words: Vec<_> =
            part.command.words().iter().map(|word| String::from_utf8_lossy(word)).collect();
        match &part.target {
            Target::AnyMaster => format!("any: {}", words.join(" ")),
            Target::Node(address) => format!("{}: {}", address.port, words.join(" ")),
            Target::Slot(slot) => {
                format!("slot {}: {}", map.owner(*slot).unwrap().port, words.join(" "))
            }
        }
    });
    (shown.collect(), merge)
}

fn integers(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|number| Reply::Integer(*number)).collect())
}

#[test]
fn part_that_a_later_one_overtook_is_not_sent_again() {
    let overtaken_of = |commands: &[(&str, bool)]| {
        let (map, mut parts) = (map(), Vec::new());
        for (text, _) in commands {
            split(command(text), &map, 0, &mut parts);
        }
        let answers: Vec<(usize, bool)> =
            commands.iter().map(|(_, is_rejected)| *is_rejected).enumerate().collect();
        let mut overtaken: Vec<usize> = overtaken(&answers, &parts).into_iter().collect();
        overtaken.sort_unstable();
        overtaken
    };
    // The node recovered between two steps of a pipeline.
    assert_eq!(overtaken_of(&[("SET k 1", true), ("SET k 2", true), ("SET k 3", false)]), [0, 1]);
    assert_eq!(overtaken_of(&[("GET k", true), ("SET k 3", false)]), [0]);
    assert_eq!(overtaken_of(&[("SET k 1", true), ("GET k", false)]), [0]);
    // Whatever is left can be sent again in its order.
    assert_eq!(overtaken_of(&[("GET k", true), ("GET k", false)]), [0; 0]);
    assert_eq!(overtaken_of(&[("SET k 1", true), ("SET other 3", false)]), [0; 0]);
    assert_eq!(overtaken_of(&[("SET k 1", false), ("SET k 2", true)]), [0; 0]);
    assert_eq!(overtaken_of(&[("SET k 1", true), ("SET k 2", true)]), [0; 0]);
}

#[test]
fn slot_map_is_parsed() {
    let map = map();
    assert_eq!(map.masters, [address(1), address(2)], "in the order of their slots");
    assert!(map.is_complete());
    assert_eq!(map.owner(8191), Some(&address(1)));
    assert_eq!(map.owner(8192), Some(&address(2)));
    let node = |host: Reply| Reply::Array(vec![host, Reply::Integer(7)]);
    let one = |host: Reply| {
        Reply::Array(vec![Reply::Array(vec![Reply::Integer(0), Reply::Integer(1), node(host)])])
    };
    let host = |reply: Reply| {
        SlotMap::parse(&reply, &Reply::Null, &address(9)).map(|map| map.masters[0].host.clone())
    };
    assert_eq!(
        host(one(Reply::text(""))),
        Some("h".to_owned()),
        "an empty host means the queried node"
    );
    assert_eq!(host(one(Reply::Null)), Some("h".to_owned()));
    assert_eq!(host(one(Reply::text("other"))), Some("other".to_owned()));
    assert_eq!(host(Reply::Array(vec![])), None);
    assert_eq!(host(Reply::Error("ERR This instance has cluster support disabled".into())), None);
    assert_eq!(host(Reply::Array(vec![integers(&[0, 1])])), None);
    assert_eq!(
        host(Reply::Array(vec![Reply::Array(vec![
            Reply::Integer(0),
            Reply::Integer(99_999),
            node(Reply::text("x")),
        ])])),
        None
    );
}

#[test]
fn redirects_lead_only_to_nodes_that_the_cluster_names() {
    let nodes = "id1 h:1@17001,name.example master - 0 0 1 connected 0-8191\n\
                 id2 h:2@17002 myself,master - 0 0 2 connected 8192-16383\n\
                 id3 :3@17003 slave id1 0 0 1 connected\nid4 fe80::1:4@17004 master - 0 0 0 connected\n";
    let range = integers(&[0, 16383]);
    let Reply::Array(mut range) = range else { panic!() };
    range.push(Reply::Array(vec![Reply::text("h"), Reply::Integer(1)]));
    let slots = Reply::Array(vec![Reply::Array(range)]);
    let map = SlotMap::parse(&slots, &Reply::text(nodes), &address(9)).unwrap();
    let named = |host: &str, port| map.known.contains(&Address { host: host.into(), port });
    assert!(named("h", 1) && named("h", 2) && named("h", 3) && named("name.example", 1));
    assert!(named("fe80::1", 4));
    assert!(!named("h", 4) && !named("127.0.0.1", 21900));
    // A script's redirection counts only for its own slot. Its other errors never cause a retry.
    let is_plausible = |text: &str, arguments: &str| {
        let mut parts = Vec::new();
        split(command(arguments), &map, 0, &mut parts);
        Redirect::parse(text, &address(1)).unwrap().is_plausible_for(&parts[0], &map, &address(1))
    };
    assert!(
        is_plausible("MOVED 12182 h:2", "GET foo") && is_plausible("TRYAGAIN x", "MGET foo {foo}x")
    );
    assert!(is_plausible("ASK 12182 h:2", "EVALSHA x 1 foo"));
    assert!(!is_plausible("MOVED 12182 h:1", "EVAL x 1 foo"), "leads back to the same node");
    assert!(
        is_plausible("MOVED 12182 new:7", "GET foo")
            && !is_plausible("MOVED 12182 new:7", "EVAL x 1 foo")
    );
    assert!(
        !is_plausible("MOVED 0 h:2", "EVAL x 0") && !is_plausible("MOVED 1 h:2", "EVAL x 1 foo")
    );
    assert!(
        !is_plausible("TRYAGAIN x", "EVAL x 1 foo") && !is_plausible("READONLY x", "FCALL x 1 foo")
    );
}

#[test]
fn commands_are_split_by_slot() {
    // The slots of foo, bar and {foo}x are 12182, 5061 and 12182.
    fn check(text: &str, expect: &[&str]) {
        assert_eq!(split_text(text).0, expect, "{text}");
    }
    check("GET foo", &["slot 2: GET foo"]);
    check("get bar", &["slot 1: get bar"]);
    check("PING", &["any: PING"]);
    check("PUBLISH foo x", &["any: PUBLISH foo x"]);
    check("SPUBLISH foo x", &["slot 2: SPUBLISH foo x"]);
    check("EVALSHA x 2 foo {foo}x a", &["slot 2: EVALSHA x 2 foo {foo}x a"]);
    check("EVAL x 0", &["any: EVAL x 0"]);
    check("JSON.GET bar $", &["slot 1: JSON.GET bar $"]);
    check("MGET foo bar {foo}x", &["slot 2: MGET foo {foo}x", "slot 1: MGET bar"]);
    check("del bar foo", &["slot 1: DEL bar", "slot 2: DEL foo"]);
    check("MSET foo 1 bar 2", &["slot 2: MSET foo 1", "slot 1: MSET bar 2"]);
    check("MGET", &["any: MGET"]);
    check("DBSIZE", &["1: DBSIZE", "2: DBSIZE"]);
    check("SCRIPT LOAD x", &["1: SCRIPT LOAD x", "2: SCRIPT LOAD x"]);
    check("FUNCTION LIST", &["any: FUNCTION LIST"]);
    check("RENAME foo bar", &[]);
    check("SCAN 0 COUNT 5", &["1: SCAN 0 COUNT 5"]);
    check("SCAN 1", &["2: SCAN 0"]);
    check("SCAN 7169", &["2: SCAN 7"]);
    check("SCAN 2", &[]);
    check("SCAN x", &[]);
}

#[test]
fn replies_are_merged() {
    fn check(text: &str, replies: &[Reply], expect: Reply) {
        assert_eq!(split_text(text).1.merge(&mut replies.to_vec()), expect, "{text}");
    }
    let texts = |all: &[&str]| Reply::Array(all.iter().map(|text| Reply::text(text)).collect());
    let error = || Reply::Error("ERR x".into());
    check("MGET foo bar {foo}x", &[texts(&["a", "c"]), texts(&["b"])], texts(&["a", "b", "c"]));
    check("MGET foo bar", &[texts(&["a"]), error()], error());
    check("DEL foo bar", &[Reply::Integer(1), Reply::Integer(0)], Reply::Integer(1));
    check("DEL foo bar", &[Reply::Integer(1), error()], error());
    check("DBSIZE", &[Reply::Integer(3), Reply::Integer(4)], Reply::Integer(7));
    check("KEYS *", &[texts(&["a"]), texts(&["b"])], texts(&["a", "b"]));
    check("RANDOMKEY", &[Reply::Null, Reply::text("b")], Reply::text("b"));
    check("RANDOMKEY", &[Reply::Null, Reply::Null], Reply::Null);
    check("SCRIPT EXISTS x y", &[integers(&[1, 1]), integers(&[1, 0])], integers(&[1, 0]));
    let ok = || Reply::Status("OK".into());
    check("FLUSHDB", &[ok(), ok()], ok());
    check("FLUSHDB", &[ok(), error()], error());
    check("MSET foo 1 bar 2", &[ok(), ok()], ok());
    let scanned = |cursor: &str| Reply::Array(vec![Reply::text(cursor), texts(&["k"])]);
    check("SCAN 0", &[scanned("7")], scanned("7168"));
    check("SCAN 0", &[scanned("0")], scanned("1"));
    check("SCAN 1", &[scanned("7")], scanned("7169"));
    check("SCAN 1", &[scanned("0")], scanned("0"));
    check(
        "SCAN 0",
        &[scanned("18446744073709551615")],
        Reply::Error("ERR the cursor is too large".into()),
    );
    check("SCAN 0", &[error()], error());
    assert!(
        matches!(split_text("RENAME foo bar").1.merge(&mut []), Reply::Error(text) if text.starts_with("CROSSSLOT"))
    );
}

#[test]
fn all_master_commands_are_sent_to_all_masters() {
    for name in ALL_MASTER_COMMANDS {
        let (parts, _) = split_text(&format!("{name} x"));
        assert!(name == "SCAN" || parts.len() == 2, "{name}: {parts:?}");
    }
}

#[test]
fn redirects_are_parsed() {
    fn check(text: &str, expect: &str) {
        let got = match Redirect::parse(text, &address(9)) {
            Some(Redirect::Ask { slot, to }) => format!("ask {slot} {to}"),
            Some(Redirect::Moved { slot, to }) => format!("moved {slot} {to}"),
            Some(Redirect::RetryLater) => "later".to_owned(),
            Some(Redirect::TryAgain) => "moving".to_owned(),
            None => "none".to_owned(),
        };
        assert_eq!(got, expect, "{text}");
    }
    check("MOVED 3999 10.0.0.1:6381", "moved 3999 10.0.0.1:6381");
    check("MOVED 3999 :6381", "moved 3999 h:6381");
    check("MOVED 3999 ::1:6381", "moved 3999 ::1:6381");
    check("ASK 3999 a:1", "ask 3999 a:1");
    check("TRYAGAIN Multiple keys request during rehashing of slot", "moving");
    check("CLUSTERDOWN The cluster is down", "later");
    check("MOVED", "none");
    check("MOVED 3999 a:b", "none");
    check("WRONGTYPE x", "none");
}
