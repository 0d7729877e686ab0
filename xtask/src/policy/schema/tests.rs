//! Compares the schema with core: both must accept the same files.

use super::*;
use crate::policy::{file, read};
use portcullis_core::{ConfigError, ConfigErrorKind};
use std::sync::LazyLock;

/// A valid file with every table.
const COMPLETE: &str = r#"
store = { url = "https://store.example" }
upstream = { url = "https://upstream.example" }
auth = { url = "https://auth.example" }
resource = { url = "https://api.example" }
cors = { origins = ["https://app.example"] }
assertion = { issuer = "https://api.example", audience = "inner" }
health = {}
identity = { claims = { plan = "portcullis-plan" } }
ip_rules = { deny = ["192.0.2.0/24"] }
usage = {}
invalid_token_limit = { quota = 20, window_seconds = 60 }
block = {}
breaker = {}
client_address = {}
introspection = {}
jwks = {}
logging = {}
metrics = {}
open_requests = {}
revocation = {}

[[issuers]]
issuer = "https://issuer.example"
audience = "api"
algorithms = ["EdDSA"]
jwks_url = "https://issuer.example/jwks"
events = { accept = ["logout"], audience = ["edge"] }
introspection = { url = "https://issuer.example/introspect?v=1", client_id = "edge", client_secret_variable = "SECRET" }

[[limits]]
name = "shared"
quota = 100
window_seconds = 60
by = ["subject", "claim:tenant"]
plans = { claim = "plan", quotas = { pro = 500 } }

[[resources]]
name = "files"
url = "https://files.example"

[[routes]]
name = "api"
path = "/api/*"
access = "protected"
limits = ["shared"]
limit = { quota = 100, window_seconds = 60, by = "address", plans = { claim = "plan", quotas = { pro = 500 } } }
cors = { origins = ["*"] }
ip_rules = { allow = ["2001:db8::/32"] }
claims = { tenant = ["a", 1, true] }

[[routes]]
name = "events"
path = "/events"
access = "events"
"#;

const LISTS: [&str; 4] = ["issuers", "limits", "resources", "routes"];

fn complete() -> Value {
    static PARSED: LazyLock<Value> =
        LazyLock::new(|| Value::Object(toml::from_str(COMPLETE).unwrap()));
    PARSED.clone()
}

/// The schema, and the members that core reads.
struct Judges {
    schemas: boon::Schemas,
    index: boon::SchemaIndex,
    members: Vec<PolicyMember>,
}

impl Judges {
    fn new() -> Self {
        let members = Policy::members();
        let schema = schema(&members, &descriptions().unwrap());
        let (mut compiler, mut schemas) = (boon::Compiler::new(), boon::Schemas::new());
        compiler.add_resource("policy.json", schema).unwrap();
        let index = compiler.compile("policy.json", &mut schemas).unwrap();
        Self { schemas, index, members }
    }

    fn schema_accepts(&self, document: &Value) -> bool {
        self.schemas.validate(document, self.index).is_ok()
    }
}

/// Returns core's errors, as if all secrets were set.
fn errors(document: &Value) -> Vec<ConfigError> {
    Policy::assume(&document.to_string(), |_| None).err().unwrap_or_default()
}

/// Returns the complete file with another value at a place; with `None`, without the place.
fn with(place: &str, value: Option<Value>) -> Value {
    let mut document = complete();
    let (table, name) = place.rsplit_once('.').unwrap_or(("", place));
    let pointer = indexed(table).replace(['.', '['], "/").replace(']', "");
    let pointer = if table.is_empty() { pointer } else { format!("/{pointer}") };
    let table = document.pointer_mut(&pointer).and_then(Value::as_object_mut).unwrap();
    match value {
        Some(value) => table.insert(name.to_owned(), value),
        None => table.remove(name),
    };
    document
}

