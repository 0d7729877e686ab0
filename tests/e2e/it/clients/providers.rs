//! Tokens of nineteen identity providers at the policies of examples/: each claim set of
//! tests/providers is minted with npm's jose. Genuine ones pass, near misses do not. PyJWT and jose
//! judge the same tokens.

use crate::support::edge::start_edge;
use crate::support::environment::ROOT;
use crate::support::http::client;
use crate::support::issuer::now;
use crate::support::stack::stop;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// An issuer of an example's policy, with the routes that accept it.
struct Variant {
    /// The name of its key set and of its routes: `entra-one-tenant`.
    name: String,
    issuer: Value,
    routes: Vec<Value>,
    /// The members of its published keys besides the keys themselves, by `kid`.
    key_members: Value,
    /// Texts of the policy and of the tokens, each with another one that takes its place. So two
    /// variants of one policy have different issuers.
    instead: Vec<(String, String)>,
}

/// A token, and what the edge must answer to it.
struct Case {
    name: String,
    variant: usize,
    path: String,
    header: Value,
    claims: Value,
    form: String,
    verdict: Verdict,
}

enum Verdict {
    Accepted { subject: String, scope: String, issuer: String },
    Refused(String),
}

/// All tokens, and what npm's jose says about each.
struct Minted {
    variants: Vec<Variant>,
    cases: Vec<Case>,
    jwks: Value,
    pem: Value,
    tokens: Vec<String>,
    jose: Vec<Option<String>>,
}

static MINTED: LazyLock<Minted> = LazyLock::new(Minted::new);

impl Minted {
    fn new() -> Self {
        let (mut variants, mut cases) = (Vec::new(), Vec::new());
        for (stem, data) in files() {
            read_provider(&stem, &data, &mut variants, &mut cases);
        }
        let mut sets = Map::new();
        for case in &cases {
            let keys = sets.entry(variants[case.variant].name.clone()).or_insert(json!({}));
            let (alg, kid) = (text(&case.header, "alg"), case.header["kid"].as_str());
            if let Some(kid) = kid.filter(|_| !alg.starts_with("HS")) {
                let members = &variants[case.variant].key_members[kid];
                keys[kid] = json!({ "kid": kid, "alg": alg, "members": members });
            }
        }
        for keys in sets.values_mut() {
            *keys = keys.as_object().unwrap().values().cloned().collect();
        }
        let tokens: Vec<Value> = cases.iter().map(|case| case.describe(&variants)).collect();
        let mut node = Command::new(format!("{ROOT}/node_modules/.bin/node"));
        node.arg(format!("{ROOT}/tests/e2e/clients/providers.mjs"));
        let mut minted = run(&mut node, &json!({ "sets": sets, "tokens": tokens }));
        let mut take = |name: &str| minted[name].take();
        let (jwks, pem) = (take("jwks"), take("pem"));
        let tokens = serde_json::from_value(take("tokens")).unwrap();
        let jose = serde_json::from_value(take("verdicts")).unwrap();
        Self { variants, cases, jwks, pem, tokens, jose }
    }

    /// Returns PyJWT's error about each token.
    fn judge_with_pyjwt(&self) -> Vec<Option<String>> {
        let with_token = |(case, token): (&Case, &String)| {
            let mut described = case.describe(&self.variants);
            described["token"] = token.clone().into();
            described
        };
        let tokens: Vec<Value> = self.cases.iter().zip(&self.tokens).map(with_token).collect();
        let mut python = Command::new(format!("{ROOT}/.tools/python/bin/python"));
        python.arg(format!("{ROOT}/tests/e2e/clients/providers.py"));
        python.env("PYTHONDONTWRITEBYTECODE", "1");
        let verdicts = run(&mut python, &json!({ "jwks": self.jwks, "tokens": tokens }));
        serde_json::from_value(verdicts).unwrap()
    }

    /// Returns the issuers of one policy, whose keys are at `url`. Templates come last, so that an
    /// issuer that one matches keeps its own settings.
    fn issuers(&self, url: &str) -> Vec<Value> {
        let mut issuers: Vec<Value> =
            self.variants.iter().map(|v| v.issuer_at(url, &self.pem)).collect();
        issuers.sort_by_key(|issuer| text(issuer, "issuer").contains("{tenant}"));
        issuers
    }
}

