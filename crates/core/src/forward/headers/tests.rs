use super::*;
use crate::config::fixtures::{error_names, policy, policy_with};
use crate::forward::permit::{Degraded, Target};
use crate::policy::Policy;
use crate::policy::fixtures::issuer;
use crate::policy::path::Pattern;
use crate::store::keys::StoreKeys;
use crate::token::record::TokenRecord;
use crate::token::verified::VerifiedToken;
use crate::token_hash::TokenHash;
use std::rc::Rc;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn verified(subject: &str) -> Option<Rc<VerifiedToken>> {
    let record = TokenRecord {
        sub: subject.into(),
        scope: "a b".into(),
        sid: Some("sid".into()),
        aud: Some("api".into()),
        others: serde_json::from_str(r#"{"tenant":"acme","roles":["a","b"]}"#).unwrap(),
        ..TokenRecord::default()
    };
    let claims = record.claims(&issuer()).unwrap();
    let keys = StoreKeys::new(StoreKeys::PREFIX);
    Some(Rc::new(VerifiedToken::new(&keys, TokenHash::of("token"), 0, claims)))
}

fn permit(policy: &Policy, route: usize, verified: Option<Rc<VerifiedToken>>) -> Permit<'_> {
    let (route, target) = (&policy.routes[route], Target::Upstream(&policy.upstream));
    Permit { route, target, policy, verified, cacheable: true, degraded: Degraded::default() }
}

fn edits<'p>(
    policy: &'p Policy,
    route: usize,
    verified: Option<Rc<VerifiedToken>>,
    headers: Vec<(&'p str, &'p str)>,
) -> HeaderEdits<'p> {
    let head = RequestHead::new("GET", "https://a.example/", headers);
    permit(policy, route, verified).header_edits(&head, REQUEST_ID)
}

fn value<'e>(edits: &'e HeaderEdits<'_>, name: &str) -> Option<&'e str> {
    edits.set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.as_str())
}

const REQUEST_ID: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

