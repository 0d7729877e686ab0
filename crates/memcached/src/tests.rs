use super::*;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn command(words: &[&str]) -> Command {
    let (name, rest) = words.split_first().unwrap();
    rest.iter().fold(Command::new(name), |command, word| command.arg(*word))
}

#[test]
fn commands_are_encoded_as_meta_commands() {
    fn check(words: &[&str], expect: &str) {
        assert_eq!(encode(&[command(words)]), format!("{expect}mn\r\n").into_bytes(), "{words:?}");
    }
    check(&["GET", "k"], "mg k v\r\n");
    check(&["MGET", "a", "b"], "mg a v\r\nmg b v\r\n");
    check(&["SET", "k", "va lue", "EX", "60"], "ms k 6 T60\r\nva lue\r\n");
    check(&["SET", "k", "v", "EX", "9999999"], "ms k 1 T2592000\r\nv\r\n");
    check(&["SET", "k", "v", "EX", "6", "NX"], "ms k 1 T6 ME\r\nv\r\n");
    check(&["SET", "k", "v", "EX", "6", "XX"], "");
    check(&["DEL", "k"], "md k\r\n");
    let count = ["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", "2", "5"];
    check(&count, "ma k N60 J2 D2 v t\r\n");
    check(&["HSET", "k", "f", "v"], "");
    check(&["EVALSHA", "sha", "1", "k", "gcra", "5", "60000", "1", "5"], "");
    // A key can't contain the start of another command.
    check(&["GET", "k v\r\nflush_all"], "");
    check(&["GET", &"k".repeat(251)], "");
    check(&["SET", "k", "v"], "");
}

#[test]
fn responses_are_decoded_as_replies() {
    let commands = [
        command(&["MGET", "a", "b"]),
        command(&["GET", "c"]),
        command(&["SET", "c", "v", "EX", "1"]),
        command(&["ZADD", "z", "1", "m"]),
        command(&["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", "1", "5"]),
        command(&["DEL", "c"]),
        command(&["SET", "c", "v", "EX", "1", "NX"]),
    ];
    let answer = b"EN\r\nVA 4\r\nM\r\nN\r\nEN\r\nHD\r\nVA 1 t42\r\n5\r\nNF\r\nNS\r\nMN\r\n";
    assert!(is_whole(answer));
    let count = [1, 0, 0, 42_000].map(Reply::Integer).to_vec();
    assert_eq!(
        decode(&commands, answer),
        Ok(vec![
            Reply::Array(vec![Reply::Null, Reply::Bulk(b"M\r\nN".to_vec())]),
            Reply::Null,
            Reply::Status("OK".into()),
            Reply::Integer(0),
            Reply::Array(count),
            Reply::Integer(0),
            Reply::Null,
        ])
    );
    for cut in 0..answer.len() {
        assert_eq!(decode(&commands, &answer[..cut]), Err(ProtocolError), "{cut}");
    }
    let longer = [answer.as_slice(), b"HD\r\n"].concat();
    assert_eq!(decode(&commands, &longer), Err(ProtocolError));
    let get = [command(&["GET", "k"])];
    assert_eq!(decode(&get, b"VA 99999999999999999999\r\n\r\nMN\r\n"), Err(ProtocolError));
    let error = decode(&get, b"SERVER_ERROR out of memory\r\nMN\r\n").unwrap();
    assert_eq!(error, [Reply::Error("SERVER_ERROR out of memory".into())]);
}

#[test]
fn window_admits_requests_up_to_its_quota() {
    fn check(used: &str, cost: u64, expect: [i64; 4]) {
        let cost_text = cost.to_string();
        let words = ["EVALSHA", "sha", "1", "k", "fixed_window", "5", "60000", &cost_text, "5"];
        let answer = format!("VA {} t30\r\n{used}\r\nMN\r\n", used.len());
        let expect = Reply::Array(expect.map(Reply::Integer).to_vec());
        assert_eq!(decode(&[command(&words)], answer.as_bytes()), Ok(vec![expect]));
    }
    check("1", 1, [1, 4, 0, 30_000]);
    check("5", 1, [1, 0, 0, 30_000]);
    check("6", 1, [0, 0, 30_000, 30_000]);
    check("6", 3, [0, 0, 30_000, 30_000]);
    check("900", 1, [0, 0, 30_000, 30_000]);
}

#[test]
fn address_requires_host_and_port() {
    let address = |text: &str| Address::parse(text).map(|address| (address.host, address.tls));
    assert_eq!(address("memcached://127.0.0.1:11211"), Some(("127.0.0.1:11211".into(), false)));
    assert_eq!(address("memcacheds://m.example:11212/"), Some(("m.example:11212".into(), true)));
    for text in [
        "",
        "memcached://",
        "memcached://x",
        "memcached://x:0",
        "memcached://u:p@x:1",
        "http://x:1",
    ] {
        assert_eq!(address(text), None, "{text}");
    }
}