impl Variant {
    fn issuer_at(&self, url: &str, pem: &Value) -> Value {
        let mut issuer = self.issuer.clone();
        for (member, page) in [("jwks_url", "keys"), ("metadata_url", "metadata")] {
            if issuer.get(member).is_some() {
                issuer[member] = format!("{url}/{}/{page}", self.name).into();
            }
        }
        if issuer.get("public_key").is_some() {
            issuer["public_key"] = pem[&self.name].clone();
        }
        issuer
    }

    /// Puts this variant's texts into a claim set.
    fn replace(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        for (old, new) in &self.instead {
            text = text.replace(old, new);
        }
        serde_json::from_str(&text).unwrap()
    }

    /// Returns what the provider publishes as its metadata.
    fn metadata(&self, url: &str) -> Value {
        let issuer = text(&self.issuer, "issuer").replace("{tenant}", "{tenantid}");
        json!({ "issuer": issuer, "jwks_uri": format!("{url}/{}/keys", self.name) })
    }

    /// Returns every accepted form of `iss`.
    fn forms(&self) -> Vec<String> {
        let issuer = text(&self.issuer, "issuer");
        let mut forms = list(&self.issuer["tenants"]);
        forms.iter_mut().for_each(|tenant| *tenant = issuer.replace("{tenant}", tenant));
        if forms.is_empty() {
            forms.push(issuer.to_owned());
        }
        forms.extend(list(&self.issuer["issuer_aliases"]));
        forms
    }

    fn has_tenants(&self) -> bool {
        text(&self.issuer, "issuer").contains("{tenant}")
    }

    /// Returns whether a member replaces a missing `aud`.
    fn has_substitute(&self) -> bool {
        self.issuer.get("audience_claim").is_some() || self.issuer.get("audience").is_none()
    }
}

impl Case {
    /// Describes the token for the scripts that mint and judge it. The options of the judges are
    /// those of a careful program. They leave the audience out where the policy names a substitute
    /// and the token has no `aud`.
    fn describe(&self, variants: &[Variant]) -> Value {
        let variant = &variants[self.variant];
        let named = self.claims.get("aud").is_some_and(|aud| *aud != json!([]));
        let audience =
            (named || !variant.has_substitute()).then(|| list(&variant.issuer["audience"]));
        json!({
            "set": variant.name, "form": self.form, "header": self.header, "claims": self.claims,
            "judge": {
                "issuer": variant.forms(), "audience": audience,
                "algorithms": variant.issuer["algorithms"],
            },
        })
    }

    /// Returns this token with the changes of a near miss.
    fn miss(&self, name: &str, described: &Value, variants: &[Variant]) -> Self {
        let none = json!({});
        let (mut header, mut claims) = (self.header.clone(), self.claims.clone());
        merge(&mut header, described.get("header").unwrap_or(&none));
        let changes = variants[self.variant].replace(described.get("claims").unwrap_or(&none));
        merge(&mut claims, &at(now(), changes));
        Self {
            name: name.to_owned(),
            variant: self.variant,
            path: self.path.clone(),
            header,
            claims,
            form: described.get("form").map_or("signed", |form| form.as_str().unwrap()).to_owned(),
            verdict: Verdict::Refused(text(described, "code").to_owned()),
        }
    }

    fn code(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Accepted { .. } => None,
            Verdict::Refused(code) => Some(code),
        }
    }
}

/// Returns tests/providers, by the name of the file.
fn files() -> BTreeMap<String, Value> {
    let entries = std::fs::read_dir(format!("{ROOT}/tests/providers")).unwrap();
    let read = |path: &Path| {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (stem, serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap())
    };
    entries.map(|entry| read(&entry.unwrap().path())).collect()
}