/// Returns `routes.limit` as `routes[0].limit`.
fn indexed(place: &str) -> String {
    let (list, rest) = place.split_once('.').map_or((place, None), |(l, r)| (l, Some(r)));
    match rest {
        Some(rest) if LISTS.contains(&list) => {
            format!("{list}[0].{rest}")
        }
        None if LISTS.contains(&list) => format!("{list}[0]"),
        _ => place.to_owned(),
    }
}

fn is_table(member: &PolicyMember) -> bool {
    matches!(member.shape, MemberShape::Table | MemberShape::Tables)
}

#[test]
fn committed_schema_is_what_the_readers_say() {
    let text = fs::read_to_string(at(FILE)).unwrap_or_default();
    let committed: Value = serde_json::from_str(&text).unwrap_or_default();
    let fresh = schema(&Policy::members(), &descriptions().unwrap());
    assert!(
        committed == fresh,
        "{FILE} does not fit the code; run `cargo xtask policy schema --write`"
    );
}

#[test]
fn each_member_has_one_description() {
    let (members, mut descriptions) = (Policy::members(), descriptions().unwrap());
    for member in &members {
        let own = descriptions.get(&described_place(&member.place));
        assert!(own.is_some(), "members.toml lacks {}", member.place);
    }
    for (place, sentence) in &descriptions {
        assert!(sentence.ends_with('.'), "{place}: {sentence}");
        let words = sentence.split_whitespace().count();
        assert!(words <= 25, "{place}: {words} words");
    }
    for member in &members {
        descriptions.remove(&described_place(&member.place));
    }
    assert_eq!(descriptions.into_keys().collect::<Vec<_>>(), [""; 0], "there are no such members");
}

#[test]
fn each_table_has_members() {
    let members = Policy::members();
    for table in members.iter().filter(|member| is_table(member)) {
        let has_members = members.iter().any(|own| name_in(&table.place, &own.place).is_some());
        assert!(has_members, "EVERY_TABLE in crates/core/src/config.rs lacks {}", table.place);
    }
}

#[test]
fn shipped_and_complete_policies_are_accepted() {
    let judges = Judges::new();
    let shipped = Value::Object(read(&file()).unwrap());
    for document in [&shipped, &complete()] {
        if let Err(error) = judges.schemas.validate(document, judges.index) {
            panic!("{error}");
        }
        assert_eq!(errors(document), []);
    }
    let text = fs::read_to_string(file()).unwrap();
    assert_eq!(text.lines().next(), Some(format!("#:schema ./{FILE}").as_str()));
    for member in judges.members.iter().filter(|member| is_table(member)) {
        let place = indexed(&member.place).replace(['.', '['], "/").replace(']', "");
        assert!(complete().pointer(&format!("/{place}")).is_some(), "{place} is not tested");
    }
}

#[test]
fn number_is_bounded_as_in_core() {
    let judges = Judges::new();
    let mut count = 0;
    for member in &judges.members {
        let (min, max, value): (_, _, fn(i64) -> Value) = match &member.shape {
            MemberShape::Number { min, max } => (*min, *max, |number| json!(number)),
            MemberShape::Map { of, .. } => match **of {
                MemberShape::Number { min, max } => (min, max, |number| json!({ "pro": number })),
                _ => continue,
            },
            _ => continue,
        };
        let (min, max) = (i64::from(min), i64::from(max));
        let place = indexed(&member.place);
        for (number, is_valid) in [(min - 1, false), (min, true), (max, true), (max + 1, false)] {
            let document = with(&member.place, Some(value(number)));
            assert_eq!(judges.schema_accepts(&document), is_valid, "schema: {place} = {number}");
            let in_core = |error: &ConfigError| {
                error.name.starts_with(&place)
                    && matches!(error.kind, ConfigErrorKind::NotInRange(..))
            };
            let is_accepted = !errors(&document).iter().any(in_core);
            assert_eq!(is_accepted, is_valid, "core: {place} = {number}");
        }
        count += 1;
    }
    assert!(count > 30, "{count}");
}

