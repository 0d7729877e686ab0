//! The bounds of the documented tokens and of key prefixes, tested with every command of Redis.

use crate::support::gateway::{Gateway, read_reply};
use crate::support::http::client;
use crate::support::process::Folder;
use crate::support::redis_server::Redis;
use redis::Value as Reply;
use serde_json::Value;

const EDGE: &str = "edge-edge-edge-edge-edge-edge-edge";
const AUTH: &str = "auth-auth-auth-auth-auth-auth-auth";
const PREFIXED: &str = "prefixed-prefixed-prefixed-prefixed";
const MARKER: &str = "pc:revoked:sid:x";

/// Starts a redis gateway with this file of tokens.
fn start(redis: &Redis, tokens: &str) -> Gateway {
    let folder = Folder::new();
    let file = folder.write("tokens.toml", tokens);
    let file = file.to_str().unwrap().to_owned();
    Gateway::start_in(folder, &redis.url(), &[("GATEWAY_TOKENS_FILE", &file)])
}

/// Returns the names of all commands that Redis itself lists.
fn command_names(connection: &mut redis::Connection) -> Vec<String> {
    let commands: Vec<Reply> = redis::cmd("COMMAND").query(connection).unwrap();
    let name = |command: Reply| {
        let Reply::Array(info) = command else { panic!("{command:?}") };
        redis::from_redis_value::<String>(info[0].clone()).unwrap().to_uppercase()
    };
    commands.into_iter().map(name).collect()
}

async fn pipeline(gateway: &Gateway, token: &str, commands: &[Vec<String>]) -> Vec<Value> {
    let request = client().post(format!("{}/pipeline", gateway.url)).bearer_auth(token);
    let (status, body) = read_reply(request.json(commands).send().await.unwrap()).await;
    assert_eq!(status, 200, "{body}");
    body.as_array().unwrap().clone()
}

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

/// Returns commands of this name with the marker at each position, between other words.
fn forms(name: &str) -> Vec<Vec<String>> {
    let mut forms = Vec::new();
    for filler in ["1", "0", "pc:refresh:x", "pc:limit:api:x"] {
        for length in 1..=5 {
            for position in 1..=length {
                let mut form = vec![filler.to_owned(); length + 1];
                form[0] = name.to_owned();
                form[position] = MARKER.to_owned();
                forms.push(form);
            }
        }
    }
    forms
}

