use super::*;

fn address(port: u16) -> Address {
    Address { host: "h".to_owned(), port }
}

/// Two masters: the lower half of the slots, and the upper one.
fn map() -> Map {
    let range = |first: i64, last: i64, port: i64| {
        let node = vec![Reply::text("h"), Reply::Integer(port), Reply::text("id")];
        Reply::Array(vec![Reply::Integer(first), Reply::Integer(last), Reply::Array(node)])
    };
    let reply = Reply::Array(vec![range(8192, 16383, 2), range(0, 8191, 1)]);
    Map::read(&reply, &address(9)).unwrap()
}

fn command(text: &str) -> Command {
    let mut words = text.split(' ');
    let name = Command::new(words.next().unwrap());
    words.fold(name, |command, word| command.arg(word))
}

fn divided(text: &str) -> (Vec<String>, Gather) {
    let (map, mut parts) = (map(), Vec::new());
    let gather = divide(command(text), &map, &mut parts);
    let shown = parts.iter().map(|part| {
        let words: Vec<_> =
            part.command.words().iter().map(|w| String::from_utf8_lossy(w)).collect();
        match &part.to {
            To::Any => format!("any: {}", words.join(" ")),
            To::Node(address) => format!("{}: {}", address.port, words.join(" ")),
            To::Slot(slot) => format!("slot {}: {}", map.owners[slot].port, words.join(" ")),
        }
    });
    (shown.collect(), gather)
}

fn integers(numbers: &[i64]) -> Reply {
    Reply::Array(numbers.iter().map(|number| Reply::Integer(*number)).collect())
}

#[test]
fn the_map_is_read() {
    let map = map();
    assert_eq!(map.masters, [address(1), address(2)], "in the order of their slots");
    assert_eq!(map.owners.len(), 16384);
    assert_eq!(map.owners[&Slot::new(8191).unwrap()], address(1));
    assert_eq!(map.owners[&Slot::new(8192).unwrap()], address(2));
    let node = |host: Reply| Reply::Array(vec![host, Reply::Integer(7)]);
    let one = |host: Reply| {
        Reply::Array(vec![Reply::Array(vec![Reply::Integer(0), Reply::Integer(1), node(host)])])
    };
    let host = |reply: Reply| Map::read(&reply, &address(9)).map(|map| map.masters[0].host.clone());
    assert_eq!(host(one(Reply::text(""))), Some("h".to_owned()), "it is the one that was asked");
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
fn commands_go_where_their_keys_are() {
    // The slots of foo, bar and {foo}x are 12182, 5061 and 12182.
    fn check(text: &str, expect: &[&str]) {
        assert_eq!(divided(text).0, expect, "{text}");
    }
    check("GET foo", &["slot 2: GET foo"]);
    check("get bar", &["slot 1: get bar"]);
    check("PING", &["any: PING"]);
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
fn replies_are_put_together() {
    fn check(text: &str, replies: &[Reply], expect: Reply) {
        assert_eq!(divided(text).1.reply(replies), expect, "{text}");
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
        matches!(divided("RENAME foo bar").1.reply(&[]), Reply::Error(text) if text.starts_with("CROSSSLOT"))
    );
}

#[test]
fn redirections_are_read() {
    fn check(text: &str, expect: &str) {
        let got = match Redirect::read(text, &address(9)) {
            Some(Redirect::Ask(to)) => format!("ask {}:{}", to.host, to.port),
            Some(Redirect::Moved(to)) => format!("moved {}:{}", to.host, to.port),
            Some(Redirect::Later) => "later".to_owned(),
            None => "none".to_owned(),
        };
        assert_eq!(got, expect, "{text}");
    }
    check("MOVED 3999 10.0.0.1:6381", "moved 10.0.0.1:6381");
    check("MOVED 3999 :6381", "moved h:6381");
    check("MOVED 3999 ::1:6381", "moved ::1:6381");
    check("ASK 3999 a:1", "ask a:1");
    check("TRYAGAIN Multiple keys request during rehashing of slot", "later");
    check("CLUSTERDOWN The cluster is down", "later");
    check("MOVED", "none");
    check("MOVED 3999 a:b", "none");
    check("WRONGTYPE x", "none");
}