#[test]
fn name_is_one_of_those_of_core() {
    let judges = Judges::new();
    let mut count = 0;
    for member in &judges.members {
        let (names, wrap): (_, fn(&str) -> Value) = match &member.shape {
            MemberShape::OneOf(names) => (names, |name| json!(name)),
            MemberShape::List(of) | MemberShape::OneOrMore(of) => match &**of {
                MemberShape::OneOf(names) => (names, |name| json!([name])),
                _ => continue,
            },
            _ => continue,
        };
        let place = indexed(&member.place);
        let wrong = ["no_such_name", "", "claim:"].map(|name| (name.to_owned(), false));
        let right = names.iter().map(|name| (name.clone(), true));
        for (name, is_valid) in right.chain(wrong) {
            let document = with(&member.place, Some(wrap(&name)));
            assert_eq!(judges.schema_accepts(&document), is_valid, "schema: {place} = {name}");
            let in_core = |error: &ConfigError| {
                error.name.starts_with(&place) && matches!(error.kind, ConfigErrorKind::NotOneOf(_))
            };
            let is_accepted = !errors(&document).iter().any(in_core);
            assert_eq!(is_accepted, is_valid, "core: {place} = {name}");
        }
        count += 1;
    }
    assert!(count > 12, "{count}");
}

#[test]
fn unknown_member_is_rejected_at_each_level() {
    let judges = Judges::new();
    let tables = judges.members.iter().filter(|member| is_table(member));
    let places = tables.map(|table| format!("{}.no_such_member", table.place));
    for place in places.chain(["no_such_member".to_owned()]) {
        let document = with(&place, Some(json!(1)));
        assert!(!judges.schema_accepts(&document), "{place}");
        let (place, errors) = (indexed(&place), errors(&document));
        let is_unknown = |error: &ConfigError| {
            error.name == place && matches!(error.kind, ConfigErrorKind::Unknown(_))
        };
        assert!(errors.iter().any(is_unknown), "{place}: {errors:?}");
    }
}

#[test]
fn required_member_is_required_by_core() {
    let judges = Judges::new();
    for member in &judges.members {
        let document = with(&member.place, None);
        let place = indexed(&member.place);
        let (name, section) = (place.trim_end_matches("[0]"), format!("{}.", member.place));
        let is_missing = |error: &ConfigError| {
            (error.name == name || error.name.starts_with(&section))
                && error.kind == ConfigErrorKind::Missing
        };
        let is_required = errors(&document).iter().any(is_missing);
        // An issuer needs no audience where another member replaces it, and a limit no window where
        // it has a period. Credits need no quota. A schema can't say that.
        let replaceable = [
            "issuers.audience",
            "limits.quota",
            "limits.window_seconds",
            "routes.limit.quota",
            "routes.limit.window_seconds",
        ];
        if replaceable.contains(&member.place.as_str()) {
            assert!(is_required && !member.is_required && judges.schema_accepts(&document));
            continue;
        }
        // Only some routes require the auth service, and this file has none of them.
        assert_eq!(member.is_required, is_required, "{place}");
        assert_eq!(judges.schema_accepts(&document), !is_required, "{place}");
    }
}

#[test]
fn values_of_each_type_are_judged_as_by_core() {
    let judges = Judges::new();
    let values = [
        json!(true),
        json!(7),
        json!(-1),
        json!(1.5),
        json!(""),
        json!("text"),
        json!("two words"),
        json!("https://a.example"),
        json!("https://a.example/x?y=z"),
        json!("http://"),
        json!("https://user@a.example"),
        json!("memcached://a.example:11211"),
        json!([]),
        json!(["text"]),
        json!([1]),
        json!([[]]),
        json!([{}]),
        json!({}),
        json!({ "text": "portcullis-text" }),
        json!({ "text": 7 }),
        json!({ "text": [] }),
        json!({ "text": {} }),
    ];
    for member in &judges.members {
        for value in &values {
            let document = with(&member.place, Some(value.clone()));
            let (found, place) = (errors(&document), indexed(&member.place));
            let is_accepted = judges.schema_accepts(&document);
            assert!(is_accepted || !found.is_empty(), "core accepts {place} = {value}");
            let is_wrong = |error: &ConfigError| {
                let name = place.trim_end_matches("[0]");
                let kind = &error.kind;
                error.name == name
                    && (matches!(kind, ConfigErrorKind::NotA(_) | ConfigErrorKind::NotAUrl)
                        || matches!(kind, ConfigErrorKind::UnsafeName)
                        || matches!(kind, ConfigErrorKind::NotInRange(..)))
            };
            assert!(!is_accepted || !found.iter().any(is_wrong), "{place} = {value}: {found:?}");
        }
    }
}