/// Reads the variants and the tokens of one provider.
fn read_provider(stem: &str, data: &Value, variants: &mut Vec<Variant>, cases: &mut Vec<Case>) {
    let mut places = HashMap::new();
    for (name, described) in data["variants"].as_object().unwrap() {
        places.insert(name.as_str(), variants.len());
        let name = format!("{stem}-{}", name.replace([' ', '.'], "-"));
        variants.push(read_variant(name, described));
    }
    let check_source = |token: &Value| {
        let is_known = data["sources"].get(text(token, "source")).is_some();
        let is_certainty = ["d", "s", "o", "m"].contains(&text(token, "certainty"));
        assert!(is_known && is_certainty, "{stem}: {}", token["name"]);
    };
    let first = cases.len();
    for token in array(&data["genuine"]) {
        check_source(token);
        let place = places[text(token, "variant")];
        cases.push(genuine(stem, token, place, &variants[place]));
    }
    let end = cases.len();
    let misses = array(&data["near_misses"]);
    assert!(misses.len() >= 5, "{stem} has {} near misses", misses.len());
    for token in misses {
        check_source(token);
        let of = format!("{stem}: {}", text(token, "of"));
        let of = cases[first..end].iter().find(|case| case.name == of);
        let of = of.unwrap_or_else(|| panic!("{stem}: no token for {}", token["name"]));
        let miss = of.miss(&format!("{stem}: {}", text(token, "name")), token, variants);
        cases.push(miss);
    }
    // What no provider makes is refused as well.
    for place in first..end {
        for (name, code, described) in [
            ("by another key", "signature_invalid", json!({ "form": "forged" })),
            ("unsigned", "algorithm_refused", json!({ "form": "unsigned" })),
            (
                "expired",
                "token_expired",
                json!({ "claims": { "exp": "now-60", "iat": "now-600", "nbf": null } }),
            ),
        ] {
            let mut described = described.clone();
            described["code"] = code.into();
            let name = format!("{}, {name}", cases[place].name);
            let miss = cases[place].miss(&name, &described, variants);
            cases.push(miss);
        }
    }
}

/// Reads one issuer of an example's policy and the routes that accept it.
fn read_variant(name: String, described: &Value) -> Variant {
    let pairs = described.get("instead").and_then(Value::as_object).into_iter().flatten();
    let instead: Vec<_> =
        pairs.map(|(old, new)| (old.clone(), new.as_str().unwrap().to_owned())).collect();
    let file = format!("{ROOT}/examples/{}", text(described, "policy"));
    let mut policy = std::fs::read_to_string(&file).unwrap();
    for (old, new) in &instead {
        assert!(policy.contains(old), "{file} lacks {old}");
        policy = policy.replace(old, new);
    }
    let mut policy: Value = toml::from_str(&policy).unwrap();
    assert_eq!(array(&policy["issuers"]).len(), 1, "{file}");
    let mut issuer = policy["issuers"][0].take();
    merge(&mut issuer, described.get("issuer").unwrap_or(&json!({})));
    let mut routes = Vec::new();
    for route in array(&policy["routes"]).iter().filter(|route| route["access"] == "protected") {
        let mut route = route.clone();
        route["path"] = format!("/{name}{}", text(&route, "path")).into();
        route["name"] = format!("{name}-{}", text(&route, "name")).into();
        route["issuers"] = json!([issuer["issuer"]]);
        routes.push(route);
    }
    assert!(!routes.is_empty(), "{file}");
    let mut variant = Variant { name, issuer, routes, key_members: Value::Null, instead };
    variant.key_members = variant.replace(&described["keys"]);
    variant
}

/// Reads a token that must pass.
fn genuine(stem: &str, token: &Value, place: usize, variant: &Variant) -> Case {
    let expect = variant.replace(&token["expect"]);
    let claims = at(now(), variant.replace(&token["claims"]));
    let path = token.get("path").map_or("/api/hello", |path| path.as_str().unwrap());
    let issuer = expect.get("issuer").unwrap_or(&claims["iss"]);
    Case {
        name: format!("{stem}: {}", text(token, "name")),
        variant: place,
        path: format!("/{}{path}", variant.name),
        header: token["header"].clone(),
        form: "signed".to_owned(),
        verdict: Verdict::Accepted {
            subject: text(&expect, "subject").to_owned(),
            scope: text(&expect, "scope").to_owned(),
            issuer: issuer.as_str().unwrap().to_owned(),
        },
        claims,
    }
}

