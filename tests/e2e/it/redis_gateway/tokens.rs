//! Permissions of the redis gateway's tokens, compared with Redis's own command table.

use crate::support::gateway::{Gateway, read_reply};
use crate::support::http::client;
use crate::support::process::Folder;
use crate::support::redis_server::Redis;
use redis::Value as Reply;
use serde_json::{Value, json};
use std::collections::HashMap;

const READ: &str = "read-read-read-read-read-read-read";
const ONE: &str = "one-one-one-one-one-one-one-one-one";
const ADMIN: &str = "admin-admin-admin-admin-admin-admin";

fn start(redis: &Redis) -> Gateway {
    let folder = Folder::new();
    let file = folder.write("tokens.toml", &tokens());
    let file = file.to_str().unwrap().to_owned();
    Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)])
}

fn tokens() -> String {
    format!(
        "[[token]]\nname = 'read'\nrole = 'read'\nsecret = '{READ}'\n\
         [[token]]\nname = 'admin'\nrole = 'full'\nsecret = '{ADMIN}'\nalso = ['KEYS', 'FLUSHDB', 'MONITOR']\n\
         [[token]]\nname = 'one'\nrole = 'custom'\nsecret = '{ONE}'\n\
         rules = [{{ key_prefixes = ['in:'], scripts = ['*'], commands = ['{}'] }}]\n",
        SAMPLES
            .iter()
            .map(|sample| sample.split(' ').next().unwrap())
            .collect::<Vec<_>>()
            .join("', '")
    )
}

