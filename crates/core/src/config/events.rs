//! `[issuers.events]`: the events that an issuer pushes, and a route that takes them.

use super::error::ConfigErrorKind;
use super::issuers::{self, algorithms, checked_url};
use super::object::{Number, ObjectReader};
use super::record::{MemberShape, TextFormat};
use super::settings::{SettingsReader, joined_names, named_value};
use crate::jose::algorithm::Algorithm;
use crate::policy::events::{EventFormat, EventPolicy, LogoutEnds};
use crate::policy::issuer::{Issuer, KeyLocation};
use crate::policy::route::{Access, Route};
use serde_json::Value;

/// The table as read, before the issuer is known.
struct EventSettings {
    policy: EventPolicy,
    jwks_url: Option<String>,
    algorithms: Vec<Algorithm>,
}

/// Reads the issuers, and the rules for their events.
pub(super) fn read_with_issuers(
    settings: &mut SettingsReader<'_>,
) -> (Vec<Issuer>, Vec<EventPolicy>) {
    let mut all = Vec::new();
    let issuers = issuers::read(settings, read, |events, object, place, issuer| {
        all.extend(events.and_then(|events| events.complete(object, place, issuer)));
    });
    (issuers, all)
}

/// Reads the table of an issuer. Returns `None` if it is missing or a required member is.
fn read(issuer: &mut ObjectReader<'_, '_>) -> Option<EventSettings> {
    let has_scripts = issuer.settings.has_scripts();
    if issuer.has("events") && !has_scripts {
        issuer.add_error("events", ConfigErrorKind::NotWithMemcached);
    }
    let mut object = issuer.object("events")?;
    object.require(&["accept", "audience"]);
    let (accept, audience) = (formats(&mut object), audience(&mut object));
    let sender = object.nonempty_text("issuer");
    object.record_format("jwks_url", TextFormat::UrlOrBinding);
    let jwks_url = object.text("jwks_url");
    let jwks_url = jwks_url.map(|text| checked_url(&mut object, "jwks_url", text));
    let algorithms = algorithms(&mut object);
    if jwks_url.is_none() && algorithms.as_ref().is_some_and(|all| !all.is_empty()) {
        object.add_error("jwks_url", ConfigErrorKind::Missing);
    }
    let type_required = object.optional_flag("type_required").unwrap_or(true);
    object.record_default("type_required", || true.into());
    let logout_ends = object.one_of_or("logout_ends", &LogoutEnds::NAMES, LogoutEnds::default());
    let emails_are_subjects = object.flag("emails_are_subjects");
    let token_life_seconds_max = object.number_or_default(&TOKEN_LIFE).into();
    object.finish();
    let policy = EventPolicy {
        issuer: 0,
        audience: audience?,
        accept: accept?,
        sender,
        keys: None,
        type_required,
        logout_ends,
        emails_are_subjects,
        token_life_seconds_max,
    };
    Some(EventSettings { policy, jwks_url, algorithms: algorithms? })
}

impl EventSettings {
    /// Returns the rules for the events of `issuer`, which is at `place` in the policy. Adds an
    /// error and returns `None` if no keys can verify them.
    fn complete(
        self,
        object: &mut ObjectReader<'_, '_>,
        place: usize,
        issuer: &Issuer,
    ) -> Option<EventPolicy> {
        let Self { mut policy, jwks_url, algorithms } = self;
        policy.issuer = place;
        if issuer.tenants.is_some() {
            object.add_error("events", ConfigErrorKind::NotA("left out for an issuer of tenants"));
            return None;
        }
        let Some(url) = jwks_url else {
            if issuer.keys.is_none() {
                object.add_error("events.jwks_url", ConfigErrorKind::Missing);
                return None;
            }
            return Some(policy);
        };
        let algorithms = if algorithms.is_empty() { issuer.algorithms.clone() } else { algorithms };
        if algorithms.is_empty() {
            object.add_error("events.algorithms", ConfigErrorKind::Missing);
        }
        policy.keys = Some(Issuer {
            issuer: policy.sender.as_ref().unwrap_or(&issuer.issuer).clone(),
            algorithms,
            keys: Some(KeyLocation::Url(url)),
            ..issuer.clone()
        });
        Some(policy)
    }
}