#[test]
fn spoofable_and_hop_by_hop_headers_are_removed() {
    let policy =
        policy_with(&[("identity", r#"{"subject":"x-user","claims":{"tenant":"tenant-id"}}"#)]);
    let removed = |route, headers| edits(&policy, route, None, headers).remove;
    let (public, auth) = (0, 1);
    for name in [
        "portcullis-subject",
        "portcullis_subject",
        "portcullis.subject",
        "portcullis~scope",
        "portcullis!#$%&'*+^`|session",
        "x.portcullis.subject",
        "x-portcullis-subject",
        "x_portcullis_scope",
        "portcullis-anything",
        "portcullis-assertion",
        "x-user",
        "X_User",
        "tenant-id",
        "tenant_id",
        "tenant.id",
        "x.user",
        "x-forwarded.for",
        "x.forwarded.host",
        "x-http.method~override",
        "x-forwarded-for",
        "forwarded",
        "x-request-id",
        "keep-alive",
        "transfer-encoding",
        "proxy-authorization",
        "cf-connecting-ip",
        "x_forwarded_for",
        "x-forwarded-prefix",
        "x-original-url",
        "x-http-method-override",
        "SCRIPT_NAME",
        "x-script-name",
        "Path.Info",
        "x-scheme",
        "proxy",
        "remote-user",
        "x-sendfile-type",
        "x-accel-mapping",
    ] {
        let edits = edits(&policy, public, None, vec![(name, "x")]);
        assert!(edits.remove == [name] || value(&edits, name).is_some_and(|value| value != "x"));
    }
    assert_eq!(removed(public, vec![("accept", "*/*"), ("authorization", "Basic x")]), [""; 0]);
    assert_eq!(
        removed(auth, vec![("x-a", "1"), ("connection", "close, X-A")]),
        ["x-a", "connection"]
    );
    let upgrade = || vec![("connection", "Upgrade"), ("upgrade", "websocket")];
    assert_eq!(removed(public, upgrade()), [""; 0]);
    assert_eq!(removed(auth, upgrade()), ["connection", "upgrade"]);
    assert_eq!(removed(public, vec![("upgrade", "h2c")]), ["upgrade"]);
    let permit = permit(&policy, public, None);
    let head = RequestHead::new("OPTIONS", "https://a.example/", upgrade());
    assert_eq!(permit.header_edits(&head, REQUEST_ID).remove, ["connection", "upgrade"]);
}

#[test]
fn identity_headers_are_set_and_the_token_is_removed() {
    let policy = policy();
    let headers = vec![("authorization", "Bearer x"), ("cf-connecting-ip", "192.0.2.1")];
    let edits = edits(&policy, 2, verified("al\r\nice"), headers);
    assert_eq!(edits.remove, ["authorization", "cf-connecting-ip"]);
    assert_eq!(
        edits.set,
        [
            ("x-forwarded-for", "192.0.2.1"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", REQUEST_ID),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-8448eb211c80319c-00"),
            ("portcullis-subject", "al%0D%0Aice"),
            ("portcullis-scope", "a b"),
            ("portcullis-session", "sid"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    );
}

#[test]
fn unchanged_headers_are_not_rewritten() {
    let policy = policy_with(&[]);
    let headers = |address| vec![("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", address)];
    let same = edits(&policy, 2, verified("alice"), headers("192.0.2.1"));
    assert_eq!(
        (same.remove.as_slice(), value(&same, "x-forwarded-for")),
        (&["cf-connecting-ip"][..], None)
    );
    let other = edits(&policy, 2, verified("alice"), headers("192.0.2.1, 192.0.2.2"));
    assert_eq!(value(&other, "x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn identity_headers_have_the_configured_names() {
    let policy = policy_with(&[(
        "identity",
        r#"{"subject":"x-user","claims":{"tenant":"tenant-id","roles":"roles","none":"none"}}"#,
    )]);
    let edits = edits(&policy, 2, verified("alice"), Vec::new());
    assert_eq!(value(&edits, "x-user"), Some("alice"));
    assert_eq!(value(&edits, "portcullis-subject"), None);
    assert_eq!(value(&edits, "portcullis-scope"), Some("a b"));
    assert_eq!(value(&edits, "tenant-id"), Some("acme"));
    assert_eq!(value(&edits, "roles"), Some(r#"["a","b"]"#));
    assert_eq!(value(&edits, "none"), None);
    for name in ["Host", "host", "cookie", "x-forwarded-for", "content-type", "te", "a b", ""] {
        let fields = format!(r#"{{"subject":"{name}"}}"#);
        let faults = error_names(&[("identity", &fields)]);
        assert_eq!(faults, ["identity.subject"], "{name}");
    }
    let twice = r#"{"subject":"x-user","scope":"x-user"}"#;
    assert_eq!(error_names(&[("identity", twice)]), ["identity.scope"]);
}

#[test]
fn token_is_forwarded_only_when_the_route_says_so() {
    let mut policy = policy();
    let headers = || vec![("authorization", "Bearer x"), ("cookie", "a=1; token=x;b=2")];
    policy.routes[2].cookie = Some("token".into());
    let stripped = edits(&policy, 2, verified("alice"), headers());
    assert_eq!(stripped.remove, ["authorization"]);
    assert_eq!(value(&stripped, "cookie"), Some("a=1; b=2"));
    let alone = edits(&policy, 2, verified("alice"), vec![("cookie", "token=x")]);
    assert_eq!((alone.remove, alone.set.len()), (vec!["cookie"], 7));
    let other = edits(&policy, 2, verified("alice"), vec![("cookie", "xtoken=x")]);
    assert!(other.remove.is_empty() && value(&other, "cookie").is_none());
    // A public route's upstream does not receive another route's token. The auth service may need
    // it.
    assert_eq!(edits(&policy, 0, None, vec![("cookie", "token=x")]).remove, ["cookie"]);
    assert_eq!(edits(&policy, 1, None, vec![("cookie", "token=x")]).remove, [""; 0]);
    policy.routes[2].forward_token = true;
    let passed = edits(&policy, 2, verified("alice"), headers());
    assert!(passed.remove.is_empty() && value(&passed, "cookie").is_none());
}

#[test]
fn sessions_of_the_console_reach_the_console_alone() {
    let mut policy = policy();
    let field = "a=1; __Host-console=x; console=y;consoles=2; portcullis=3";
    let cookie = |policy: &Policy, route| {
        let edits = edits(policy, route, None, vec![("cookie", field)]);
        value(&edits, "cookie").unwrap_or(field).to_owned()
    };
    for route in 0..policy.routes.len() {
        assert_eq!(cookie(&policy, route), "a=1; console=y; consoles=2; portcullis=3", "{route}");
    }
    let alone = edits(&policy, 1, None, vec![("cookie", "__Host-console=x")]);
    assert!(alone.remove.contains(&"cookie"));
    for (pattern, passes) in [
        ("/console/*", true),
        ("/console", true),
        ("/consoles/*", false),
        ("/{any}/console", false),
        ("/*", false),
    ] {
        policy.routes[0].pattern = Pattern::parse(pattern).unwrap();
        assert_eq!(cookie(&policy, 0) == field, passes, "{pattern}");
    }
}

#[test]
fn trace_continues_or_begins() {
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let policy = policy();
    let check = |traceparent: &str, continues: bool| {
        let headers = vec![("traceparent", traceparent), ("tracestate", "a=1")];
        let edits = edits(&policy, 0, None, headers);
        assert_eq!(value(&edits, "traceparent").is_none(), continues, "{traceparent}");
        assert_eq!(edits.remove.is_empty(), continues, "{traceparent}");
    };
    check(GOOD, true);
    check(&format!("cc{}-what-comes", &GOOD[2..]), true);
    for bad in [
        "",
        "00",
        &GOOD.to_uppercase(),
        &format!("{GOOD}, {GOOD}"),
        &format!("{GOOD}-x"),
        &format!("ff{}", &GOOD[2..]),
        &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
        &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
        &GOOD[..54],
        &format!("cc{}-{}", &GOOD[2..], "x".repeat(256)),
    ] {
        check(bad, false);
    }
}

/// Two issuers may use the same subject for different callers.
#[test]
fn upstream_receives_the_issuer_if_there_are_several() {
    let issuer = |name: &str| {
        format!(
            r#"{{"issuer":"{name}","audience":"api","algorithms":["EdDSA"],"jwks_url":"https://a/k"}}"#
        )
    };
    let (own, partner) = (issuer("https://issuer.example"), issuer("https://partner.example"));
    let two = format!("[{own},{partner}]");
    let shown = |changes: &[(&str, &str)], field: &str| {
        let policy = policy_with(changes);
        let headers = vec![("portcullis-issuer", "https://forged.example")];
        let edits = edits(&policy, 2, verified("alice"), headers);
        assert_ne!(value(&edits, field), Some("https://forged.example"));
        assert!(
            !edits.set.is_empty()
                && (field != "portcullis-issuer"
                    || !edits.remove.is_empty()
                    || value(&edits, field).is_some())
        );
        value(&edits, field).map(str::to_owned)
    };
    let expect = Some("https://issuer.example".to_owned());
    assert_eq!(shown(&[("issuers", &two)], "portcullis-issuer"), expect);
    assert_eq!(shown(&[], "portcullis-issuer"), None);
    let tenants = format!("[{}]", issuer("https://login.example/{tenant}/"));
    assert_eq!(shown(&[("issuers", &tenants)], "portcullis-issuer"), expect);
    let named = [("identity", r#"{"issuer":"x-issuer"}"#)];
    assert_eq!(shown(&named, "x-issuer"), expect);
}

/// A client may have the same name as a user.
#[test]
fn client_without_a_subject_gets_no_subject_header() {
    let policy = policy();
    let record = TokenRecord {
        client_id: Some("alice".into()),
        aud: Some("api".into()),
        ..TokenRecord::default()
    };
    let claims = record.claims(&issuer()).unwrap();
    let keys = StoreKeys::new(StoreKeys::PREFIX);
    let token = VerifiedToken::new(&keys, TokenHash::of("token"), 0, claims);
    let edits = edits(&policy, 2, Some(Rc::new(token)), vec![("portcullis-subject", "alice")]);
    assert_eq!(value(&edits, "portcullis-subject"), None);
    assert_eq!(value(&edits, "portcullis-client"), Some("alice"));
    assert_eq!(edits.remove, ["portcullis-subject"]);
}
