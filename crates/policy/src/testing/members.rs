//! A case for each member of the policy file: a valid value other than the one of [`base`]. A
//! member that core reads and that has no case fails the tests that use them.

use super::base::{KEYS, PUBLIC_KEY, base, variable};
use crate::file::PolicyFile;
use portcullis_core::{ConfigError, MemberShape, Policy, PolicyMember, StoreAddress, TextFormat};
use serde_json::{Value, json};

/// A member, and what it may be set to.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) member: PolicyMember,
    /// The entry of its list, if it is in one.
    entry: usize,
    /// The values, each valid and other than the base's.
    pub(crate) values: Vec<Value>,
    /// A value of the right type that core rejects, if there is one besides those beyond a bound.
    pub(crate) invalid: Option<Value>,
    /// What must be changed besides, so that the values are valid.
    besides: Vec<(&'static str, Option<Value>)>,
}

/// Returns the case of each member that is not a table.
pub(crate) fn cases() -> Vec<Case> {
    let members = Policy::members();
    members.into_iter().filter(|member| !is_table(member)).map(Case::of).collect()
}

pub(crate) fn is_table(member: &PolicyMember) -> bool {
    matches!(member.shape, MemberShape::Table | MemberShape::Tables)
}

fn is_url(format: TextFormat) -> bool {
    matches!(
        format,
        TextFormat::BaseUrl
            | TextFormat::BaseUrlOrBinding
            | TextFormat::StoreUrl
            | TextFormat::Url
            | TextFormat::UrlOrBinding
    )
}

impl Case {
    fn of(member: PolicyMember) -> Self {
        let given = given(&member.place);
        let is_given = given.is_some();
        let mut case =
            Self { member, entry: 0, values: Vec::new(), invalid: None, besides: Vec::new() };
        given.unwrap_or_default().into_iter().for_each(|part| part.apply(&mut case));
        let default = case.member.default.clone().unwrap_or_default();
        match (&case.member.shape, case.values.is_empty()) {
            (MemberShape::Flag, true) => case.values.push(json!(default != json!(true))),
            // A number that occurs nowhere else.
            (MemberShape::Number { min, max }, true) => {
                case.values.push(json!(u64::from(*min) + u64::from(max - min) / 2 + 1));
            }
            (MemberShape::OneOf(names), true) => {
                let others = names.iter().filter(|name| default != json!(name));
                case.values.extend(others.map(|name| json!(name)));
            }
            (MemberShape::Text(format), true) if is_url(*format) => {
                case.values.push(json!("https://other.example/x"));
                if matches!(format, TextFormat::UrlOrBinding | TextFormat::BaseUrlOrBinding) {
                    case.values.push(json!("binding:API https://bound.example/x"));
                }
            }
            _ => {}
        }
        if case.invalid.is_none() {
            case.invalid = match &case.member.shape {
                MemberShape::OneOf(_) => Some(json!("no_such_name")),
                MemberShape::Text(TextFormat::Name) => Some(json!("two words")),
                MemberShape::Text(format) if is_url(*format) => Some(json!("nowhere")),
                MemberShape::Text(TextFormat::Any) | MemberShape::List(_) if !is_given => {
                    panic!("{} has no case", case.member.place)
                }
                _ => None,
            };
        }
        assert!(!case.values.is_empty(), "{} has no case", case.member.place);
        case
    }

    /// Returns the place as errors name it, `routes[1].endpoint`.
    pub(crate) fn place(&self) -> String {
        indexed(&self.member.place, self.entry)
    }

    /// Returns the base with what the member needs, but without the member's own change. It is the
    /// base itself where that needs the member.
    pub(crate) fn before(&self) -> Value {
        let document = self.prepared();
        if parse(&document).is_ok() { document } else { base() }
    }

    /// Returns the base with the member set to a value.
    pub(crate) fn with(&self, value: Value) -> Value {
        let mut document = self.prepared();
        set(&mut document, &self.place(), Some(value));
        document
    }

