use super::error::{TokenError, TokenErrorKind};
use super::set::Tokens;
use crate::command;
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
        &["FLUSHALL", "flushdb", "CONFIG GET *", "DEBUG SLEEP 1", "SHUTDOWN", "KEYS *", "NOSUCH k"],
    );
    check(
        &tokens(&format!(
            "[[token]]\nname='a'\nrole='full'\nalso=['flushdb','NOSUCH']\nsecret='{SECRET}'"
        )),
        &["FLUSHDB", "nosuch k"],
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
            "SRANDMEMBER k",
            "HRANDFIELD k -9",
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
            "SRANDMEMBER k -20000000",
            "ZRANDMEMBER k -x",
            "LCS a b",
        ],
    );
    let token = read.find(SECRET.as_bytes()).unwrap();
    assert!(!token.may_monitor() && !token.may_subscribe("SUBSCRIBE", &[b"c".to_vec()]));
}

#[test]
fn custom_token_may_only_send_its_commands() {
    let script = script_sha1(b"return 1");
    let custom = tokens(&format!(
        "[[token]]\nname='a'\nrole='custom'\nsecret='{SECRET}'\n\
         commands=['get','MGET','EVALSHA','EVAL','SUBSCRIBE','PSUBSCRIBE','SORT','DEL','FCALL','SCRIPT']\n\
         key_prefixes=['pc:','x*:']\nscripts=['{}']",
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
        [[token]]\nname='a'\nrole='full'\nsecret='shortsecret'\nkey_prefixes=['x']
        [[token]]\nname='b'\nrole='custom'
        [[token]]\nname='c'\nrole='custom'\nsha256='xyz'\ncommands=['EVAL','SELECT','SCAN']\nkey_prefixes=['']
        [[token]]\nname='d'\nrole='none'\nsecret='0123456789abcdef0123456789abcdef'
        [[token]]\nname='e'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'\nalso=['KEYS']
        [[token]]\nname='e'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'
        [[token]]\nname='f g'\nrole='read'\nsecret='0123456789abcdef0123456789abcdef'";
    let errors = Tokens::parse(Some("nothing"), Some(file)).err().unwrap();
    let of = |name: &str, kind| TokenError::Token(name.to_owned(), kind);
    let expect = [
        TokenError::EntryFormat(1),
        of("a", TokenErrorKind::SecretShort),
        of("a", TokenErrorKind::CommandsUnused),
        of("b", TokenErrorKind::SecretMissing),
        of("b", TokenErrorKind::CommandsMissing),
        of("c", TokenErrorKind::HashFormat),
        of("c", TokenErrorKind::CommandNever),
        of("c", TokenErrorKind::PrefixEmpty),
        of("c", TokenErrorKind::CommandUnbounded),
        of("c", TokenErrorKind::ScriptsMissing),
        of("d", TokenErrorKind::RoleUnknown),
        of("e", TokenErrorKind::AlsoUnused),
        of("e", TokenErrorKind::NameTwice),
        of("e", TokenErrorKind::SecretTwice),
        TokenError::NameFormat,
    ];
    assert_eq!(errors, expect);
    let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
    assert!(!texts.iter().any(|text| text.contains("shortsecret") || text.contains("0123")));

    let garbage =
        Tokens::parse(None, Some("[[token]]\nname='a'\nsecret=shortsecret")).err().unwrap();
    let text = garbage[0].to_string();
    assert!(text.contains("line 3") && !text.contains("shortsecret"), "{text}");
    assert_eq!(Tokens::parse(None, None).err(), Some(vec![TokenError::Missing]));
    assert_eq!(Tokens::parse(None, Some("")).err(), Some(vec![TokenError::Missing]));
}
