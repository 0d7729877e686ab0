//! Policies for the tests of the floors above, read from settings.

use crate::policy::Policy;

const ISSUERS: &str = r#"[{"issuer":"https://issuer.example","audience":"api",
    "algorithms":["EdDSA"],"jwks_url":"https://issuer.example/jwks"}]"#;
const ROUTES: &str = r#"[
    {"name":"health","path":"/health","access":"public","limit":{"quota":5,"window_seconds":1,"by":"address"}},
    {"name":"auth","path":"/auth/*","access":"auth"},
    {"name":"write","path":"/api/*","access":"protected","methods":["POST"],"scopes":["api:write"]},
    {"name":"read","path":"/api/*","access":"protected","methods":["GET","DELETE","OPTIONS"],"require":"not_revoked","upstream":"http://read.example/v1/"},
    {"name":"limited","path":"/limited","access":"protected","limit":{"quota":2,"window_seconds":60,"by":"subject"}}]"#;

/// Returns a lookup of valid settings, some of them changed.
pub(crate) fn lookup<'a>(changes: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
    move |name| {
        let changed = changes.iter().find(|(changed, _)| *changed == name);
        let text = match name {
            _ if changed.is_some() => changed.map_or("", |(_, text)| text),
            "ISSUERS" => ISSUERS,
            "ROUTES" => ROUTES,
            "UPSTREAM_URL" => "https://upstream.example",
            "AUTH_URL" => "https://auth.example/",
            "STORE_URL" => "https://store.example",
            "STORE_TOKEN" => "store-secret",
            _ => return None,
        };
        Some(text.to_owned())
    }
}

/// Returns a policy with one issuer and a route of each kind.
pub(crate) fn policy() -> Policy {
    policy_with(&[])
}

/// Returns the same policy with some settings changed.
pub(crate) fn policy_with(changes: &[(&str, &str)]) -> Policy {
    Policy::parse(lookup(changes)).unwrap()
}

/// Returns the names of the errors when some settings are changed.
pub(crate) fn error_names(changes: &[(&str, &str)]) -> Vec<String> {
    let errors = Policy::parse(lookup(changes)).err().unwrap_or_default();
    errors.into_iter().map(|error| error.name).collect()
}