async fn send(gateway: &Gateway, token: &str, command: &[String]) -> (u16, String) {
    let request = client().post(&gateway.url).bearer_auth(token).json(command);
    let (status, body) = read_reply(request.send().await.unwrap()).await;
    (status, body["error"].as_str().unwrap_or_default().to_owned())
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn read_token_cannot_run_write_commands() {
    let redis = Redis::start(&[]);
    let gateway = start(&redis);
    let mut connection = redis.connection();
    let commands: Vec<Reply> = redis::cmd("COMMAND").query(&mut connection).unwrap();
    let docs: HashMap<String, Reply> =
        redis::cmd("COMMAND").arg("DOCS").query(&mut connection).unwrap();
    let mut counts = [0; 4];
    for command in commands {
        let names_no_key = names_no_key(&command);
        let Reply::Array(info) = command else { panic!("{command:?}") };
        let name: String = redis::from_redis_value(info[0].clone()).unwrap();
        let flags: Vec<String> = redis::from_redis_value(info[2].clone()).unwrap();
        let is = |flag: &str| flags.iter().any(|have| have == flag);
        // No subcommand has this name, so a command that is let through does nothing.
        let (status, error) = send(&gateway, READ, &[name.clone(), "in:x".to_owned()]).await;
        let refused =
            error.starts_with("NOPERM") || error.starts_with("ERR Command is not available");
        if is("write") || is("admin") || is("pubsub") {
            assert!(status == 400 && refused, "{name} {flags:?}: {error}");
            counts[0] += 1;
        }
        // Without a key, only the number itself bounds the reply.
        if names_no_key && takes_a_number(&docs[&name]) {
            assert!(status == 400 && refused, "{name} {flags:?}: {error}");
            counts[3] += 1;
        }
        let (_, error) = send(&gateway, ADMIN, &[name.clone(), "in:x".to_owned()]).await;
        assert!(!error.starts_with("ERR unknown command"), "{name} is not in the table");
        let waits = is("blocking") && !name.starts_with("xread");
        if waits || (is("pubsub") && !name.ends_with("publish")) {
            assert!(error.starts_with("ERR Command is not available"), "{name}: {error}");
            counts[1] += 1;
        } else if is("admin") {
            let named =
                error.starts_with("NOPERM") || error.starts_with("ERR Command is not available");
            assert!(named, "{name}: {error}");
            counts[2] += 1;
        }
    }
    assert!(counts[0] > 100 && counts[1] > 10 && counts[2] > 10, "{counts:?}");
    assert!(counts[3] > 10, "{counts:?}");
    // Redis would be busy for four seconds, and write a reply of 300 MB.
    let (status, error) = send(&gateway, READ, &words("LOLWUT VERSION 5 1000 1 200")).await;
    assert!(status == 400 && error.starts_with("NOPERM"), "{status} {error}");
    let repeated = |name: &str| words(&format!("{name}{}", " h".repeat(100_000)));
    for name in ["PFCOUNT", "SDIFF", "SINTER", "COMMAND DOCS"] {
        let (status, error) = send(&gateway, READ, &repeated(name)).await;
        assert!(status == 400 && error.starts_with("NOPERM"), "{name}: {status} {error}");
    }
}

/// Returns whether neither a command nor its subcommands name a key, by a reply to `COMMAND`.
fn names_no_key(command: &Reply) -> bool {
    let Reply::Array(info) = command else { panic!("{command:?}") };
    let [Reply::Array(specs), Reply::Array(subcommands)] = &info[8..10] else {
        panic!("{command:?}")
    };
    specs.is_empty() && subcommands.iter().all(names_no_key)
}

/// Returns whether an argument of a command is a number, by a reply to `COMMAND DOCS`.
fn takes_a_number(docs: &Reply) -> bool {
    let Reply::Array(items) = docs else { return false };
    let is = |item: &Reply, names: &[&str]| matches!(item, Reply::BulkString(text) if names.iter().any(|name| name.as_bytes() == text));
    let types = items.windows(2).filter(|pair| is(&pair[0], &["type"]));
    types.into_iter().any(|pair| is(&pair[1], &["integer", "double"]))
        || items.iter().any(takes_a_number)
}

/// Commands with `out:1` as one key, or as a possible key. All other keys begin with `in:`.
const SAMPLES: [&str; 45] = [
    "GET out:1",
    "SET out:1 v",
    "MGET in:1 out:1 in:2",
    "MSET in:1 a out:1 b",
    "MSETNX in:1 a out:1 b",
    "DEL in:1 in:2 out:1",
    "UNLINK in:1 out:1",
    "EXISTS in:1 out:1",
    "TOUCH out:1 in:1",
    "RENAME in:1 out:1",
    "COPY in:1 out:1",
    "LMOVE in:1 out:1 LEFT LEFT",
    "RPOPLPUSH in:1 out:1",
    "SMOVE in:1 out:1 m",
    "SINTERSTORE in:1 in:2 out:1",
    "SDIFF in:1 out:1",
    "BITOP AND in:1 in:2 out:1",
    "BITOP NOT out:1 in:1",
    "PFMERGE in:1 out:1",
    "PFCOUNT in:1 out:1",
    "EVAL return 2 in:1 out:1 x",
    "EVALSHA 00 1 out:1",
    "EVAL_RO return 1 out:1",
    "FCALL f 2 in:1 out:1",
    "ZUNIONSTORE out:1 1 in:1",
    "ZUNIONSTORE in:1 2 in:2 out:1",
    "ZINTERSTORE in:1 1 out:1 WEIGHTS 1",
    "ZDIFFSTORE in:1 2 in:2 out:1",
    "ZUNION 2 in:1 out:1",
    "ZINTERCARD 2 in:1 out:1 LIMIT 1",
    "ZRANGESTORE out:1 in:1 0 1",
    "LMPOP 2 in:1 out:1 LEFT",
    "ZMPOP 1 out:1 MIN",
    "SINTERCARD 2 in:1 out:1",
    "SORT in:1 STORE out:1",
    "SORT out:1 ALPHA",
    "GEORADIUS in:1 1 1 1 m STORE out:1",
    "GEORADIUSBYMEMBER in:1 a 1 m STOREDIST out:1",
    "GEOSEARCHSTORE in:1 out:1 FROMMEMBER a BYRADIUS 1 m",
    "XREAD COUNT 1 STREAMS in:1 out:1 0 0",
    "XREADGROUP GROUP g c STREAMS out:1 >",
    "XINFO STREAM out:1",
    "XGROUP CREATE out:1 g $",
    "OBJECT ENCODING out:1",
    "MEMORY USAGE out:1",
];

#[tokio::test]
async fn key_prefixes_apply_to_every_key_of_a_command() {
    let redis = Redis::start(&[]);
    let gateway = start(&redis);
    let mut connection = redis.connection();
    for sample in SAMPLES {
        let command = words(sample);
        let keys: Vec<String> =
            redis::cmd("COMMAND").arg("GETKEYS").arg(&command).query(&mut connection).unwrap();
        assert!(keys.iter().any(|key| key == "out:1"), "{sample}: {keys:?}");
        let (_, error) = send(&gateway, ONE, &command).await;
        assert!(error.starts_with("NOPERM"), "{sample}: {error}");
        let (_, error) = send(&gateway, ONE, &words(&sample.replace("out:1", "in:9"))).await;
        assert!(!error.starts_with("NOPERM"), "{sample}: {error}");
    }
    for refused in
        ["SORT in:1 BY w_*", "SORT in:1 GET x", "PING", "APPEND in:1 x", "XREAD STREAMS in:1"]
    {
        let (_, error) = send(&gateway, ONE, &words(refused)).await;
        assert!(error.starts_with("NOPERM"), "{refused}: {error}");
    }
    let path = format!("{}/get/out%3A1", gateway.url);
    let (_, body) = read_reply(client().get(path).bearer_auth(ONE).send().await.unwrap()).await;
    assert!(body["error"].as_str().unwrap().starts_with("NOPERM"), "{body}");
}

#[tokio::test]
async fn full_token_runs_dangerous_commands_only_if_listed() {
    let redis = Redis::start(&[]);
    let gateway = start(&redis);
    gateway.run(json!(["SET", "in:1", 1])).await;
    for command in [
        "FLUSHALL",
        "FLUSHDB",
        "KEYS *",
        "CONFIG GET *",
        "DEBUG SLEEP 0",
        "SHUTDOWN NOSAVE",
        "SAVE",
        "REPLICAOF NO ONE",
        "SWAPDB 0 1",
        "MODULE LIST",
        "ACL LIST",
        "SLOWLOG GET",
        "CLUSTER INFO",
        "MIGRATE h 1 k 0 1",
        "RESTORE k 0 x",
        "LOLWUT",
    ] {
        let (status, body) = gateway.send("/", json!(words(command))).await;
        let error = body["error"].as_str().unwrap_or_default();
        assert!(status == 400 && error.starts_with("NOPERM"), "{command}: {body}");
    }
    let (status, error) = send(&gateway, ADMIN, &words("KEYS *")).await;
    assert_eq!((status, error.as_str()), (200, ""));
    assert_eq!(send(&gateway, ADMIN, &words("FLUSHDB")).await.0, 200);
    assert_eq!(gateway.run(json!(["EXISTS", "in:1"])).await, 0);
    let (_, error) = send(&gateway, ADMIN, &words("FLUSHALL")).await;
    assert!(error.starts_with("NOPERM"), "{error}");
    let body: Value = gateway.run(json!(["SCAN", 0])).await;
    assert_eq!(body, json!(["0", []]));
}
