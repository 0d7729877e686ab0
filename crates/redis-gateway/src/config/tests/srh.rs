//! serverless-redis-http's configuration.

use super::*;
use crate::redis_url::Deployment;
use portcullis_server::settings::cases::Folder;

/// Reads these variables and this file of tokens. In errors, the file is FILE.
fn read(variables: &[(&str, &str)], file: Option<&str>) -> Result<Config, Vec<String>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = Folder::new();
    if let Some(text) = file {
        folder.write(NAME, text);
    }
    let find = |name: &str| variables.iter().find(|(own, _)| *own == name);
    let sources = Sources {
        flags: Default::default(),
        environment: &|name| find(name).map(|(_, value)| (*value).to_owned()),
        names: variables.iter().map(|(name, _)| (*name).to_owned()).collect(),
        file: None,
    };
    let reader = SettingsReader::new(&TABLE, sources);
    let config = Config::read_with(reader, &[&folder.file(NAME)]);
    let describe = |error: &SettingError| error.to_string().replace(&folder.file(NAME), "FILE");
    config.map_err(|errors| errors.iter().map(describe).collect())
}

fn servers(config: &Config) -> Vec<String> {
    let server = |redis: &RedisSettings| match &redis.deployment {
        Deployment::Standalone { address, options } => {
            let password = options.password.as_ref().map(Secret::expose).unwrap_or_default();
            let tls = if options.tls.is_some() { "tls" } else { "" };
            format!("{address}/{} {password}{tls} {}", options.database, redis.connections)
        }
        _ => "other".to_owned(),
    };
    config.redis.iter().map(server).collect()
}

const ENV: [(&str, &str); 3] = [
    ("SRH_MODE", "env"),
    ("SRH_TOKEN", "example_token"),
    ("SRH_CONNECTION_STRING", "redis://redis:6379"),
];

#[test]
fn variables_alone_are_a_configuration() {
    let config = read(&ENV, None).unwrap_or_else(|errors| panic!("{errors:?}"));
    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.timeout, Duration::from_secs(5));
    assert_eq!(servers(&config), ["redis:6379/0  3"]);
    let tokens = &config.reloadable.tokens;
    assert_eq!(tokens.find(b"example_token").unwrap().name, "srh");
    assert!(tokens.find(b"example_toke").is_none());
    let more = [
        ("SRH_CONNECTION_STRING", "rediss://user:p%40ss@h:1/2?ssl=true"),
        ("SRH_MAX_CONNECTIONS", "10"),
        ("SRH_PORT", "8079"),
        ("SRH_IPV6", "true"),
        ("GATEWAY_DEADLINE_MS", "70"),
    ];
    let config = read(&[&more[..], &ENV[..2]].concat(), None).ok().unwrap();
    assert_eq!(config.listen.to_string(), "[::]:8079");
    assert_eq!(config.timeout, Duration::from_millis(70));
    assert_eq!(servers(&config), ["h:1/2 p@sstls 10"]);
    // More than there can be.
    let many = [&ENV[..], &[("SRH_MAX_CONNECTIONS", "1000")]].concat();
    assert_eq!(servers(&read(&many, None).ok().unwrap()), ["redis:6379/0  64"]);
}

const NAME: &str = "tokens.json";
const FILE: &str = r#"{
    "example_token": { "srh_id": "main", "connection_string": "redis://a:1", "max_connections": 3 },
    "second": { "srh_id": "main", "connection_string": "redis://:pass@b", "max_connections": 5 },
    "third": { "srh_id": "a b", "connection_string": "redis://a:1", "max_connections": 4 }
}"#;

