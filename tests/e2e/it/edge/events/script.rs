//! The script that writes markers, against a model.

use crate::support::chance::Chance;
use crate::support::redis_server::Redis;
use portcullis_core::REVOKE_SCRIPT;
use redis::Commands as _;

/// A marker as the script must keep it: its value, and the moment in ms at which it ends; `None`
/// for never.
type Marker = Option<(String, Option<u64>)>;

/// Returns whether tokens that a marker revokes are all revoked by another one.
fn covers(own: &str, other: &str) -> bool {
    portcullis_core::revoked_before(own) >= portcullis_core::revoked_before(other)
}

#[test]
fn revoke_script_only_adds_or_lengthens() {
    let redis = Redis::start(&[]);
    let mut connection = redis.connection();
    let script = redis::Script::new(REVOKE_SCRIPT);
    let read = |connection: &mut redis::Connection, key: &str| -> Marker {
        let value: Option<String> = connection.get(key).unwrap();
        let ends: i64 = redis::cmd("PEXPIRETIME").arg(key).query(connection).unwrap();
        value.map(|value| (value, u64::try_from(ends).ok()))
    };
    let mut chance = Chance::new(7);
    let values = [
        "0",
        "5",
        "05",
        "+7",
        "9",
        "1700000000",
        "1700000001",
        "99999999999999999999",
        "disabled",
        "",
        "-1",
        "1e3",
        "0x10",
        "nan",
        " 4",
        "3.5",
    ];
    let lives: [u64; 4] = [1000, 60_000, 900_000, 86_760_000];
    let (mut kept, mut written) = (0, 0);
    for round in 0..400 {
        let key = format!("pc:revoked:sub:{round}");
        if let Some(place) = chance.place(values.len() * 2).and_then(|at| values.get(at)) {
            let () = connection.set(&key, place).unwrap();
            if chance.below(3) > 0 {
                let life = i64::try_from(lives[chance.place(4).unwrap()]).unwrap();
                let () = connection.pexpire(&key, life).unwrap();
            }
        }
        for _ in 0..8 {
            let before = read(&mut connection, &key);
            let wins = if chance.below(4) == 0 { "first" } else { "last" };
            let value = values[chance.place(values.len()).unwrap()];
            let life = lives[chance.place(4).unwrap()];
            // Values other than numbers are what the holder of a stolen token might try.
            let answer: redis::RedisResult<String> =
                script.key(&key).arg(wins).arg(value).arg(life).invoke(&mut connection);
            let after = read(&mut connection, &key);
            let said = format!("{before:?}, {wins} {value:?} for {life}: {answer:?}, {after:?}");
            let Some((held, ends)) = &after else { panic!("{said}") };
            if let Ok(answer) = &answer {
                assert_eq!(answer, held, "{said}");
            }
            if let Some((old, old_ends)) = &before {
                assert!(covers(held, old), "weakened: {said}");
                assert!(
                    ends.is_none() || old_ends.is_some_and(|old| ends.unwrap() >= old),
                    "shortened: {said}"
                );
                if wins == "first" {
                    assert_eq!(before, after, "{said}");
                }
                kept += 1;
            }
            let is_time = value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty();
            if is_time && (wins == "last" || before.is_none()) {
                assert!(answer.is_ok() && covers(held, value), "not written: {said}");
                written += 1;
            }
        }
    }
    assert!(kept > 1000 && written > 500, "{kept} {written}");
    for life in ["0", "-5", "nan", "inf", "", "x", "1e300"] {
        let () = connection.set_ex("pc:revoked:sub:life", "9", 600).unwrap();
        let before = read(&mut connection, "pc:revoked:sub:life");
        let _: redis::RedisResult<String> = script
            .key("pc:revoked:sub:life")
            .arg("last")
            .arg("3")
            .arg(life)
            .invoke(&mut connection);
        let after = read(&mut connection, "pc:revoked:sub:life");
        let (Some((value, Some(ends))), Some((_, Some(old)))) = (&after, &before) else {
            panic!("{life}: {after:?}")
        };
        assert!(value == "9" && ends >= old, "{life}: {before:?} {after:?}");
    }

    // The order of events does not matter: the latest time and the longest life win.
    for seed in 0..20 {
        let key = format!("pc:revoked:sub:order-{seed}");
        let mut events: Vec<(u64, u64)> = (1..6).map(|at| (at * 10, at * 100_000)).collect();
        chance.shuffle(&mut events);
        for (time, life) in &events {
            let _: String =
                script.key(&key).arg("last").arg(time).arg(life).invoke(&mut connection).unwrap();
        }
        let left: i64 = connection.pttl(&key).unwrap();
        let value: String = connection.get(&key).unwrap();
        assert_eq!(value, "50");
        assert!((499_000..=500_000).contains(&left), "{left}");
    }
}
