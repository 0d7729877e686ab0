//! What may be sent over a connection that everybody shares: nothing that would change what the next
//! request sees, and nothing that waits.

use redis_rest::Command;

/// Why a command does not go to Redis; none if it may.
pub fn refusal(command: &Command) -> Option<String> {
    let name = command.name().to_ascii_uppercase();
    let blocks = matches!(name.as_str(), "XREAD" | "XREADGROUP")
        && command.words().iter().skip(1).any(|word| word.eq_ignore_ascii_case("BLOCK"));
    // The debugger of scripts takes the connection over, and may hold up the whole server.
    let debugs = name == "SCRIPT"
        && command.words().get(1).is_some_and(|word| word.eq_ignore_ascii_case("DEBUG"));
    (blocks || debugs || NOT_SHARED.contains(&name.as_str()))
        .then(|| format!("ERR Command is not available: '{name}'. See the gateway's documentation"))
}

/// Commands that change the connection (its database, protocol, user, transaction or subscriptions),
/// that wait, or that take the connection over.
const NOT_SHARED: [&str; 42] = [
    "ASKING",
    "AUTH",
    "BLMOVE",
    "BLMPOP",
    "BLPOP",
    "BRPOP",
    "BRPOPLPUSH",
    "BZMPOP",
    "BZPOPMAX",
    "BZPOPMIN",
    "CLIENT",
    "DEBUG",
    "DISCARD",
    "EXEC",
    "FAILOVER",
    "HELLO",
    "MIGRATE",
    "MONITOR",
    "MULTI",
    "PSUBSCRIBE",
    "PSYNC",
    "PUNSUBSCRIBE",
    "QUIT",
    "READONLY",
    "READWRITE",
    "REPLCONF",
    "REPLICAOF",
    "RESET",
    "ROLE",
    "SAVE",
    "SELECT",
    "SHUTDOWN",
    "SLAVEOF",
    "SSUBSCRIBE",
    "SUBSCRIBE",
    "SUNSUBSCRIBE",
    "SYNC",
    "UNSUBSCRIBE",
    "UNWATCH",
    "WAIT",
    "WAITAOF",
    "WATCH",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shared_connection_is_not_changed() {
        fn check(words: &[&str], passes: bool) {
            let command = Command::new(words[0]);
            let command = words[1..].iter().fold(command, |command, word| command.arg(word));
            assert_eq!(refusal(&command).is_none(), passes, "{command:?}");
        }
        check(&["GET", "SELECT"], true);
        check(&["select", "1"], false);
        check(&["SUBSCRIBE", "x"], false);
        check(&["XREAD", "COUNT", "1", "STREAMS", "s", "0"], true);
        check(&["XREAD", "block", "0", "STREAMS", "s", "0"], false);
        check(&["EVALSHA", "x", "0"], true);
        check(&["SCRIPT", "LOAD", "return 1"], true);
        check(&["script", "debug", "SYNC"], false);
    }
}