/// Runs a program with this input, and returns its output. Both are JSON.
fn run(program: &mut Command, input: &Value) -> Value {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = program.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_string();
    let writer = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    writer.join().unwrap().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_else(|| panic!("{name} is missing in {value}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// Returns a member that is a text or a list of texts.
fn list(value: &Value) -> Vec<String> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        list => serde_json::from_value(list.clone()).unwrap(),
    }
}

/// Changes members of an object. Null removes one.
fn merge(object: &mut Value, changes: &Value) {
    let object = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            object.remove(name);
        } else {
            object.insert(name.clone(), value.clone());
        }
    }
}

/// Replaces texts such as `now+60` by the second that they name.
fn at(now: u64, mut claims: Value) -> Value {
    for value in claims.as_object_mut().unwrap().values_mut() {
        let offset = value.as_str().and_then(|text| text.strip_prefix("now"));
        let offset = offset
            .and_then(|text| if text.is_empty() { Some(0) } else { text.parse::<i64>().ok() });
        if let Some(offset) = offset {
            *value = now.checked_add_signed(offset).unwrap().into();
        }
    }
    claims
}

/// Serves the key set and the metadata of each variant at `/NAME/keys` and `/NAME/metadata`.
async fn serve() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut pages = HashMap::new();
    for variant in &MINTED.variants {
        pages.insert(format!("/{}/keys", variant.name), MINTED.jwks[&variant.name].clone());
        pages.insert(format!("/{}/metadata", variant.name), variant.metadata(&url));
    }
    let answer = move |uri: axum::http::Uri| async move {
        axum::Json(pages.get(uri.path()).cloned().unwrap_or_default())
    };
    let router = axum::Router::new().fallback(answer);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// Returns what the edge answers to a token: `200`, or the code, and what its upstream received.
async fn answer(client: &reqwest::Client, url: &str, token: &str) -> (String, Value) {
    let response = client.get(url).bearer_auth(token).send().await.unwrap();
    let status = response.status();
    let body: Value = response.json().await.unwrap();
    match body["code"].as_str() {
        Some(code) => (code.to_owned(), body),
        None => (status.as_u16().to_string(), body["headers"].clone()),
    }
}

#[tokio::test]
async fn tokens_of_each_provider_pass_and_near_misses_are_refused() {
    tokio::task::spawn_blocking(|| MINTED.tokens.len()).await.unwrap();
    let keys = serve().await;
    let routes: Vec<&Value> = MINTED.variants.iter().flat_map(|variant| &variant.routes).collect();
    let edge = start_edge(json!({ "issuers": MINTED.issuers(&keys), "routes": routes })).await;
    let (client, mut wrong) = (client(), Vec::new());
    for (case, token) in MINTED.cases.iter().zip(&MINTED.tokens) {
        let (verdict, received) = answer(&client, &edge.edge(&case.path), token).await;
        let field = |name: &str| received[name].as_str().unwrap_or_default();
        match &case.verdict {
            Verdict::Refused(code) if verdict == *code => {}
            Verdict::Accepted { subject, scope, issuer } if verdict == "200" => {
                let got =
                    ["subject", "scope", "issuer"].map(|name| field(&format!("portcullis-{name}")));
                if got != [subject, scope, issuer] {
                    wrong.push(format!(
                        "{}: {got:?}, not {:?}",
                        case.name,
                        [subject, scope, issuer]
                    ));
                }
                // The same token is worth nothing where another issuer is accepted.
                let other = &MINTED.variants[(case.variant + 1) % MINTED.variants.len()];
                let path = text(&other.routes[0], "path").replace('*', "hello");
                let (verdict, _) = answer(&client, &edge.edge(&path), token).await;
                if verdict != "issuer_refused" {
                    wrong.push(format!("{} at {path}: {verdict}", case.name));
                }
            }
            _ => {
                wrong.push(format!("{}: {verdict}, not {:?} ({received})", case.name, case.code()))
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), MINTED.cases.len(), wrong.join("\n"));
    stop(edge).await;
}

/// Each provider's policy is used by a token that must pass, except those for opaque tokens.
#[test]
fn each_policy_of_a_provider_has_tokens() {
    let files = files();
    assert!(files.len() >= 19, "{} providers", files.len());
    for (stem, data) in files {
        let variants = data["variants"].as_object().unwrap();
        let used: Vec<&str> = array(&data["genuine"])
            .iter()
            .map(|token| text(&variants[text(token, "variant")], "policy"))
            .collect();
        for entry in std::fs::read_dir(format!("{ROOT}/examples/{stem}")).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if !name.ends_with(".toml") || name == "wrangler.toml" {
                continue;
            }
            let policy = std::fs::read_to_string(&path).unwrap();
            let is_opaque = policy.contains("[issuers.introspection]");
            let name = format!("{stem}/{name}");
            assert!(is_opaque || used.contains(&name.as_str()), "{name} has no token");
        }
    }
}

