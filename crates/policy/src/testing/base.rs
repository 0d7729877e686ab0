//! The policy that cases change, with its variables and secrets.

use crate::file::PolicyFile;
use serde_json::Value;

/// A valid file with every table. In lists, the first entry has the members that cases change.
const BASE: &str = r#"
store = { url = "https://store.example" }
upstream = { url = "https://upstream.example" }
auth = { url = "https://auth.example" }
resource = { url = "https://api.example" }
cors = { origins = ["https://app.example"] }
assertion = { issuer = "https://api.example", audience = "inner" }
identity = { claims = { plan = "portcullis-plan" } }
ip_rules = { deny = ["192.0.2.0/24"] }
health = {}
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
usage = {}

[[issuers]]
issuer = "https://issuer.example"
audience = "api"
algorithms = ["EdDSA"]
jwks_url = "https://issuer.example/jwks"
events = { accept = ["logout"], audience = "edge" }
introspection = { url = "https://issuer.example/introspect", client_id = "edge", client_secret_variable = "SECRET" }

[[limits]]
name = "shared"
quota = 100
window_seconds = 60
by = ["subject", "claim:tenant"]
plans = { claim = "plan", quotas = { pro = 500 } }

[[limits]]
name = "spare"
quota = 100
window_seconds = 60
by = "address"

[[resources]]
name = "files"
url = "https://files.example"

[[routes]]
name = "api"
path = "/api/*"
access = "protected"
limits = ["shared"]
limit = { quota = 100, window_seconds = 60, by = "address", plans = { claim = "plan", quotas = { pro = 500 } } }
cors = { origins = ["https://app.example"] }
ip_rules = { allow = ["2001:db8::/32"] }
claims = { tenant = ["a", 1, true] }

[[routes]]
name = "login"
path = "/login"
access = "auth"

[[routes]]
name = "open"
path = "/open"
access = "public"

[[routes]]
name = "events"
path = "/events"
access = "events"
"#;

/// Returns the base as JSON.
pub(crate) fn base() -> Value {
    Value::Object(PolicyFile::parse(BASE.to_owned()).ok().unwrap().sections)
}

/// Returns the variables and secrets of the base and of all cases.
pub(crate) fn variable(name: &str) -> Option<String> {
    let text = match name {
        "STORE_TOKEN" | "SECRET" => "secret",
        "METRICS_TOKEN" => "metrics-token-0123456789",
        "OTHER_SECRET" => "other secret",
        "ASSERTION_KEY" => SIGNING_KEY,
        "KEYS" => KEYS,
        _ => return None,
    };
    Some(text.to_owned())
}

/// The keys of RFC 8037 appendix A.
const SIGNING_KEY: &str = r#"{"kty":"OKP","crv":"Ed25519","kid":"e1","alg":"EdDSA",
    "d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
pub(super) const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"e1",
    "x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
/// The first of them as PEM.
pub(super) const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=
-----END PUBLIC KEY-----
";