/// Adds an error if events are accepted and no route takes them, or the other way around, if two
/// issuers have the same sender, and if an access token could pass as an event.
pub(super) fn check(
    settings: &mut SettingsReader<'_>,
    events: &[EventPolicy],
    issuers: &[Issuer],
    routes: &[Route],
) {
    if settings.has_error("issuers") || settings.has_error("routes") {
        return;
    }
    let sender = |rules: &EventPolicy| {
        let own = issuers.get(rules.issuer).map(|issuer| issuer.issuer.clone());
        rules.sender.clone().or(own)
    };
    let takes = |rules: &EventPolicy, iss: &str| match &rules.sender {
        Some(own) => own == iss,
        None => issuers.get(rules.issuer).is_some_and(|own| own.accepts(iss)),
    };
    for (at, rules) in events.iter().enumerate() {
        let meets = |one: &EventPolicy, other: &EventPolicy| {
            sender(other).is_some_and(|iss| takes(one, &iss))
        };
        if events.iter().take(at).any(|earlier| meets(earlier, rules) || meets(rules, earlier)) {
            let place = format!("issuers[{}].events.issuer", rules.issuer);
            settings.add_error(place, ConfigErrorKind::Duplicate);
        }
        // The subject of a global revocation is not signed. Without its type, an access token for
        // the same audience would pass as one.
        let own = issuers.get(rules.issuer);
        let audiences = own.into_iter().flat_map(|own| {
            own.audiences.iter().chain(own.resources.iter().flat_map(|(_, audiences)| audiences))
        });
        if !rules.type_required
            && rules.accept.contains(&EventFormat::GlobalRevocation)
            && audiences.into_iter().any(|audience| rules.audience.contains(audience))
        {
            let place = format!("issuers[{}].events.audience", rules.issuer);
            let expected = "an audience that no access token has, without type_required = true";
            settings.add_error(place, ConfigErrorKind::NotA(expected));
        }
    }
    let route = routes.iter().position(|route| route.access == Access::Events);
    match (events.first(), route) {
        (Some(events), None) => {
            let place = format!("issuers[{}].events", events.issuer);
            settings.add_error(place, ConfigErrorKind::EventsIncomplete);
        }
        (None, Some(at)) => {
            settings.add_error(format!("routes[{at}].access"), ConfigErrorKind::EventsIncomplete);
        }
        (Some(_), Some(_)) | (None, None) => {}
    }
}

/// Reads the accepted formats.
fn formats(object: &mut ObjectReader<'_, '_>) -> Option<Vec<EventFormat>> {
    let names = || EventFormat::NAMES.iter().map(|(name, _)| (*name).to_owned()).collect();
    object.record("accept", || MemberShape::List(Box::new(MemberShape::OneOf(names()))));
    let texts = object.texts("accept")?;
    if texts.is_empty() {
        object.add_error("accept", ConfigErrorKind::Empty);
    }
    let mut formats = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        match named_value(text, &EventFormat::NAMES) {
            Some(format) => formats.push(format),
            None => {
                let names = joined_names(&EventFormat::NAMES);
                object.add_error(&format!("accept[{at}]"), ConfigErrorKind::NotOneOf(names));
            }
        }
    }
    Some(formats)
}

/// Reads the audience: a text, or a list of texts.
fn audience(object: &mut ObjectReader<'_, '_>) -> Option<Vec<String>> {
    let text = || Box::new(MemberShape::Text(TextFormat::Nonempty));
    let texts = match object.value("audience", || MemberShape::OneOrMore(text()))? {
        Value::Array(values) => values,
        value => vec![value],
    };
    let texts: Option<Vec<String>> =
        texts.into_iter().map(|text| text.as_str().map(str::to_owned)).collect();
    match &texts {
        None => object.add_error("audience", ConfigErrorKind::NotA("a text or a list of texts")),
        Some(texts) if texts.is_empty() || texts.iter().any(String::is_empty) => {
            object.add_error("audience", ConfigErrorKind::Empty);
        }
        Some(_) => {}
    }
    texts
}

/// The longest life that the bundled auth service gives its tokens, and more than the greatest
/// leeway. At most 31 days.
const TOKEN_LIFE: Number =
    Number { name: "token_life_seconds_max", min: 60, max: 2_678_400, default: 86_760 };

#[cfg(test)]
mod tests {
    use crate::config::fixtures::error_names;
    use serde_json::{Value, json};
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    /// Returns the names of the errors of a policy with these events and this route.
    fn errors(events: &Value, route: &Value, more: &[(&str, &str)]) -> Vec<String> {
        let mut issuer = json!({ "issuer": "https://issuer.example", "audience": "api",
            "algorithms": ["EdDSA"], "jwks_url": "https://issuer.example/jwks" });
        if !events.is_null() {
            issuer["events"] = events.clone();
        }
        let mut routes = vec![json!({ "name": "api", "path": "/api", "access": "protected" })];
        if !route.is_null() {
            let mut all = json!({ "name": "events", "path": "/events", "access": "events" });
            all.as_object_mut().unwrap().extend(route.as_object().unwrap().clone());
            routes.push(all);
        }
        let (issuers, routes) = (json!([issuer]).to_string(), json!(routes).to_string());
        let mut changes = vec![("issuers", issuers.as_str()), ("routes", routes.as_str())];
        changes.extend(more);
        error_names(&changes)
    }

    #[test]
    fn events_and_their_route_need_each_other_and_scripts() {
        let (events, route) = (json!({ "accept": ["logout"], "audience": "edge" }), json!({}));
        let none = Value::Null;
        assert_eq!(errors(&events, &route, &[]), [""; 0]);
        assert_eq!(errors(&none, &none, &[]), [""; 0]);
        assert_eq!(errors(&events, &none, &[]), ["issuers[0].events"]);
        assert_eq!(errors(&none, &route, &[]), ["routes[1].access"]);
        let memcached = [("store.url", "memcached://m.example:11211")];
        assert_eq!(errors(&events, &route, &memcached), ["issuers[0].events"]);
    }

