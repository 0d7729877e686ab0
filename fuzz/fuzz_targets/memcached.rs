//! A memcached server's reply, and encoded commands. No key or value may add a command to a batch.
#![no_main]

use libfuzzer_sys::fuzz_target;
use redis_rest::{Command, Reply};

fuzz_target!(|data: &[u8]| {
    let commands = [
        Command::new("MGET").arg("a").arg("b"),
        Command::new("GET").arg("c"),
        Command::new("SET").arg("c").arg("v").arg("EX").arg(5),
        Command::new("EVALSHA")
            .arg("sha")
            .arg(1)
            .arg("k")
            .arg("fixed_window")
            .arg(5)
            .arg(1000)
            .arg(1)
            .arg(5),
        Command::new("DEL").arg("c"),
    ];
    for from in 0..commands.len() {
        let commands = &commands[from..];
        if let Ok(replies) = memcached::decode(commands, data) {
            assert_eq!(replies.len(), commands.len());
            assert!(memcached::is_whole(data));
        }
    }
    let _ = memcached::Address::parse(&String::from_utf8_lossy(data));

    let (key, value) = data.split_at(data.len() / 2);
    let set = Command::new("SET").arg_bytes(key).arg_bytes(value).arg("EX").arg(5);
    let batch = memcached::encode(&[set]);
    let refused = memcached::decode(&[Command::new("NONE")], b"MN\r\n");
    assert!(matches!(refused.as_deref(), Ok([Reply::Error(_)])));
    if batch != b"mn\r\n" {
        // The head is one line, the value has the announced length, and the no-op follows.
        let end = batch.windows(2).position(|two| two == b"\r\n").unwrap();
        let head = std::str::from_utf8(&batch[..end]).unwrap();
        let words: Vec<&str> = head.split(' ').collect();
        assert_eq!((words.len(), words[0], words[1].as_bytes()), (4, "ms", key));
        assert_eq!(words[2].parse(), Ok(value.len()));
        assert_eq!(&batch[end + 2 + value.len()..], b"\r\nmn\r\n");
    }
});