    /// Returns the base without the member.
    pub(crate) fn without(&self) -> Value {
        let mut document = base();
        set(&mut document, &self.place(), None);
        document
    }

    fn prepared(&self) -> Value {
        let mut document = base();
        for (place, value) in &self.besides {
            set(&mut document, place, value.clone());
        }
        document
    }
}

/// Returns `routes.limit` as `routes[0].limit`, and the place of a list as it is.
pub(crate) fn indexed(place: &str, entry: usize) -> String {
    match place.split_once('.') {
        Some((list @ ("issuers" | "limits" | "resources" | "routes"), rest)) => {
            format!("{list}[{entry}].{rest}")
        }
        _ => place.to_owned(),
    }
}

/// Sets or removes the member at a place, whose table the document must have.
pub(crate) fn set(document: &mut Value, place: &str, value: Option<Value>) {
    let pointer = format!("/{}", place.replace(['.', '['], "/").replace(']', ""));
    let (table, name) = pointer.rsplit_once('/').unwrap();
    let table = document.pointer_mut(table).and_then(Value::as_object_mut);
    let table = table.unwrap_or_else(|| panic!("there is no table for {place}"));
    match value {
        Some(value) => table.insert(name.to_owned(), value),
        None => table.remove(name),
    };
}

/// Returns the policy that the Worker makes of a file: TOML, embedded as JSON, and read again.
pub(crate) fn parse_with(
    document: &Value,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Policy, Vec<ConfigError>> {
    let file = PolicyFile::parse(toml::to_string(document).unwrap()).ok().unwrap();
    Policy::parse(&file.document(), lookup)
}

/// Does the same with the variables of [`variable`].
pub(crate) fn parse(document: &Value) -> Result<Policy, Vec<ConfigError>> {
    parse_with(document, variable)
}

/// Returns all that a policy holds, secrets included, one thing a line.
pub(crate) fn held(policy: &Policy) -> Vec<String> {
    let text = format!("{policy:#?}");
    let secrets = policy.issuers.iter().filter_map(|issuer| issuer.introspection.as_ref());
    let secrets = secrets.map(|introspection| &introspection.client_secret);
    let token = match &policy.store {
        StoreAddress::Rest { token, .. } => Some(token),
        StoreAddress::Memcached(_) => None,
    };
    let secrets = secrets.chain(token).map(|secret| secret.expose().to_owned());
    text.lines().map(|line| line.trim().to_owned()).chain(secrets).collect()
}

/// A part of a case that its shape does not give.
enum Part {
    Entry(usize),
    Value(Value),
    Invalid(Value),
    With(&'static str, Value),
    Without(&'static str),
}

impl Part {
    fn apply(self, case: &mut Case) {
        match self {
            Self::Entry(entry) => case.entry = entry,
            Self::Value(value) => case.values.push(value),
            Self::Invalid(value) => case.invalid = Some(value),
            Self::With(place, value) => case.besides.push((place, Some(value))),
            Self::Without(place) => case.besides.push((place, None)),
        }
    }
}

/// Returns what the shape of a member does not say: a text, a list, or what it needs.
fn given(place: &str) -> Option<Vec<Part>> {
    use Part::{Entry, Invalid, Value as To, With, Without};
    let keys = || serde_json::from_str::<Value>(KEYS).unwrap();
    let shared = [
        ("routes.limit.", "limits."),
        ("routes.cors.", "cors."),
        ("routes.ip_rules.", "ip_rules."),
    ];
    let of_section = |(own, section): (&str, &str)| {
        place.strip_prefix(own).map(|member| format!("{section}{member}"))
    };
    if let Some(place) = shared.into_iter().find_map(of_section) {
        return given(&place);
    }
    Some(match place {
        "accept" => vec![To(json!(["a_risk"]))],
        "assertion.audience" => vec![To(json!("other"))],
        "assertion.field" => vec![To(json!("x-assertion")), Invalid(json!("cookie"))],
        "assertion.issuer" => vec![To(json!("https://other.example"))],
        "cors.expose" => vec![To(json!(["X-Other"])), Invalid(json!(["*"]))],
        "cors.headers" => vec![To(json!(["X-Other"])), Invalid(json!(["two words"]))],
        "cors.methods" => vec![To(json!(["PURGE"])), Invalid(json!(["get"]))],
        "cors.origins" => vec![To(json!(["https://other.example"])), Invalid(json!(["nowhere"]))],
        "identity.claims" => {
            vec![To(json!({ "plan": "x-plan" })), Invalid(json!({ "plan": "cookie" }))]
        }
        "identity.client" | "identity.issuer" | "identity.scope" | "identity.session"
        | "identity.subject" => vec![To(json!("x-other")), Invalid(json!("cookie"))],
        "ip_rules.allow" | "ip_rules.deny" | "ip_rules.unlimited" => {
            vec![To(json!(["198.51.100.0/24"])), Invalid(json!(["nowhere"]))]
        }
        "ip_rules.allow_countries" | "ip_rules.deny_countries" => {
            vec![To(json!(["DE", "T1"])), Invalid(json!(["de"]))]
        }
        "ip_rules.allow_asns" | "ip_rules.deny_asns" => {
            vec![To(json!([64_496])), Invalid(json!([0]))]
        }
        "health.path" => vec![To(json!("/healthz")), Invalid(json!("/a//b"))],
        "issuers.algorithms" => vec![To(json!(["EdDSA", "ES256"])), Invalid(json!(["none"]))],
        "issuers.api_key_prefixes" => {
            vec![To(json!("pck_")), To(json!(["pck_live_", "k_1_"])), Invalid(json!("pck"))]
        }
        "issuers.audience" => {
            vec![To(json!("other")), To(json!(["api", "other"])), Invalid(json!(["api", "api"]))]
        }
        "issuers.authorized_parties" => {
            vec![To(json!(["https://app.example"])), To(json!("app")), Invalid(json!([""]))]
        }
        "issuers.claims" | "issuers.header" => vec![
            To(json!({ "/token_use": "access", "cat": ["a", 1] })),
            Invalid(json!({ "/a~": "x" })),
        ],
        "issuers.claims_forbidden"
        | "issuers.claims_required"
        | "issuers.header_forbidden"
        | "issuers.header_required" => {
            vec![To(json!(["nonce", "/a/b"])), Invalid(json!(["/a~"]))]
        }
        "issuers.events.accept" => {
            vec![To(json!(["security_events"])), Invalid(json!(["other"]))]
        }
        "issuers.events.algorithms" => vec![
            To(json!(["ES256"])),
            Invalid(json!(["none"])),
            With("issuers[0].events.jwks_url", json!("https://issuer.example/events")),
        ],
        "issuers.events.audience" => vec![To(json!("other"))],
        "issuers.events.issuer" => vec![To(json!("https://events.example"))],
        "issuers.introspection.client_id" => vec![To(json!("other"))],
        // The error names the secret, which is missing.
        "issuers.introspection.client_secret_variable" => {
            vec![To(json!("OTHER_SECRET")), Invalid(json!("NO_SUCH_SECRET"))]
        }
        "issuers.introspection.token_prefix" => {
            vec![To(json!("other_")), Invalid(json!("two words"))]
        }
        "issuers.issuer" => {
            vec![To(json!("https://other.example")), To(json!("acme")), Invalid(json!("a{b}"))]
        }
        "issuers.issuer_aliases" => {
            vec![To(json!(["https://other.example"])), Invalid(json!(["{tenant}"]))]
        }
        "issuers.jwks" => {
            let wrong = json!({ "kees": [] });
            vec![To(keys()), Invalid(wrong), Without("issuers[0].jwks_url")]
        }
        "issuers.jwks_variable" => {
            let wrong = json!("NO_SUCH_SECRET");
            vec![To(json!("KEYS")), Invalid(wrong), Without("issuers[0].jwks_url")]
        }
        "issuers.metadata_url" => vec![Without("issuers[0].jwks_url")],
        "issuers.public_key" => {
            vec![To(json!(PUBLIC_KEY)), Invalid(json!("nowhere")), Without("issuers[0].jwks_url")]
        }
        "issuers.tenants" => vec![
            With("issuers[0].issuer", json!("https://issuer.example/{tenant}")),
            Without("issuers[0].events"),
            With("routes[3].access", json!("public")),
            To(json!(["a", "b"])),
            Invalid(json!(["a/b"])),
        ],
        "issuers.scope_claims" => vec![
            To(json!(["scp"])),
            To(json!(["scp", "/realm_access/roles"])),
            Invalid(json!(["/~"])),
        ],
        "metrics.path" => vec![
            With("metrics.interval_seconds", json!(10)),
            To(json!("/metrics")),
            Invalid(json!("metrics")),
        ],
        "limits.algorithm" => {
            vec![To(json!("fixed_window")), To(json!("sliding_window")), To(json!("token_bucket"))]
        }
        "limits.period" => vec![
            With("limits[0].period", json!("day")),
            With("routes[0].limit.period", json!("day")),
            To(json!("month")),
            Without("limits[0].window_seconds"),
            Without("routes[0].limit.window_seconds"),
        ],
        "limits.by" => vec![
            To(json!("route")),
            To(json!(["client", "header:x-a"])),
            To(json!(["key", "country", "asn"])),
            Invalid(json!("everybody")),
        ],
        "limits.lease_seconds" => vec![
            With("limits[0].timing", json!("leased")),
            With("routes[0].limit.timing", json!("leased")),
        ],
        "limits.on_store_outage" => vec![To(json!("deny")), To(json!("allow"))],
        "limits.timing" => vec![To(json!("leased"))],
        "limits.name" => vec![To(json!("other")), With("routes[0].limits", json!(["other"]))],
        "limits.plans.claim" => vec![To(json!("/user/tier")), Invalid(json!("/~"))],
        "limits.plans.quotas" => vec![To(json!({ "basic": 4321 })), Invalid(json!({ "basic": 0 }))],
        "routes.acr_values" => vec![To(json!(["phr", "phrh"])), Invalid(json!(["two words"]))],
        "routes.api_key_header" => {
            let with_keys = With("issuers[0].api_key_prefixes", json!("pck_live_"));
            vec![To(json!("x-api-key")), Invalid(json!("cookie")), with_keys]
        }
        "routes.anonymous_limits" => {
            let optional = With("routes[0].access", json!("optional"));
            vec![To(json!(["spare"])), Invalid(json!(["no_such_limit"])), optional]
        }
        "routes.access" => vec![Entry(2), To(json!("deny")), To(json!("auth"))],
        "routes.assertion_audience" => {
            vec![To(json!("other")), With("routes[0].assertion", json!(true))]
        }
        "routes.claims" => {
            vec![To(json!({ "tenant": "other" })), Invalid(json!({ "tenant": [] }))]
        }
        "routes.cookie" => vec![To(json!("other")), Invalid(json!("a=b"))],
        "routes.cost" => vec![To(json!(3))],
        "routes.endpoint" => vec![Entry(1)],
        "routes.issuers" => {
            let wrong = json!(["https://unknown.example"]);
            vec![To(json!(["https://issuer.example"])), Invalid(wrong)]
        }
        "routes.limits" => vec![To(json!(["spare"])), Invalid(json!(["no_such_limit"]))],
        "routes.methods" => vec![To(json!(["PURGE"])), Invalid(json!(["get"]))],
        "routes.name" => vec![To(json!("other"))],
        "routes.path" => vec![To(json!("/other/*")), Invalid(json!("other"))],
        "resources.audience" => vec![To(json!("other")), To(json!(["other", "more"]))],
        "resources.name" => vec![To(json!("other"))],
        "routes.resource" => vec![To(json!("files")), Invalid(json!("no_such_resource"))],
        "routes.scopes" | "routes.scopes_any" => {
            vec![To(json!(["other"])), Invalid(json!(["two words"]))]
        }
        "store.key_prefix" => vec![To(json!("other"))],
        _ => return None,
    })
}
