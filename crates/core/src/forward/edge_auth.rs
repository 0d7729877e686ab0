//! The edge's statement about a client, as header fields for the auth service.

use super::headers::connection_names;
use super::permit::{Permit, Target};
use crate::edge_auth::{EDGE_ADDRESS_FIELD, EDGE_AUTH_FIELD, EdgeStatement};
use crate::request::client_address::client_address;
use crate::request::head::RequestHead;
use crate::time::UnixSeconds;

impl Permit<'_> {
    /// Returns the fields with the client's address and the proof that the edge states it. Returns
    /// none for an upstream, or without a key.
    pub fn edge_auth_fields(
        &self,
        head: &RequestHead<'_>,
        country: &str,
        request_id: &str,
        now: UnixSeconds,
    ) -> Vec<(&'static str, String)> {
        let (Target::Auth(_), Some(key)) = (self.target, &self.policy.edge_auth_key) else {
            return Vec::new();
        };
        let address = client_address(head, self.policy.trusted_proxy_hops);
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let device = head.header("user-agent").unwrap_or_default();
        // A field that the client lists in `Connection` is not forwarded.
        let removes_device =
            connection_names(head).any(|name| name.eq_ignore_ascii_case("user-agent"));
        let statement = EdgeStatement {
            method: head.method(),
            path: head.path(),
            address: &address,
            country,
            device: if removes_device { "" } else { device },
            request_id,
        };
        let Some(mac) = key.sign(&statement, now) else { return Vec::new() };
        let mut fields = vec![(EDGE_AUTH_FIELD, mac)];
        if !address.is_empty() {
            fields.push((EDGE_ADDRESS_FIELD, address));
        }
        fields
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::fixtures::policy_with;
    use crate::edge_auth::{EdgeAuthKey, EdgeAuthKeys};
    use crate::forward::permit::Degraded;
    use crate::policy::Policy;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const NOW: UnixSeconds = UnixSeconds(1_700_000_000);
    const KEY: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn fields(policy: &Policy, target: Target<'_>) -> Vec<(&'static str, String)> {
        fields_with(policy, target, "keep-alive")
    }

    fn fields_with(
        policy: &Policy,
        target: Target<'_>,
        connection: &str,
    ) -> Vec<(&'static str, String)> {
        let headers = vec![
            ("cf-connecting-ip", "192.0.2.1"),
            ("connection", connection),
            ("portcullis-edge-auth", "forged"),
            ("user-agent", "Mozilla/5.0"),
        ];
        let head = RequestHead::new("POST", "https://a.example/auth/login?x=1", headers);
        let route = &policy.routes[1];
        let degraded = Degraded::default();
        let permit = Permit { route, target, policy, verified: None, cacheable: false, degraded };
        permit.edge_auth_fields(&head, "DE", "id", NOW)
    }

    #[test]
    fn only_the_auth_service_receives_the_edges_statement() {
        let policy = policy_with(&[("EDGE_AUTH_KEY", KEY)]);
        let sent = fields(&policy, Target::Auth(policy.auth.as_ref().unwrap()));
        let [(EDGE_AUTH_FIELD, mac), (EDGE_ADDRESS_FIELD, address)] = sent.as_slice() else {
            panic!("{sent:?}");
        };
        let statement = EdgeStatement {
            method: "POST",
            path: "/auth/login",
            address,
            country: "DE",
            device: "Mozilla/5.0",
            request_id: "id",
        };
        let keys = EdgeAuthKeys { current: EdgeAuthKey::parse(KEY).unwrap(), previous: None };
        assert_eq!((keys.verify(mac, &statement, NOW), address.as_str()), (Ok(()), "192.0.2.1"));
        // If the client omits a field, the edge does not state it either.
        let sent =
            fields_with(&policy, Target::Auth(policy.auth.as_ref().unwrap()), "close, User-Agent");
        let nameless = EdgeStatement { device: "", ..statement };
        assert_eq!(keys.verify(&sent[0].1, &nameless, NOW), Ok(()));
        // Of a long list, only the first names count: the edge forwards the others.
        let long = format!("{}user-agent", "a,".repeat(32));
        let sent = fields_with(&policy, Target::Auth(policy.auth.as_ref().unwrap()), &long);
        assert_eq!(keys.verify(&sent[0].1, &statement, NOW), Ok(()));
        assert_eq!(fields(&policy, Target::Upstream(&policy.upstream)), []);
        let without = policy_with(&[]);
        assert_eq!(fields(&without, Target::Auth(without.auth.as_ref().unwrap())), []);
    }
}