    #[test]
    fn events_table_is_checked() {
        let check = |changes: Value, expect: &[&str]| {
            let mut events = json!({ "accept": ["logout"], "audience": "edge" });
            events.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let names: Vec<String> =
                expect.iter().map(|name| format!("issuers[0].{name}")).collect();
            assert_eq!(errors(&events, &json!({}), &[]), names, "{changes}");
        };
        check(json!({ "audience": ["a", "b"] }), &[]);
        check(json!({ "audience": [] }), &["events.audience"]);
        check(json!({ "audience": ["a", ""] }), &["events.audience"]);
        check(json!({ "audience": [7] }), &["events.audience"]);
        check(json!({ "accept": [] }), &["events.accept"]);
        check(json!({ "accept": ["login"] }), &["events.accept[0]"]);
        check(json!({ "accept": null }), &["events.accept"]);
        check(json!({ "algorithms": ["ES256"] }), &["events.jwks_url"]);
        let url = "https://issuer.example/events";
        check(json!({ "algorithms": ["ES256"], "jwks_url": url }), &[]);
        check(json!({ "jwks_url": url }), &[]);
        check(json!({ "jwks_url": "nowhere" }), &["events.jwks_url"]);
        check(json!({ "issuer": "" }), &["events.issuer"]);
        let global = |audience: &str, type_required: bool| {
            json!({ "accept": ["global_revocation"], "audience": audience,
                "type_required": type_required })
        };
        check(global("api", false), &["events.audience"]);
        check(global("api", true), &[]);
        check(global("edge", false), &[]);
        check(json!({ "token_life_seconds_max": 59 }), &["events.token_life_seconds_max"]);
    }

    #[test]
    fn two_issuers_have_different_senders() {
        let issuer = |name: &str, sender: Option<&str>| {
            let mut events = json!({ "accept": ["logout"], "audience": "edge" });
            if let Some(sender) = sender {
                events["issuer"] = sender.into();
            }
            json!({ "issuer": name, "audience": "api", "algorithms": ["EdDSA"],
                "jwks_url": "https://i.example/jwks", "events": events })
        };
        let routes = json!([{ "name": "events", "path": "/e", "access": "events" }]).to_string();
        for (one, two, is_good) in [
            (None, None, true),
            (Some("https://org.example"), None, true),
            (Some("https://org.example"), Some("https://org.example"), false),
            (Some("https://b.example"), None, false),
        ] {
            let issuers = [issuer("https://a.example", one), issuer("https://b.example", two)];
            let issuers = json!(issuers).to_string();
            let found = error_names(&[("issuers", &issuers), ("routes", &routes)]);
            let expect: &[&str] = if is_good { &[] } else { &["issuers[1].events.issuer"] };
            assert_eq!(found, expect, "{one:?} {two:?}");
        }
    }

    #[test]
    fn opaque_issuer_needs_keys_for_its_events() {
        let issuers = |events: Value| {
            let introspection = json!({ "url": "https://i.example/i", "client_id": "c",
                "client_secret_variable": "SECRET" });
            json!([{ "issuer": "https://i.example", "audience": "api",
                "introspection": introspection, "events": events }])
            .to_string()
        };
        let routes = json!([{ "name": "events", "path": "/e", "access": "events" }]).to_string();
        let errors = |events: Value| {
            let issuers = issuers(events);
            error_names(&[("issuers", &issuers), ("routes", &routes), ("SECRET", "s")])
        };
        let url = "https://i.example/jwks";
        let plain = json!({ "accept": ["logout"], "audience": "edge" });
        assert_eq!(errors(plain.clone()), ["issuers[0].events.jwks_url"]);
        let mut with = plain;
        with["jwks_url"] = url.into();
        assert_eq!(errors(with.clone()), ["issuers[0].events.algorithms"]);
        with["algorithms"] = json!(["ES256"]);
        assert_eq!(errors(with), [""; 0]);
    }

    #[test]
    fn events_route_takes_few_members() {
        let events = json!({ "accept": ["logout"], "audience": "edge" });
        let limit = json!({ "quota": 5, "window_seconds": 1, "by": "address" });
        let good = json!({ "methods": ["POST"], "limit": limit, "cost": 2, "ip_rules": {},
            "suffixes": "distinct" });
        assert_eq!(errors(&events, &good, &[]), [""; 0]);
        for (member, value) in [
            ("methods", json!(["POST", "GET"])),
            ("cors", json!({ "origins": ["*"] })),
            ("enforce", json!(false)),
            ("timeout_ms", json!(5)),
            ("upstream", json!("https://u.example")),
            ("endpoint", json!("token")),
            ("scopes", json!(["a"])),
            ("issuers", json!(["https://issuer.example"])),
            ("require", json!("not_revoked")),
            ("cookie", json!("c")),
            ("forward_token", json!(true)),
        ] {
            let found = errors(&events, &json!({ member: value }), &[]);
            assert_eq!(found, [format!("routes[1].{member}")], "{member}");
        }
    }
}
