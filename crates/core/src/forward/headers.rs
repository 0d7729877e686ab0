//! The changes to a forwarded request's header fields. Every inbound field that could forge one of
//! the edge's own is removed or overwritten.

use super::permit::Permit;
use super::traceparent::{is_traceparent, traceparent};
use crate::policy::route::Access;
use crate::request::client_address::client_address;
use crate::request::cookie::{CONSOLE_COOKIE, REFRESH_COOKIE};
use crate::request::field_names::{HOP_BY_HOP, IDENTITY_PREFIX, SPOOFABLE};
use crate::request::head::RequestHead;
use std::borrow::Cow;

/// The changes to a request's header fields.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct HeaderEdits<'a> {
    /// The names of inbound fields to remove. None of them is in `set`.
    pub remove: Vec<&'a str>,
    /// The fields to set.
    pub set: Vec<(&'a str, String)>,
}

impl<'p> Permit<'p> {
    /// Returns the changes to the request's header fields: hop-by-hop fields (RFC 9110 section
    /// 7.6.1) and forged identities are removed, and the identity of the caller is set.
    pub fn header_edits<'a>(&self, head: &RequestHead<'a>, request_id: &str) -> HeaderEdits<'a>
    where
        'p: 'a,
    {
        // The platform opens a WebSocket with GET, whatever the method was, so other methods don't
        // count.
        let websocket = self.route.access != Access::Auth
            && head.method() == "GET"
            && head.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket"));
        let listed: Vec<&str> = connection_names(head).collect();
        let trace = head.header("traceparent").filter(|text| is_traceparent(text));
        let strips = self.verified.is_some() && !self.route.keeps_token();
        let mut edits = HeaderEdits::default();
        for (name, value) in head.headers() {
            let hop = HOP_BY_HOP.contains(name)
                || listed.iter().any(|listed| listed.eq_ignore_ascii_case(name));
            let keep_hop = websocket && matches!(*name, "upgrade" | "connection");
            let token = strips
                && (*name == "authorization"
                    || self.route.api_key_header.as_deref() == Some(*name));
            let traceless = trace.is_none() && *name == "tracestate";
            if self.is_reserved(name) || token || traceless || (hop && !keep_hop) {
                edits.remove.push(*name);
            } else if *name == "cookie" {
                match self.without_tokens(value) {
                    Some(rest) if rest.is_empty() => edits.remove.push(*name),
                    Some(rest) => edits.set.push(("cookie", rest)),
                    None => {}
                }
            }
        }
        if let Some(address) = client_address(head, self.policy.trusted_proxy_hops) {
            edits.set.push(("x-forwarded-for", address.to_string()));
        }
        edits.set.push(("x-forwarded-host", head.host().to_owned()));
        edits.set.push(("x-forwarded-proto", head.scheme().to_owned()));
        edits.set.push(("x-request-id", request_id.to_owned()));
        if trace.is_none() {
            edits.set.push(("traceparent", traceparent(request_id)));
        }
        if let Some(verified) = &self.verified {
            edits.set.extend(self.policy.identity_fields.of(verified.claims()));
        }
        // Headers that already have the right value are not rewritten, and headers to set are not
        // removed first: each change is a call into the platform.
        let changed = |(name, value): &(&str, String)| head.header(name) != Some(value.as_str());
        let set_names: Vec<&str> = edits.set.iter().map(|(name, _)| *name).collect();
        edits.remove.retain(|name| !set_names.contains(name));
        edits.set.retain(changed);
        edits
    }

    /// Returns a `Cookie` field without the tokens in it; `None` if it has none. A browser sends a
    /// token's cookie to every route, even to those that accept no cookie. A session of the console
    /// is for routes below `/console` alone.
    fn without_tokens(&self, field: &str) -> Option<String> {
        let kept = self.route.cookie.as_ref().filter(|_| self.route.keeps_token());
        let names = self.policy.routes.iter().filter_map(|route| route.cookie.as_deref());
        let names = names.chain([REFRESH_COOKIE]);
        let is_auth = self.route.access == Access::Auth;
        let is_console = self.route.pattern.literals().next() == Some(Some("console"));
        let is_token = |pair: &&str| {
            let name = pair.split_once('=').map_or(*pair, |(name, _)| name);
            let is_session = !is_console && name == CONSOLE_COOKIE;
            (is_session || (!is_auth && names.clone().any(|token| token == name)))
                && kept.is_none_or(|kept| kept != name)
        };
        let pairs = || field.split(';').map(|pair| pair.trim_matches(' '));
        pairs().find(is_token)?;
        let rest: Vec<&str> = pairs().filter(|pair| !is_token(pair) && !pair.is_empty()).collect();
        Some(rest.join("; "))
    }

    /// Returns whether only the edge may state a field: the caller's identity or address, or
    /// another path or method. Names are compared as servers fold them: CGI reads `_` for `-`, and
    /// PHP and lighttpd also `.` and the other punctuation of RFC 9110 section 5.6.2.
    fn is_reserved(&self, name: &str) -> bool {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let name: Cow<'_, str> = match name.bytes().all(plain) {
            true => name.into(),
            false => name
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' })
                .collect(),
        };
        let bare = name.strip_prefix("x-").unwrap_or(&name);
        let assertion = self.policy.assertion.as_ref().map(|assertion| &assertion.field);
        bare.starts_with(IDENTITY_PREFIX)
            || bare.starts_with("forwarded-")
            || SPOOFABLE.contains(&bare)
            || self.policy.identity_fields.names().chain(assertion).any(|own| *own == name)
    }
}

/// Returns the names of the fields that a client lists as those of the connection.
pub(super) fn connection_names<'a>(head: &RequestHead<'a>) -> impl Iterator<Item = &'a str> {
    let connection = head.header("connection").unwrap_or_default();
    connection.split(',').take(LISTED_MAX).map(str::trim)
}

/// A limit above the number of names that clients list in a `Connection` field.
const LISTED_MAX: usize = 32;

#[cfg(test)]
mod tests;