#[test]
fn file_has_tokens_for_several_servers() {
    for variables in [&[("SRH_MODE", "file")] as &[_], &[("SRH_PORT", "81")], &[]] {
        let config = read(variables, Some(FILE)).unwrap_or_else(|errors| panic!("{errors:?}"));
        assert_eq!(servers(&config), ["a:1/0  4", "b:6379/0 pass 5"]);
        let token = |secret: &str| {
            let token = config.reloadable.tokens.find(secret.as_bytes()).unwrap();
            (token.name.clone(), token.server)
        };
        assert_eq!(token("example_token"), ("main".to_owned(), 0));
        assert_eq!(token("second"), ("srh-2".to_owned(), 1));
        assert_eq!(token("third"), ("srh-3".to_owned(), 0));
        let port = if variables.contains(&("SRH_PORT", "81")) { 81 } else { 80 };
        assert_eq!(config.listen.port(), port);
    }
    // The own form has tokens: the file belongs to something else.
    let own = [("GATEWAY_TOKENS", "edge=0123456789abcdef0123456789abcdef")];
    let config = read(&own, Some(FILE)).ok().unwrap();
    assert!(!config.is_srh && config.reloadable.tokens.find(b"second").is_none());
    // Kubernetes sets this for a Service called srh.
    let linked = [own[0], ("SRH_PORT", "tcp://10.0.0.1:80"), ("SRH_SERVICE_HOST", "10.0.0.1")];
    assert!(!read(&linked, None).ok().unwrap().is_srh);
}

/// Each error says what to do, and none has a secret.
#[test]
fn each_wrong_value_is_an_error() {
    let check = |variables: &[(&str, &str)], file: Option<&str>, expect: &[&str]| {
        let errors = read(variables, file).err().unwrap();
        assert_eq!(errors, expect, "{variables:?} {file:?}");
        assert!(!errors.iter().any(|error| error.contains("hush")), "{errors:?}");
    };
    const TOKEN: &str = "must be visible ASCII without spaces, since a header carries it";
    const URL: &str = "must be redis://[user:password@]host:port/database, rediss:// for TLS";
    check(
        &[
            ("SRH_MODE", "env"),
            ("SRH_TOKEN", "hush hush"),
            ("SRH_CONNECTION_STRING", "http://hush@h"),
            ("SRH_MAX_CONNECTIONS", "0"),
            ("SRH_PORT", "0"),
            ("SRH_IPVS", "true"),
        ],
        None,
        &[
            "SRH_IPVS: unknown setting; rename it to SRH_IPV6, or unset it",
            "SRH_PORT: must be a port, 1 to 65535, such as 80",
            &format!("SRH_CONNECTION_STRING: {URL}"),
            &format!("SRH_TOKEN: {TOKEN}"),
            "SRH_MAX_CONNECTIONS: must be a whole number, 1 or more",
        ],
    );
    check(
        &[("SRH_MODE", "env"), ("SRH_PORT", "tcp://10.0.0.1:80")],
        None,
        &[
            "SRH_PORT: must be a port, 1 to 65535; Kubernetes sets it for a Service called srh, so \
             give the pod enableServiceLinks: false, or set it",
            "SRH_TOKEN: is not set; give the token that clients send",
            "SRH_CONNECTION_STRING: is not set; give the Redis, such as redis://redis:6379",
        ],
    );
    check(&[("SRH_MODE", "redis")], None, &["SRH_MODE: must be env or file"]);
    check(
        &[("SRH_MODE", "file")],
        None,
        &["SRH_MODE: needs /app/srh-config/tokens.json, which is no file; mount it there"],
    );
    check(
        &ENV[1..],
        None,
        &["SRH_MODE: is not set, and there is no /app/srh-config/tokens.json; set it to env, or \
           mount that file"],
    );
    let file = |text: &str, expect: &[&str]| check(&[], Some(text), expect);
    const JSON: &str = "must be a JSON object that has an object for each token";
    file("{\n \"hush\": 1,}", &[&format!("FILE:2:12: {JSON}")]);
    file("[\"hush\"]", &[&format!("FILE:1:0: {JSON}")]);
    file("{}", &["FILE: has no token; add one"]);
    file(
        r#"{"hush1": 1, "hush 2": {"srh_id": 1, "connection_strin": "hush", "max_connections": 1.5},
            "hush3": {"srh_id": "a", "connection_string": "hush", "max_connections": 1},
            "hush3": {"srh_id": "a", "connection_string": "redis://h"}}"#,
        &[
            &format!("FILE: entry 3: {URL}"),
            "FILE: entry 1: must be an object with srh_id, connection_string, max_connections",
            "FILE: entry 2: the token must be visible ASCII without spaces, since a header carries \
             it",
            "FILE: entry 2: has an unknown member; it may have srh_id, connection_string, \
             max_connections",
            "FILE: entry 2: srh_id must be a text, such as \"main\"",
            "FILE: entry 2: connection_string must be a text, such as \"redis://redis:6379\"",
            "FILE: entry 2: max_connections must be a whole number, 1 or more",
            "FILE: entry 4: has the token of another entry; remove one of them",
        ],
    );
}

