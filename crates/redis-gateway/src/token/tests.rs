use super::error::{RuleErrorKind, TokenError, TokenErrorKind};
use super::set::Tokens;
use crate::command::{self, Access};
use crate::script::script_sha1;
use redis_rest::Command;

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";

fn tokens(file: &str) -> Tokens {
    Tokens::parse(None, Some(file)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

fn command(text: &str) -> Command {
    let mut arguments = text.split(' ');
    let name = Command::new(arguments.next().unwrap());
    arguments.fold(name, |command, argument| command.arg(argument))
}

fn check(tokens: &Tokens, allowed: &[&str], refused: &[&str]) {
    let token = tokens.find(SECRET.as_bytes()).unwrap();
    for (texts, passes) in [(allowed, true), (refused, false)] {
        for text in texts {
            let command = command(text);
            let refusal = token.refusal(&command, command::find(command.name()));
            assert_eq!(refusal.is_none(), passes, "{text}: {refusal:?}");
        }
    }
}

#[test]
fn tokens_are_found_by_secret() {
    let both = Tokens::parse(
        Some(&format!("edge={SECRET}, look:read={OTHER}")),
        Some("[[token]]\nname='c'\nrole='full'\nsha256='9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'"),
    )
    .unwrap_or_else(|errors| panic!("{errors:?}"));
    let name = |secret: &str| both.find(secret.as_bytes()).map(|token| token.name.as_str());
    assert_eq!(name(SECRET), Some("edge"));
    assert_eq!(name(OTHER), Some("look"));
    assert_eq!(name("test"), Some("c"), "a token may be configured by its hash");
    assert_eq!(name("0123456789abcdef0123456789abcdeX"), None);
    assert_eq!(name(""), None);
    assert_eq!(both.names().collect::<Vec<_>>(), ["edge", "look", "c"]);
}

#[test]
fn full_token_may_not_send_dangerous_commands() {
    check(
        &tokens(&format!("[[token]]\nname='a'\nrole='full'\nsecret='{SECRET}'")),
        &["GET k", "set k v", "SCAN 0", "EVAL x 0", "JSON.SET k $ 1", "INFO"],
        &[
            "FLUSHALL",
            "flushdb",
            "CONFIG GET *",
            "DEBUG SLEEP 1",
            "SHUTDOWN",
            "KEYS *",
            "LOLWUT VERSION 5 1000 1 200",
            "NOSUCH k",
        ],
    );
    check(
        &tokens(&format!(
            "[[token]]\nname='a'\nrole='full'\nalso=['flushdb','LOLWUT','NOSUCH']\n\
             secret='{SECRET}'"
        )),
        &["FLUSHDB", "LOLWUT", "nosuch k"],
        &["FLUSHALL", "KEYS *"],
    );
}

#[test]
fn read_token_may_only_read() {
    let read = Tokens::parse(Some(&format!("r:read={SECRET}")), None).ok().unwrap();
    check(
        &read,
        &[
            "GET k",
            "MGET a b",
            "HGETALL k",
            "PING",
            "ZRANGE k 0 -1",
            "SORT_RO k",
            "SORT_RO k BY GET LIMIT 0 64 GET doc:* GET #",
            "SRANDMEMBER k",
            "HRANDFIELD k -9",
            &format!("MGET{}", " k".repeat(128)),
            &format!("PFCOUNT{}", " k".repeat(128)),
            "COMMAND DOCS GET SET",
        ],
        &[
            "SET k v",
            "DEL k",
            "GETEX k",
            "GETDEL k",
            "SCAN 0",
            "KEYS *",
            "RANDOMKEY",
            "EVAL x 0",
            "EVAL_RO x 0",
            "EVALSHA_RO x 0",
            "FCALL_RO f 0",
            "EVALSHA x 0",
            "PUBLISH c m",
            "FLUSHALL",
            "JSON.GET k",
            "SORT k STORE x",
            "SCRIPT FLUSH",
            "SRANDMEMBER k -129",
            "SRANDMEMBER k -20000000",
            "ZRANDMEMBER k -x",
            "LCS a b",
            &format!("MGET{}", " k".repeat(129)),
            &format!("HMGET k{}", " f".repeat(128)),
            &format!("SORT_RO k{}", " GET #".repeat(64)),
            "SORT_RO k BY nosort GET doc:*",
            "SORT_RO k LIMIT 0 129 GET doc:*",
            "SORT_RO k LIMIT 0 -1 GET doc:*",
            "SORT_RO k LIMIT 0 1 LIMIT 0 129 GET doc:*",
            "SORT_RO k GET LIMIT GET 5 GET doc:*",
            &format!("SUNION{}", " k".repeat(129)),
            &format!("PFCOUNT{}", " k".repeat(129)),
            &format!("SDIFF{}", " k".repeat(129)),
            &format!("COMMAND DOCS{}", " SET".repeat(128)),
            "LOLWUT",
            "LOLWUT VERSION 5 1000 1 200",
            &format!("ZUNION 128{}", " k".repeat(128)),
        ],
    );
    let token = read.find(SECRET.as_bytes()).unwrap();
    assert!(!token.may_monitor() && !token.may_subscribe("SUBSCRIBE", &[b"c".to_vec()]));
    let transaction = |count: usize| vec![command("GET k"); count];
    assert_eq!(token.transaction_refusal(&transaction(128)), None);
    let refusal = token.transaction_refusal(&transaction(129)).unwrap();
    assert!(refusal.starts_with("NOPERM") && refusal.contains("128"), "{refusal}");
}

#[test]
fn custom_token_may_only_send_its_commands() {
    let script = script_sha1(b"return 1");
    let custom = tokens(&format!(
        "[[token]]\nname='a'\nrole='custom'\nsecret='{SECRET}'\n\
         rules=[{{commands=['get','MGET','EVALSHA','EVAL','SUBSCRIBE','PSUBSCRIBE','SORT','COPY',\
         'DEL','FCALL','SCRIPT'], key_prefixes=['pc:','x*:'], scripts=['{}']}}]",
        script.to_uppercase()
    ));
    let evalsha = format!("EVALSHA {script} 1 pc:a");
    let foreign = format!("EVALSHA {script} 1 b");
    check(
        &custom,
        &["GET pc:a", "MGET pc:a pc:b", &evalsha, "SORT pc:a STORE pc:b"],
        &[
            "GET a",
            "MGET pc:a b",
            "SET pc:a v",
            "EVALSHA 00 1 pc:a",
            &foreign,
            "EVAL x 1 pc:a",
            "SORT pc:a STORE b",
            "SORT pc:a BY w_*",
            "PING",
            "FLUSHALL",
            "FCALL f 0",
            "SCRIPT FLUSH",
            "COPY pc:a pc:b DB 1",
            "COPY pc:a pc:b replace db 1",
            &format!("MGET{}", " pc:a".repeat(129)),
        ],
    );
    let token = custom.find(SECRET.as_bytes()).unwrap();
    let whole = Command::new("EVAL").arg("return 1").arg(1).arg("pc:a");
    assert_eq!(token.refusal(&whole, command::find("EVAL")), None);
    let may =
        |endpoint, channel: &str| token.may_subscribe(endpoint, &[channel.as_bytes().to_vec()]);
    assert!(may("SUBSCRIBE", "pc:c") && may("PSUBSCRIBE", "pc:*") && may("SUBSCRIBE", "x*:c"));
    assert!(!may("SUBSCRIBE", "c") && !may("PSUBSCRIBE", "*") && !may("PSUBSCRIBE", "x*:c"));
    assert!(!token.may_monitor());
}

#[test]
fn rules_pair_commands_with_key_prefixes_and_scripts() {
    let (one, two) = (script_sha1(b"1"), script_sha1(b"2"));
    let custom = tokens(&format!(
        "[[token]]\nname='a'\nrole='custom'\nsecret='{SECRET}'\nrules=[\n\
         {{commands=['GET','MGET','RENAME','SUBSCRIBE'], key_prefixes=['r:']}},\n\
         {{commands=['SET','RENAME','SUBSCRIBE'], key_prefixes=['w:']}},\n\
         {{commands=['EVALSHA'], key_prefixes=['one:'], scripts=['{one}']}},\n\
         {{commands=['EVALSHA'], key_prefixes=['two:'], scripts=['{two}']}},\n\
         {{commands=['MONITOR', 'DBSIZE']}},\n]"
    ));
    let evalsha =
        |script: &str, keys: &str| format!("EVALSHA {script} {} {keys}", keys.split(' ').count());
    check(
        &custom,
        &[
            "GET r:1",
            "MGET r:1 r:2",
            "SET w:1 v",
            "RENAME r:1 w:1",
            "RENAME w:1 r:1",
            "DBSIZE",
            &evalsha(&one, "one:1"),
            &evalsha(&two, "two:1 two:2"),
        ],
        &[
            "GET w:1",
            "SET r:1 v",
            "MGET r:1 w:1",
            "RENAME r:1 x:1",
            "DEL r:1",
            &evalsha(&one, "two:1"),
            &evalsha(&two, "two:1 one:1"),
            &evalsha("00", "one:1"),
        ],
    );
    let token = custom.find(SECRET.as_bytes()).unwrap();
    let may = |channels: &[&str]| {
        let channels: Vec<Vec<u8>> =
            channels.iter().map(|channel| channel.as_bytes().to_vec()).collect();
        token.may_subscribe("SUBSCRIBE", &channels)
    };
    assert!(may(&["r:1", "w:1"]) && !may(&["r:1", "x:1"]));
    assert!(token.may_monitor(), "in a rule without prefixes");
}

/// The commands of edge and auth service, one of each kind.
const EDGE_COMMANDS: [&str; 17] = [
    "GET pc:token:x",
    "GET pc:refresh:x",
    "GET pc:refresh:family:x",
    "MGET pc:revoked:sub:x pc:revoked:client:x pc:revoked:jti:x pc:revoked:sid:x pc:token:x",
    "MGET pc:refresh_revoked:x",
    "SET pc:token:x v EX 9",
    "SET pc:refresh:x v EX 9 NX",
    "SET pc:refresh:family:x v EX 9",
    "SET pc:refresh_revoked:x 1 EX 9",
    "DEL pc:refresh:x",
    "EVALSHA 21aacda2e83f43c6d9f23d46c4b2a873d8e36ee0 1 pc:limit:api:bucket:x gcra 1 1 1 0",
    "ZADD pc:sessions:x XX GT 1 x",
    "RPUSH pc:metrics:batches:{pc:metrics:totals} x",
    "LTRIM pc:metrics:batches:{pc:metrics:totals} -1024 -1",
    "EXPIRE pc:metrics:totals 9",
    "RPUSH pc:usage x",
    "EXPIRE pc:usage 9",
];
const AUTH_COMMANDS: [&str; 32] = [
    "SET pc:token:x v EX 9",
    "GET pc:token:x",
    "SET pc:revoked:sid:x 1 EX 9",
    "SET pc:revoked:jti:x 1 EX 9",
    "SET pc:revoked:sub:x disabled EX 9",
    "SET pc:revoked:client:x disabled EX 9",
    "SET pc:reconciled:x 1 EX 9",
    "SET pc:attempts:own:x 1 EX 9",
    "GET pc:reconciled:x",
    "GET pc:revoked:sid:x",
    "GET pc:revoked:jti:x",
    "GET pc:revoked:sub:x",
    "GET pc:revoked:client:x",
    "GET pc:attempts:own:x",
    "DEL pc:attempts:pair:x",
    "DEL pc:token:x",
    "DEL pc:session:x",
    "DEL pc:refresh:x",
    "DEL pc:revoked:sub:x",
    "DEL pc:revoked:client:x",
    "DEL pc:reconciled:x",
    "HSET pc:session:x holder v",
    "HGET pc:session:x last_seen_at",
    "EXPIRE pc:session:x 9",
    "ZADD pc:sessions:x 1 x",
    "ZREM pc:sessions:x x",
    "LLEN pc:usage",
    "LRANGE pc:usage 0 15",
    "LREM pc:usage 1 x",
    "LTRIM pc:usage:malformed -20 -1",
    "RPUSH pc:usage:malformed x",
    "EXPIRE pc:usage:malformed 9",
];

#[test]
fn example_file_bounds_edge_and_auth_service() {
    let example = include_str!("../../../../docs/redis-gateway-tokens.toml");
    let example = tokens(&example.replace("EDGE_TOKEN", SECRET).replace("AUTH_TOKEN", OTHER));
    let permits = |secret: &str, text: &str| {
        let command = command(text);
        let spec = command::find(command.name());
        example.find(secret.as_bytes()).unwrap().refusal(&command, spec).is_none()
    };
    for text in EDGE_COMMANDS {
        assert!(permits(SECRET, text), "{text}");
    }
    for text in AUTH_COMMANDS {
        assert!(permits(OTHER, text), "{text}");
    }
    // Of all commands with the marker at any position, the edge may send only those that read.
    for spec in command::all() {
        for length in 1..7 {
            for position in 1..=length {
                for filler in ["1", "pc:refresh:x", "pc:limit:x", "pc:metrics:totals"] {
                    let mut words = vec![filler; length + 1];
                    (words[0], words[position]) = (spec.name, "pc:revoked:sid:x");
                    let text = words.join(" ");
                    // A value, a field or a member may be any text.
                    let is_key = position == 1 || matches!(spec.name, "DEL" | "MGET" | "EVAL");
                    let may = permits(SECRET, &text);
                    assert!(!may || !is_key || spec.access == Access::Read, "{text}");
                }
            }
        }
    }
    assert!(!permits(SECRET, "DEL pc:refresh_revoked:x"), "it writes this marker, and keeps it");
    for refused in ["LRANGE", "LPOP", "LREM", "LTRIM", "DEL"].map(|name| format!("{name} pc:usage"))
    {
        assert!(!permits(SECRET, &refused), "{refused}");
    }
    for refused in [
        "DEL pc:revoked:sid:x",
        "DEL pc:revoked:jti:x",
        "EXPIRE pc:revoked:sub:x 0",
        // It removes batches of usage by their text alone.
        "LTRIM pc:usage 1 -1",
        "EXPIRE pc:usage 0",
        "DEL pc:usage",
        // It makes no such marker.
        "SET pc:refresh_revoked:x 1 EX 9",
    ] {
        assert!(!permits(OTHER, refused), "{refused}");
    }
}

#[test]
fn malformed_entry_is_reported_by_its_position() {
    for wrong in ["6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B6B==", "a b=x", "a:custom=x", ":=x", "a=", "=x"]
    {
        let errors = Tokens::parse(Some(&format!("ok={SECRET},{wrong}")), None).err().unwrap();
        assert_eq!(errors, [TokenError::EntryFormat(2)], "{wrong}");
        assert!(!errors[0].to_string().contains("6B6B"));
    }
}

#[test]
fn example_file_is_valid_once_it_has_secrets() {
    let example = include_str!("../../../../docs/redis-gateway-tokens.toml");
    let errors = Tokens::parse(None, Some(example)).err().unwrap();
    assert_eq!(errors.len(), 2, "the placeholders are too short: {errors:?}");
    tokens(&example.replace("EDGE_TOKEN", SECRET).replace("AUTH_TOKEN", OTHER));
}

#[test]
fn errors_are_reported_at_once_without_secrets() {
    let file = "
        [[token]]\nname='a'\nrole='full'\nsecret='shortsecret'\nrules=[]
        [[token]]\nname='b'\nrole='custom'
        [[token]]\nname='c'\nrole='custom'\nsha256='xyz'\nrules=[{},{commands=['EVAL','SELECT','SCAN'],key_prefixes=['']},{commands=['EVAL'],scripts=['x']}]
        [[token]]\nname='d'\nrole='none'\nsecret='0123456789abcdef0123456789abcdef'
        [[token]]\nname='e'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'\nalso=['KEYS']
        [[token]]\nname='e'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'
        [[token]]\nname='f g'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'";
    let errors = Tokens::parse(Some("nothing"), Some(file)).err().unwrap();
    let of = |name: &str, kind| TokenError::Token(name.to_owned(), kind);
    let rule = |position, kind| TokenErrorKind::Rule { position, kind };
    let expect = [
        TokenError::EntryFormat(1),
        of("a", TokenErrorKind::SecretShort),
        of("a", TokenErrorKind::RulesUnused),
        of("b", TokenErrorKind::SecretMissing),
        of("b", TokenErrorKind::RulesMissing),
        of("c", TokenErrorKind::HashFormat),
        of("c", rule(1, RuleErrorKind::CommandsMissing)),
        of("c", rule(2, RuleErrorKind::CommandNever)),
        of("c", rule(2, RuleErrorKind::PrefixEmpty)),
        of("c", rule(2, RuleErrorKind::CommandUnbounded)),
        of("c", rule(2, RuleErrorKind::ScriptsMissing)),
        of("c", rule(3, RuleErrorKind::ScriptFormat)),
        of("d", TokenErrorKind::RoleUnknown),
        of("e", TokenErrorKind::AlsoUnused),
        of("e", TokenErrorKind::NameTwice),
        of("e", TokenErrorKind::SecretTwice),
        TokenError::NameFormat,
    ];
    assert_eq!(errors, expect);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(!texts.iter().any(|text| text.contains("shortsecret") || text.contains("0123")));

    // The error for the form of older files names its replacement.
    let old = format!("[[token]]\nname='a'\nrole='custom'\nsecret='{SECRET}'\ncommands=['GET']");
    let text = Tokens::parse(None, Some(&old)).err().unwrap()[0].to_string();
    assert!(text.contains("line 5") && text.contains("a rule has commands"), "{text}");

    let garbage =
        Tokens::parse(None, Some("[[token]]\nname='a'\nsecret=shortsecret")).err().unwrap();
    let text = garbage[0].to_string();
    assert!(text.contains("line 3") && !text.contains("shortsecret"), "{text}");
    assert_eq!(Tokens::parse(None, None).err(), Some(vec![TokenError::Missing]));
    assert_eq!(Tokens::parse(None, Some("")).err(), Some(vec![TokenError::Missing]));
}

#[test]
fn unrestricted_token_may_send_every_known_command() {
    let tokens = Tokens::unrestricted([("srh", "short", 3)].into_iter());
    let token = tokens.find(b"short").unwrap();
    assert_eq!((token.name.as_str(), token.server), ("srh", 3));
    for spec in command::all() {
        assert_eq!(token.refusal(&Command::new(spec.name), Some(spec)), None, "{}", spec.name);
    }
    assert_eq!(token.refusal(&Command::new("JSON.GET"), None), None);
    let unknown = token.refusal(&Command::new("NEWER"), None).unwrap();
    assert_eq!(unknown, "ERR unknown command 'NEWER'");
    assert!(token.may_monitor() && token.may_subscribe("PSUBSCRIBE", &[b"*".to_vec()]));
    let many = vec![Command::new("MGET").arg("k"); 1000];
    assert_eq!(token.transaction_refusal(&many), None);
}