/// A verdict of the gate from which judges differ, and why.
struct Difference {
    code: &'static str,
    judges: &'static [&'static str],
    /// The tokens for which the explanation holds.
    holds: fn(&Case, &Variant) -> bool,
    reason: &'static str,
}

const BOTH: &[&str] = &["jose", "PyJWT"];

/// All verdicts of the gate from which jose or PyJWT differ. Both accept what the gate refuses.
/// There is no token that the gate accepts and one of them refuses.
const DIFFERENCES: [Difference; 7] = [
    Difference {
        code: "token_type_refused",
        judges: BOTH,
        holds: |_, _| true,
        reason: "They verify no `typ` and no members that the policy requires or forbids, and take \
                 tokens that are bound to a key (`cnf`).",
    },
    Difference {
        code: "audience_mismatch",
        judges: BOTH,
        holds: |case, variant| {
            variant.has_substitute() && case.claims.get("aud").is_none_or(|aud| *aud == json!([]))
        },
        reason: "They compare no other claim than `aud` with an audience.",
    },
    Difference {
        code: "claim_missing",
        judges: BOTH,
        holds: |case, variant| {
            (variant.has_substitute() || variant.has_tenants())
                && ["exp", "iss", "sub"].iter().all(|name| case.claims.get(name).is_some())
        },
        reason: "They require neither the claim that replaces `aud` nor a tenant.",
    },
    Difference {
        code: "authorized_party_refused",
        judges: BOTH,
        holds: |case, _| case.claims.get("azp").is_some(),
        reason: "They do not read `azp`.",
    },
    Difference {
        code: "tenant_refused",
        judges: BOTH,
        holds: |case, variant| variant.forms().contains(&text(&case.claims, "iss").to_owned()),
        reason: "They do not compare `tid` with the tenant in `iss`.",
    },
    Difference {
        code: "key_unknown",
        judges: BOTH,
        holds: |case, variant| {
            variant.key_members[text(&case.header, "kid")].get("issuer").is_some()
        },
        reason: "They ignore the issuer of a key, and accept each key of the set for each tenant.",
    },
    Difference {
        code: "claim_insufficient",
        judges: BOTH,
        holds: |_, _| true,
        reason: "What a route requires of a verified token is not theirs to judge.",
    },
];

#[test]
fn jose_and_pyjwt_differ_from_the_gate_only_as_explained() {
    let python = MINTED.judge_with_pyjwt();
    let (mut wrong, mut explained) = (Vec::new(), BTreeMap::new());
    for (place, case) in MINTED.cases.iter().enumerate() {
        let variant = &MINTED.variants[case.variant];
        for (judge, error) in [("jose", &MINTED.jose[place]), ("PyJWT", &python[place])] {
            // A scope that is missing is like a claim that is missing: the route decides.
            let code =
                case.code().map(|code| code.replace("scope_insufficient", "claim_insufficient"));
            let Some(code) = code.filter(|_| error.is_none()) else {
                if case.code().is_none() != error.is_none() {
                    wrong.push(format!("{judge} refuses {}: {error:?}", case.name));
                }
                continue;
            };
            let explains = |one: &Difference| {
                one.code == code && one.judges.contains(&judge) && (one.holds)(case, variant)
            };
            match DIFFERENCES.iter().position(explains) {
                Some(row) => *explained.entry((row, judge)).or_insert(0) += 1,
                None => wrong.push(format!("{judge} accepts {}, which is {code}", case.name)),
            }
        }
    }
    for (row, difference) in DIFFERENCES.iter().enumerate() {
        for judge in difference.judges {
            let count: usize = explained.get(&(row, *judge)).copied().unwrap_or_default();
            println!("{judge} accepts {count} with {}: {}", difference.code, difference.reason);
            if count == 0 {
                wrong.push(format!("{judge} never differs by {}", difference.code));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