#[tokio::test]
async fn edge_token_weakens_no_revocation_by_any_command() {
    let redis = Redis::start(&[]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
    let documented = std::fs::read_to_string(file).unwrap();
    let tokens = documented.replace("EDGE_TOKEN", EDGE).replace("AUTH_TOKEN", AUTH);
    let gateway = start(&redis, &tokens);
    let mut connection = redis.connection();
    // The scripts run if a token permits them: they are loaded.
    let limit: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(portcullis_core::LIMIT_SCRIPT)
        .query(&mut connection)
        .unwrap();
    let set_marker = |connection: &mut redis::Connection| {
        let () =
            redis::cmd("SET").arg(MARKER).arg("1").arg("EX").arg(80_000).query(connection).unwrap();
    };
    let state = |connection: &mut redis::Connection| -> (Option<String>, i64) {
        let value: redis::RedisResult<Option<String>> =
            redis::cmd("GET").arg(MARKER).query(connection);
        let value = value.unwrap_or(Some("another type".to_owned()));
        (value, redis::cmd("PEXPIRETIME").arg(MARKER).query(connection).unwrap())
    };
    let mut changing = Vec::new();
    let names = command_names(&mut connection);
    assert!(names.len() > 200, "{names:?}");
    for name in &names {
        let mut commands = forms(name);
        if name.starts_with("EVALSHA") {
            for sha1 in [&limit, portcullis_core::LOCKING_LIMIT_SCRIPT_SHA1] {
                let arguments = [name, sha1, "1", MARKER, "gcra", "1", "1000", "1", "1"];
                commands.push(arguments.map(str::to_owned).to_vec());
            }
        }
        if name.starts_with("EVAL") && !name.starts_with("EVALSHA") {
            let locking = [portcullis_core::KEY_LOCKING, portcullis_core::LIMIT_SCRIPT].concat();
            let own = portcullis_core::LIMIT_SCRIPT;
            for script in [own, &locking, "return redis.call('DEL', KEYS[1])"] {
                let arguments = [name, script, "1", MARKER, "b", "1", "1", "1000", "1"];
                commands.push(arguments.map(str::to_owned).to_vec());
            }
        }
        set_marker(&mut connection);
        let before = state(&mut connection);
        pipeline(&gateway, EDGE, &commands).await;
        if state(&mut connection) != before {
            changing.push(name.as_str());
            let () = redis::cmd("DEL").arg(MARKER).query(&mut connection).unwrap();
        }
    }
    assert!(changing.is_empty(), "the edge's token changes a revocation by {changing:?}");
    // By its own script the edge strengthens a marker, of these kinds alone.
    set_marker(&mut connection);
    let revoke = |key: &str, time: &str| {
        let script = portcullis_core::REVOKE_SCRIPT;
        ["EVAL", script, "1", key, "last", time, "1000"].map(str::to_owned).to_vec()
    };
    let own = pipeline(&gateway, EDGE, &[revoke(MARKER, "0"), revoke(MARKER, "9")]).await;
    assert_eq!((&own[0]["result"], &own[1]["result"]), (&"1".into(), &"9".into()), "{own:?}");
    let (value, ends) = state(&mut connection);
    assert!(value.as_deref() == Some("9") && ends > 1_000_000, "{value:?} {ends}");
    for key in ["pc:revoked:client:x", "pc:token:x", "pc:limit:x", "pc:refresh_revoked:x"] {
        let other = pipeline(&gateway, EDGE, &[revoke(key, "9")]).await;
        let error = other[0]["error"].as_str().unwrap_or_default();
        assert!(error.starts_with("NOPERM"), "{key}: {other:?}");
    }
    set_marker(&mut connection);
    // The edge reads the marker, and the auth service writes it.
    let read = pipeline(&gateway, EDGE, &[words(&format!("MGET {MARKER}"))]).await;
    assert_eq!(read[0]["result"][0], "1", "{read:?}");
    // The edge writes the marker of a revoked refresh token itself, but can't delete it.
    let own = ["SET pc:refresh_revoked:x 1 EX 60", "DEL pc:refresh_revoked:x"].map(words);
    let own = pipeline(&gateway, EDGE, &own).await;
    assert_eq!(own[0]["result"], "OK", "{own:?}");
    assert!(own[1]["error"].as_str().is_some_and(|text| text.starts_with("NOPERM")), "{own:?}");
    let written = pipeline(&gateway, AUTH, &[words(&format!("SET {MARKER} 2 EX 60"))]).await;
    assert_eq!(written[0]["result"], "OK", "{written:?}");

    // The scripts of limits read the quota of one caller, and nothing of the edge's writes it.
    let (state, quota) = ("pc:limit:api:bucket:x", "pc:quota:{pc:limit:api:bucket:x}");
    let () = redis::cmd("SET").arg(quota).arg(2).query(&mut connection).unwrap();
    let count = |script: &str, keys: &[&str], arguments: &[&str]| {
        let number = keys.len().to_string();
        let words = [&["EVAL", script, &number], keys, arguments].concat();
        words.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let bucket = ["gcra", "5", "60000", "1", "5"];
    let period = ["period", "day", "5", "1", "0"];
    let (limit, own) = (portcullis_core::LIMIT_SCRIPT, portcullis_core::QUOTA_SCRIPT);
    let locking = |script: &str| format!("{}{script}", portcullis_core::KEY_LOCKING);
    let (limit, own) = (locking(limit), locking(own));
    let replies = pipeline(
        &gateway,
        EDGE,
        &[
            count(&limit, &[state, quota], &bucket),
            count(&own, &["pc:limit:api:period:x", quota], &period),
            count(&limit, &[quota], &bucket),
            count(&limit, &[quota, state], &bucket),
            count(&own, &[quota], &period),
            count(&own, &[quota, state], &period),
            words(&format!("SET {quota} 9 EX 60")),
            words(&format!("DEL {quota}")),
        ],
    )
    .await;
    for reply in &replies[..2] {
        assert_eq!((&reply["result"][1], &reply["result"][6]), (&1.into(), &2.into()), "{reply}");
    }
    assert!(replies[2..].iter().all(|reply| reply["error"].is_string()), "{replies:?}");
    let value: String = redis::cmd("GET").arg(quota).query(&mut connection).unwrap();
    assert_eq!(value, "2");
}

/// The auth service writes blocks and quotas, and the edge reads them.
#[tokio::test]
async fn edge_token_changes_no_block_and_no_quota_by_any_command() {
    let redis = Redis::start(&[]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis-gateway-tokens.toml");
    let documented = std::fs::read_to_string(file).unwrap();
    let tokens = documented.replace("EDGE_TOKEN", EDGE).replace("AUTH_TOKEN", AUTH);
    let gateway = start(&redis, &tokens);
    let mut connection = redis.connection();
    let limit: String = redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(portcullis_core::LIMIT_SCRIPT)
        .query(&mut connection)
        .unwrap();
    let names = command_names(&mut connection);
    for key in ["pc:block:subject:x", "pc:block:networks", "pc:quota:{pc:limit:api:bucket:x}"] {
        let set = |connection: &mut redis::Connection| {
            let set = redis::cmd("SET").arg(key).arg("1").arg("EX").arg(80_000).query(connection);
            let () = set.unwrap();
        };
        let state = |connection: &mut redis::Connection| -> (Option<Vec<u8>>, i64) {
            let value = redis::cmd("DUMP").arg(key).query(connection).unwrap();
            (value, redis::cmd("PEXPIRETIME").arg(key).query(connection).unwrap())
        };
        let mut changing = Vec::new();
        for name in &names {
            let mut commands = forms(name);
            for command in &mut commands {
                command.iter_mut().filter(|word| *word == MARKER).for_each(|word| {
                    key.clone_into(word);
                });
            }
            if name.starts_with("EVAL") {
                let script = match name.contains("SHA") {
                    true => limit.as_str(),
                    false => portcullis_core::LIMIT_SCRIPT,
                };
                for keys in [vec![key], vec!["pc:limit:api:bucket:x", key]] {
                    let count = keys.len().to_string();
                    let rest = ["gcra", "1", "1000", "1", "1", "1", "1"];
                    let words = [name.as_str(), script, &count].into_iter().chain(keys);
                    commands.push(words.chain(rest).map(str::to_owned).collect());
                }
            }
            set(&mut connection);
            let before = state(&mut connection);
            pipeline(&gateway, EDGE, &commands).await;
            if state(&mut connection) != before {
                changing.push(name.as_str());
                let () = redis::cmd("DEL").arg(key).query(&mut connection).unwrap();
            }
        }
        assert!(changing.is_empty(), "the edge's token changes {key} by {changing:?}");
        let own = ["SET KEY 2 EXAT 4000000000", "GET KEY", "DEL KEY"];
        let own = own.map(|text| words(&text.replace("KEY", key)));
        let own = pipeline(&gateway, AUTH, &own).await;
        assert_eq!((&own[0]["result"], &own[1]["result"]), (&"OK".into(), &"2".into()), "{own:?}");
        assert_eq!(own[2]["result"], 1, "{own:?}");
    }
}

/// Commands that a token with key prefixes may not name, or which need the SHA-1s of scripts.
const UNNAMED: [&str; 14] = [
    "DBSIZE",
    "EVAL",
    "EVALSHA",
    "EVALSHA_RO",
    "EVAL_RO",
    "FCALL",
    "FCALL_RO",
    "INFO",
    "LASTSAVE",
    "MOVE",
    "PUBSUB",
    "RANDOMKEY",
    "SCAN",
    "SCRIPT",
];

#[tokio::test]
async fn prefixed_token_stays_within_its_prefixes_and_database() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let probing = Gateway::start(&redis.url(), &[]);
    let mut names = Vec::new();
    for name in command_names(&mut connection) {
        let (_, body) = probing.send("/", serde_json::json!([name, "in:x"])).await;
        let error = body["error"].as_str().unwrap_or_default();
        let is_unnamed = UNNAMED.contains(&name.as_str());
        let is_refused =
            ["ERR Command is not", "NOPERM"].iter().any(|text| error.starts_with(text));
        if !is_unnamed && !is_refused {
            names.push(name);
        }
    }
    assert!(names.len() > 150, "{names:?}");
    let gateway = start(
        &redis,
        &format!(
            "[[token]]\nname = 'prefixed'\nrole = 'custom'\nsecret = '{PREFIXED}'\n\
             rules = [{{ key_prefixes = ['in:'], commands = ['RESTORE', '{}'] }}]\n",
            names.join("', '")
        ),
    );
    let setup = "FLUSHALL|SET in:1 inside|SET in:2 inside|RPUSH in:l 1 2|SADD in:s 1 2|\
                 ZADD in:z 1 1|GEOADD in:g 1 1 1|XADD in:x * a 1|HSET in:h 1 1|\
                 SET out:1 secret-outside|RPUSH out:l secret-outside|SADD out:s secret-outside|\
                 ZADD out:z 1 secret-outside|HSET out:h 1 secret-outside";
    // Everything that the token must not reach: the other keys here, and the other databases.
    let outside = |connection: &mut redis::Connection| {
        let mut keys: Vec<Vec<u8>> = redis::cmd("KEYS").arg("*").query(connection).unwrap();
        keys.retain(|key| !key.starts_with(b"in:"));
        keys.sort();
        let mut state: Vec<(Vec<u8>, Option<Vec<u8>>, i64)> = Vec::new();
        for key in keys {
            let value = redis::cmd("DUMP").arg(&key).query(connection).unwrap();
            let expires = redis::cmd("PEXPIRETIME").arg(&key).query(connection).unwrap();
            state.push((key, value, expires));
        }
        let keyspace: String = redis::cmd("INFO").arg("keyspace").query(connection).unwrap();
        let others = keyspace.lines().filter(|line| line.starts_with("db")).skip(1).count();
        (state, others)
    };
    let vocabulary = [
        "in:1",
        "in:2",
        "in:l",
        "in:s",
        "in:z",
        "in:g",
        "in:x",
        "in:h",
        "out:1",
        "out:l",
        "out:s",
        "out:z",
        "out:h",
        "0",
        "1",
        "2",
        "DB",
        "STORE",
        "STOREDIST",
        "REPLACE",
        "BY",
        "GET",
        "LEFT",
        "STREAMS",
        "AND",
        "m",
        "*",
        "#",
    ];
    let explicit = [
        "COPY in:1 in:9 DB 1",
        "COPY in:1 in:2 REPLACE DB 1",
        "copy in:1 in:9 db 3",
        "SORT in:l BY nosort GET out:1",
        "SORT in:l GET out:*",
        "SORT_RO in:l BY out:* GET out:1",
        "SORT in:l STORE out:9",
        "GEORADIUS in:g 1 1 100 km STORE out:9",
        "ZUNIONSTORE in:9 2 in:z out:z",
        "BITOP OR in:9 in:1 out:1",
        "XREAD COUNT 1 STREAMS in:x out:1 0 0",
        "LMOVE out:l in:l LEFT LEFT",
        "OBJECT ENCODING out:1",
    ];
    let mut random = 1_u64;
    let mut draw = |bound: usize| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        usize::try_from(random >> 33).unwrap() % bound
    };
    let mut escaped = Vec::new();
    for name in names.iter().map(String::as_str).chain(["RESTORE", "explicit"]) {
        let mut commands: Vec<Vec<String>> = match name {
            "explicit" => explicit.iter().map(|text| words(text)).collect(),
            _ => (0..60)
                .map(|_| {
                    let drawn = (0..=draw(6)).map(|_| vocabulary[draw(vocabulary.len())]);
                    std::iter::once(name).chain(drawn).map(str::to_owned).collect()
                })
                .collect(),
        };
        // Each explicit command is tried separately, so that a failure names it.
        let batches: Vec<Vec<Vec<String>>> = match name {
            "explicit" => commands.drain(..).map(|command| vec![command]).collect(),
            _ => vec![commands],
        };
        for batch in batches {
            for command in setup.split('|').map(|text| words(text.trim())) {
                let () = redis::cmd(&command[0]).arg(&command[1..]).query(&mut connection).unwrap();
            }
            let before = outside(&mut connection);
            let replies = pipeline(&gateway, PREFIXED, &batch).await;
            let is_changed = outside(&mut connection) != before;
            let is_read = replies.iter().any(|reply| reply.to_string().contains("secret-outside"));
            if is_changed || is_read {
                escaped.push(if name == "explicit" { batch[0].join(" ") } else { name.to_owned() });
            }
        }
    }
    assert!(escaped.is_empty(), "outside the prefix or the database: {escaped:?}");
}
