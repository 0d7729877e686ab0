use super::*;
use crate::config::fixtures::{error_names, policy, policy_with};
use crate::session::TokenRecord;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

fn holder(subject: &str) -> Option<Rc<VerifiedToken>> {
    let record = TokenRecord {
        sub: subject.into(),
        scope: "a b".into(),
        sid: Some("sid".into()),
        others: serde_json::from_str(r#"{"tenant":"acme","roles":["a","b"]}"#).unwrap(),
        ..TokenRecord::default()
    };
    Some(Rc::new(VerifiedToken::of(record, "https://issuer.example")))
}

fn edits<'p>(
    policy: &'p Policy,
    route: usize,
    holder: Option<Rc<VerifiedToken>>,
    headers: Vec<(&'p str, &'p str)>,
) -> HeaderEdits<'p> {
    let target = Target::Upstream(&policy.upstream);
    let permit =
        Permit::new(&policy.routes[route], target, policy, holder, true, Degraded::default());
    permit.header_edits(&RequestHead::new("GET", "https://a.example/", headers), REQUEST_ID)
}

fn value<'e>(edits: &'e HeaderEdits<'_>, name: &str) -> Option<&'e str> {
    edits.set.iter().find(|(set, _)| *set == name).map(|(_, value)| value.as_str())
}

const REQUEST_ID: &str = "0af76519-16cd-43dd-8448-eb211c80319c";

#[test]
fn forgeries_and_hop_by_hop_fields_do_not_travel() {
    let policy = policy_with(&[(
        "IDENTITY_FIELDS",
        r#"{"subject":"x-user","claims":{"tenant":"tenant-id"}}"#,
    )]);
    let removed = |route, headers| edits(&policy, route, None, headers).remove;
    let (public, auth) = (0, 1);
    for name in [
        "portcullis-subject",
        "portcullis_subject",
        "x-portcullis-subject",
        "x_portcullis_scope",
        "portcullis-anything",
        "portcullis-assertion",
        "x-user",
        "X_User",
        "tenant-id",
        "tenant_id",
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
    let target = Target::Upstream(&policy.upstream);
    let permit =
        Permit::new(&policy.routes[public], target, &policy, None, true, Degraded::default());
    let head = RequestHead::new("OPTIONS", "https://a.example/", upgrade());
    assert_eq!(permit.header_edits(&head, REQUEST_ID).remove, ["connection", "upgrade"]);
}

#[test]
fn the_identity_is_set_and_the_token_stays_here() {
    let policy = policy();
    let headers = vec![("authorization", "Bearer x"), ("cf-connecting-ip", "192.0.2.1")];
    let edits = edits(&policy, 2, holder("al\r\nice"), headers);
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
fn what_is_as_it_is_to_be_is_not_touched() {
    let policy = policy_with(&[]);
    let headers = |address| vec![("cf-connecting-ip", "192.0.2.1"), ("x-forwarded-for", address)];
    let same = edits(&policy, 2, holder("alice"), headers("192.0.2.1"));
    assert_eq!(
        (same.remove.as_slice(), value(&same, "x-forwarded-for")),
        (&["cf-connecting-ip"][..], None)
    );
    let other = edits(&policy, 2, holder("alice"), headers("192.0.2.1, 192.0.2.2"));
    assert_eq!(value(&other, "x-forwarded-for"), Some("192.0.2.1"));
}

#[test]
fn identity_fields_have_the_names_that_were_chosen() {
    let policy = policy_with(&[(
        "IDENTITY_FIELDS",
        r#"{"subject":"x-user","claims":{"tenant":"tenant-id","roles":"roles","none":"none"}}"#,
    )]);
    let edits = edits(&policy, 2, holder("alice"), Vec::new());
    assert_eq!(value(&edits, "x-user"), Some("alice"));
    assert_eq!(value(&edits, "portcullis-subject"), None);
    assert_eq!(value(&edits, "portcullis-scope"), Some("a b"));
    assert_eq!(value(&edits, "tenant-id"), Some("acme"));
    assert_eq!(value(&edits, "roles"), Some(r#"["a","b"]"#));
    assert_eq!(value(&edits, "none"), None);
    for name in ["Host", "host", "cookie", "x-forwarded-for", "content-type", "te", "a b", ""] {
        let fields = format!(r#"{{"subject":"{name}"}}"#);
        let faults = error_names(&[("IDENTITY_FIELDS", &fields)]);
        assert_eq!(faults, [format!("IDENTITY_FIELDS: {name}")]);
    }
    let twice = r#"{"subject":"x-user","scope":"x-user"}"#;
    assert_eq!(error_names(&[("IDENTITY_FIELDS", twice)]), ["IDENTITY_FIELDS: x-user"]);
}

#[test]
fn a_route_decides_whether_the_token_travels() {
    let mut policy = policy();
    let headers = || vec![("authorization", "Bearer x"), ("cookie", "a=1; token=x;b=2")];
    policy.routes[2].cookie = Some("token".into());
    let stripped = edits(&policy, 2, holder("alice"), headers());
    assert_eq!(stripped.remove, ["authorization"]);
    assert_eq!(value(&stripped, "cookie"), Some("a=1; b=2"));
    let alone = edits(&policy, 2, holder("alice"), vec![("cookie", "token=x")]);
    assert_eq!((alone.remove, alone.set.len()), (vec!["cookie"], 7));
    let other = edits(&policy, 2, holder("alice"), vec![("cookie", "xtoken=x")]);
    assert!(other.remove.is_empty() && value(&other, "cookie").is_none());
    // A public route's upstream is not sent another route's token; the auth service may need it.
    assert_eq!(edits(&policy, 0, None, vec![("cookie", "token=x")]).remove, ["cookie"]);
    assert_eq!(edits(&policy, 1, None, vec![("cookie", "token=x")]).remove, [""; 0]);
    policy.routes[2].forward_token = true;
    let passed = edits(&policy, 2, holder("alice"), headers());
    assert!(passed.remove.is_empty() && value(&passed, "cookie").is_none());
}

#[test]
fn a_trace_goes_on_or_begins() {
    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let policy = policy();
    let check = |given: &str, goes_on: bool| {
        let headers = vec![("traceparent", given), ("tracestate", "a=1")];
        let edits = edits(&policy, 0, None, headers);
        assert_eq!(value(&edits, "traceparent").is_none(), goes_on, "{given}");
        assert_eq!(edits.remove.is_empty(), goes_on, "{given}");
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

#[test]
fn a_claim_can_not_break_out_of_its_field() {
    fn check(text: &str, expect: &str) {
        assert_eq!(field_value(text), expect);
    }
    check("alice", "alice");
    check("a b", "a b");
    check(" a ", "%20a%20");
    check("100%", "100%25");
    check("\u{e9}\0", "%C3%A9%00");
}

#[test]
fn the_edges_token_may_say_that_a_session_was_seen() {
    use sha1::Digest as _;
    let hash: String =
        sha1::Sha1::digest(TOUCH_SCRIPT).iter().map(|byte| format!("{byte:02x}")).collect();
    let tokens = include_str!("../../../../docs/redis-gateway-tokens.toml");
    assert!(tokens.contains(&hash), "{hash}");
}
