//! What a request that passes takes along: where it goes, and the header fields that tell the next
//! server who sent it. Every inbound field that could forge one of these is taken out.

use crate::head::Head;
use crate::jwt::Claims;
use crate::policy::BaseUrl;
use crate::route::{Access, Route};
use std::fmt::Write as _;

/// Leave to forward one request. Only [`crate::Check::decide`] makes one.
#[derive(Debug)]
pub struct Permit<'p> {
    route: &'p Route,
    target: Target<'p>,
    identity: Option<Identity>,
}

/// Where a request goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target<'p> {
    /// The auth service: bounded body, the origin's deadline, no identity.
    Origin(&'p BaseUrl),
    /// The API: the body as a stream, the upstream's deadline.
    Upstream(&'p BaseUrl),
}

/// Who sent the request, as the verified token says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The subject.
    pub subject: String,
    /// The scope, space-separated.
    pub scope: String,
    /// The session, where the token names one.
    pub session: Option<String>,
    /// The client, where the token names one.
    pub client: Option<String>,
}

/// Changes to the header fields on their way through: first the removals, then the additions.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Edits {
    /// Names of inbound fields that do not travel on.
    pub remove: Vec<String>,
    /// Fields that are set.
    pub set: Vec<(&'static str, String)>,
}

/// What every identity field's name begins with.
const IDENTITY_PREFIX: &str = "portcullis-";

impl Identity {
    pub(crate) fn new(claims: &Claims) -> Self {
        Self {
            subject: claims.sub.clone(),
            scope: claims.scope.clone().unwrap_or_default(),
            session: claims.sid.clone(),
            client: claims.client_id.clone(),
        }
    }
}

impl<'p> Permit<'p> {
    pub(crate) fn new(route: &'p Route, target: Target<'p>, identity: Option<Identity>) -> Self {
        Self { route, target, identity }
    }

    /// Where the request goes.
    pub fn target(&self) -> Target<'p> {
        self.target
    }

    /// Whether the answer is for the sender alone. The platform's cache can't tell by itself: it looks for
    /// `Authorization`, which stays at the gate.
    pub fn is_personal(&self) -> bool {
        self.route.access != Access::Public
    }

    /// What changes in the request's header fields.
    pub fn edits(&self, head: &Head<'_>, request_id: &str) -> Edits {
        let websocket = self.route.access != Access::Auth
            && head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        let connection = head.header("connection").unwrap_or_default();
        let listed: Vec<&str> = connection.split(',').take(LISTED_MAX).map(str::trim).collect();
        let mut edits = Edits::default();
        for (name, _) in head.headers() {
            let hop = HOP_BY_HOP.contains(name)
                || listed.iter().any(|listed| listed.eq_ignore_ascii_case(name));
            let keep_hop = websocket && matches!(*name, "upgrade" | "connection");
            let token = *name == "authorization" && self.identity.is_some();
            if is_ours_to_say(name) || token || (hop && !keep_hop) {
                edits.remove.push((*name).to_owned());
            }
        }
        if let Some(address) = head.client_address() {
            edits.set.push(("x-forwarded-for", address.to_string()));
        }
        edits.set.push(("x-forwarded-host", head.host().to_owned()));
        edits.set.push(("x-forwarded-proto", head.scheme().to_owned()));
        edits.set.push(("x-request-id", request_id.to_owned()));
        if let Some(identity) = &self.identity {
            edits.set.push(("portcullis-subject", field_value(&identity.subject)));
            edits.set.push(("portcullis-scope", field_value(&identity.scope)));
            if let Some(session) = &identity.session {
                edits.set.push(("portcullis-session", field_value(session)));
            }
            if let Some(client) = &identity.client {
                edits.set.push(("portcullis-client", field_value(client)));
            }
        }
        edits
    }
}

/// Whether a field says what only the gate may say: who asks, from where, and for what. Names are
/// compared as CGI and its heirs read them, with `_` as `-`.
fn is_ours_to_say(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    let bare = name.strip_prefix("x-").unwrap_or(&name);
    bare.starts_with(IDENTITY_PREFIX)
        || bare.starts_with("forwarded-")
        || OURS_TO_SAY.contains(&bare)
}

/// A claim as a header field's value: visible ASCII and inner spaces stay, every other byte and `%` is
/// percent-encoded, so that no claim can end the field or begin another.
fn field_value(text: &str) -> String {
    let mut value = String::with_capacity(text.len());
    for (place, byte) in text.bytes().enumerate() {
        let edge = place == 0 || place + 1 == text.len();
        if (byte.is_ascii_graphic() && byte != b'%') || (byte == b' ' && !edge) {
            value.push(char::from(byte));
        } else {
            let _ = write!(value, "%{byte:02X}");
        }
    }
    value
}

/// RFC 9110 section 7.6.1, and the fields of the proxies before it.
const HOP_BY_HOP: [&str; 9] = [
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Without their `x-`: what other proxies say of the client, which the gate says anew, once; and fields
/// that make some servers take another path or method than the one that was judged.
const OURS_TO_SAY: [&str; 17] = [
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "client-ip",
    "cluster-client-ip",
    "fastly-client-ip",
    "forwarded",
    "http-method",
    "http-method-override",
    "method-override",
    "original-host",
    "original-uri",
    "original-url",
    "real-ip",
    "request-id",
    "rewrite-url",
    "true-client-ip",
];

/// Most names that are read from a `Connection` field.
const LISTED_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::tests::policy;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    fn identity(subject: &str) -> Identity {
        Identity {
            subject: subject.into(),
            scope: "a b".into(),
            session: Some("sid".into()),
            client: None,
        }
    }

    #[test]
    fn forgeries_and_hop_by_hop_fields_do_not_travel() {
        let policy = policy();
        let removed = |route: usize, headers: Vec<(&str, &str)>| {
            let target = Target::Upstream(&policy.upstream);
            let permit = Permit::new(&policy.routes[route], target, None);
            permit.edits(&Head::new("GET", "https://a.example/", headers), "id").remove
        };
        let (public, auth) = (0, 1);
        for name in [
            "portcullis-subject",
            "portcullis_subject",
            "x-portcullis-subject",
            "x_portcullis_scope",
            "portcullis-anything",
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
            assert_eq!(removed(public, vec![(name, "x")]), [name]);
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
    }

    #[test]
    fn the_identity_is_set_and_the_token_stays_here() {
        let policy = policy();
        let target = Target::Upstream(&policy.upstream);
        let permit = Permit::new(&policy.routes[2], target, Some(identity("al\r\nice")));
        let headers = vec![("authorization", "Bearer x"), ("cf-connecting-ip", "192.0.2.1")];
        let edits = permit.edits(&Head::new("GET", "https://a.example/", headers), "id");
        assert_eq!(edits.remove, ["authorization", "cf-connecting-ip"]);
        assert_eq!(
            edits.set,
            [
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-host", "a.example"),
                ("x-forwarded-proto", "https"),
                ("x-request-id", "id"),
                ("portcullis-subject", "al%0D%0Aice"),
                ("portcullis-scope", "a b"),
                ("portcullis-session", "sid"),
            ]
            .map(|(name, value)| (name, value.to_owned()))
        );
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
}