#[test]
fn settings_of_both_forms_are_an_error_that_names_both() {
    for (variable, value, theirs) in [
        ("GATEWAY_TOKENS", "hush=0123456789abcdef0123456789abcdef", "SRH_TOKEN"),
        ("GATEWAY_TOKENS_FILE", "/hush", "tokens.json"),
        ("GATEWAY_REDIS_CONNECTIONS", "7", "SRH_MAX_CONNECTIONS"),
        ("REDIS_URL", "redis://hush@h", "SRH_CONNECTION_STRING"),
    ] {
        let errors = read(&[&ENV[..], &[(variable, value)]].concat(), None).err().unwrap();
        let expect = format!(
            "{variable}: is given, and so is SRH_MODE of serverless-redis-http; keep one of the two \
             forms: {theirs} is to it what {variable} is here"
        );
        assert_eq!(errors, [expect]);
    }
    // Other settings have no counterpart there.
    let more = [("GATEWAY_ADMIN_LISTEN", "127.0.0.1:1"), ("GATEWAY_THREADS", "2")];
    assert!(read(&[&ENV[..], &more].concat(), None).is_ok());
    // The image sets both addresses.
    let image = include_str!("../../../../../images/redis-gateway.Dockerfile");
    let set = image.lines().find_map(|line| line.strip_prefix("ENV ")).unwrap();
    let set: Vec<_> = set.split(' ').map(|pair| pair.split_once('=').unwrap()).collect();
    assert!(set.iter().any(|(name, _)| *name == "GATEWAY_LISTEN"), "{set:?}");
    let config = read(&[&ENV[..], &set].concat(), None).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(config.listen.to_string(), "0.0.0.0:80");
    let config = read(&set, Some(FILE)).unwrap_or_else(|found| panic!("{found:?}"));
    assert_eq!(config.listen.to_string(), "0.0.0.0:80", "with tokens.json alone");
}

#[test]
fn reload_takes_new_tokens_of_known_servers() {
    let folder = Folder::new();
    folder.write(NAME, FILE);
    let sources = Sources {
        flags: Default::default(),
        environment: &|_| None,
        names: Vec::new(),
        file: None,
    };
    let reader = SettingsReader::new(&TABLE, sources);
    let config = Config::read_with(reader, &[&folder.file(NAME)]).ok().unwrap();
    folder.write(NAME, &FILE.replace("second", "another"));
    let reloaded = config.reloadable_files.load().ok().unwrap();
    assert_eq!(reloaded.tokens.find(b"another").unwrap().server, 1);
    assert!(reloaded.tokens.find(b"second").is_none());
    folder.write(NAME, &FILE.replace("redis://:pass@b", "redis://c"));
    let errors = config.reloadable_files.load().err().unwrap();
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let place = format!("{}: entry 2", folder.file(NAME));
    assert_eq!(errors, [format!("{place}: has a new Redis; restart the redis gateway")]);
}