#[test]
fn text_may_be_a_variable_as_a_whole() {
    let judges = Judges::new();
    for member in &judges.members {
        let wrap: fn(&str) -> Value = match &member.shape {
            MemberShape::Text(_) | MemberShape::OneOf(_) => |text| json!(text),
            MemberShape::List(of) | MemberShape::OneOrMore(of)
                if !matches!(**of, MemberShape::Number { .. }) =>
            {
                |text| json!([text])
            }
            MemberShape::Map { of, .. }
                if !matches!(**of, MemberShape::Any | MemberShape::Number { .. }) =>
            {
                |text| json!({ "name": text })
            }
            _ => {
                let document = with(&member.place, Some(json!("${NAME}")));
                assert!(!judges.schema_accepts(&document), "{}", member.place);
                continue;
            }
        };
        let document = with(&member.place, Some(wrap("${NAME_1}")));
        assert!(judges.schema_accepts(&document), "{}", member.place);
        for part in [
            "https://${HOST}",
            "${NAME",
            "${}",
            "${A B}",
            "${A}${B}",
            "$${A}",
            "${A}x",
            "${A}\n",
            "claim:${A}",
        ] {
            let document = with(&member.place, Some(wrap(part)));
            assert!(!judges.schema_accepts(&document), "{} = {part}", member.place);
            let is_malformed = |error: &ConfigError| error.kind == ConfigErrorKind::NotAVariable;
            assert!(errors(&document).iter().any(is_malformed), "{} = {part}", member.place);
        }
    }
}

#[test]
fn default_means_what_a_missing_member_means() {
    let parse = |document: &Value| {
        let secret = |name: &str| match name {
            "ASSERTION_KEY" => Some(SIGNING_KEY.to_owned()),
            "METRICS_TOKEN" => Some("metrics-token-0123456789".to_owned()),
            "STORE_TOKEN" | "SECRET" => Some("secret".to_owned()),
            _ => None,
        };
        format!("{:?}", Policy::parse(&document.to_string(), secret).unwrap())
    };
    let mut count = 0;
    for member in Policy::members() {
        let Some(default) = member.default else {
            continue;
        };
        let (without, stated) = (with(&member.place, None), with(&member.place, Some(default)));
        assert_eq!(parse(&without), parse(&stated), "{}", member.place);
        count += 1;
    }
    assert!(count >= 60, "{count}");
}

#[test]
fn environment_may_change_a_part() {
    let judges = Judges::new();
    let accepts = |environment: Value| {
        let mut document = complete();
        document["env"] = json!({ "staging": environment });
        judges.schema_accepts(&document)
    };
    assert!(accepts(json!({})));
    assert!(accepts(json!({ "store": { "timeout_ms": 9 }, "cors": { "credentials": false } })));
    assert!(!accepts(json!({ "store": { "timeout_ms": 0 } })));
    assert!(!accepts(json!({ "strore": {} })));
    assert!(!accepts(json!({ "store": { "timeout": 9 } })));
    assert!(!accepts(json!({ "env": {} })));
    // A list is replaced as a whole, so its entries must be complete.
    let route = json!({ "name": "a", "path": "/a", "access": "public" });
    assert!(accepts(json!({ "routes": [route] })));
    assert!(!accepts(json!({ "routes": [{ "name": "a" }] })));
}

/// The key of RFC 8037 appendix A.
const SIGNING_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
