//! The npm package as a library: a Worker that answers requests itself, with two gates, hono, and
//! another Worker that binds its gates.

use crate::support::http::{assert_refused, client};
use crate::support::issuer::{AUDIENCE, ISSUER, TRUSTED, claims, header, serve};
use crate::support::npm_project::{Project, ROOT};
use crate::support::process::{Process, free_ports, wait_for_port};
use crate::support::stack::SHARED;
use reqwest::Response;
use serde_json::{Value, json};

/// The Worker of a person: without a gate's help it knows nothing of tokens.
const APP: &str = r#"
import { Hono } from 'hono';
import { Gate, gate } from 'portcullis';
import { portcullis } from 'portcullis/hono';
import { gateService } from 'portcullis/rpc';
import policies from './policies.json';

export class First extends gateService(policies.first) {}
export class Second extends gateService(policies.second) {}

const app = new Hono();
app.use('/hono/*', portcullis(policies.hono));
app.get('/hono/me', (context) => context.json({
  subject: context.get('permit').subject,
  authorization: context.req.header('authorization') ?? null,
}));

export default {
  async fetch(request, env, context) {
    const { pathname } = new URL(request.url);
    if (pathname.startsWith('/hono/')) return app.fetch(request, env, context);
    if (pathname === '/too-many') {
      for (let made = 0; made < 100; made += 1) new Gate(env, policies.first);
    }
    const name = pathname.startsWith('/second/') ? 'second' : 'first';
    const permit = await gate(env, policies[name]).check(request, context);
    if (permit instanceof Response) return permit;
    if (pathname.endsWith('/never')) return new Response('on its own');
    const { url, headers } = permit.request;
    const body = await permit.request.text();
    return permit.finish(Response.json({
      ...permit, url, body, headers: Object.fromEntries(headers), request: undefined,
    }));
  },
};
"#;

/// The Worker of a person that has no gate, but binds those of the other one.
const FRONT: &str = r#"
export default {
  async fetch(request, env) {
    const { method, url, headers } = request;
    const { pathname } = new URL(url);
    if (pathname.endsWith('/forwarded')) return env.FIRST.fetch(request);
    const gate = pathname.startsWith('/second/') ? env.SECOND : env.FIRST;
    const verdict = await gate.check({ method, url, headers });
    if (!verdict.permitted) return new Response(verdict.body, verdict);
    return Response.json(verdict, { headers: verdict.responseHeaders });
  },
};
"#;

/// The same in TypeScript, as its compiler accepts it.
const TYPED: &str = r"
import { gateService, type GateService } from 'portcullis/rpc';

export class Checks extends gateService({}) {}

export default {
  async fetch(request: Request, env: { GATE: GateService }): Promise<Response> {
    const { method, url, headers, cf } = request;
    const verdict = await env.GATE.check({ method, url, headers, cf });
    if (!verdict.permitted) return new Response(verdict.body, verdict);
    const own = new Request(request, { headers: verdict.requestHeaders });
    const subject: string | undefined = verdict.subject;
    return Response.json({ subject, own: own.url }, { headers: verdict.responseHeaders });
  },
} satisfies ExportedHandler<{ GATE: GateService }>;
";

struct App {
    url: String,
    process: Process,
    project: Project,
}

impl App {
    async fn start() -> Self {
        Self::start_by(&["wrangler.json"]).await
    }

    /// Starts the Workers of these configurations. The first one has the port.
    async fn start_by(configurations: &[&str]) -> Self {
        let (project, [port]) = (Project::new(), free_ports());
        let hono = format!("{ROOT}/tests/e2e/clients/node_modules/hono");
        std::os::unix::fs::symlink(hono, project.path("node_modules/hono")).unwrap();
        project.folder.write("app.mjs", APP);
        let jwks_url = serve(TRUSTED.jwks());
        let policy = |name: &str, limit: Value| {
            let path = format!("/{name}");
            json!({
                "store": { "url": SHARED.fact("store_url"), "timeout_ms": 3000 },
                "upstream": { "url": "https://upstream.invalid", "timeout_ms": 1000 },
                "breaker": { "failures": 1 },
                "open_requests": { "count_max": 16 },
                "cors": { "origins": ["https://page.example"] },
                "issuers": [{ "issuer": ISSUER, "audience": "${AUDIENCE}", "algorithms": ["EdDSA"],
                    "jwks_url": jwks_url }],
                "identity": { "claims": { "plan": "x-plan" } },
                "routes": [
                    { "name": format!("{name}-never"), "path": format!("{path}/never"), "access": "public" },
                    { "name": format!("{name}-trial"), "path": format!("{path}/trial"), "access": "protected",
                      "require": "not_revoked", "enforce": false },
                    { "name": format!("{name}-public"), "path": format!("{path}/public"), "access": "public" },
                    { "name": format!("{name}-optional"), "path": format!("{path}/optional"), "access": "optional",
                      "require": "not_revoked" },
                    { "name": format!("{name}-api"), "path": format!("{path}/*"), "access": "protected",
                      "require": "not_revoked", "limit": limit },
                ],
            })
        };
        let limit = |quota: u32| json!({ "quota": quota, "window_seconds": 60, "by": "subject", "headers": true });
        let policies = json!({
            "first": policy("first", limit(1000)),
            "second": policy("second", limit(2)),
            "hono": policy("hono", limit(1000)),
        });
        project.folder.write("policies.json", &policies.to_string());
        let config = json!({
            "name": "app", "main": "app.mjs", "compatibility_date": "2026-11-01",
            "compatibility_flags": ["enable_request_signal"],
            "vars": { "AUDIENCE": AUDIENCE, "STORE_TOKEN": SHARED.fact("edge_store_token") },
        });
        project.folder.write("wrangler.json", &config.to_string());
        project.folder.write("front.mjs", FRONT);
        let binding = |name: &str, entrypoint: &str| json!({ "binding": name, "service": "app", "entrypoint": entrypoint });
        let front = json!({
            "name": "front", "main": "front.mjs", "compatibility_date": "2026-11-01",
            "services": [binding("FIRST", "First"), binding("SECOND", "Second")],
        });
        project.folder.write("front.json", &front.to_string());
        let mut wrangler =
            project.command("npx", &["--offline", "wrangler", "dev", "--ip", "127.0.0.1"]);
        wrangler.args(configurations.iter().flat_map(|file| ["-c", file]));
        wrangler.args(["--port", &port.to_string(), "--inspector-port", "0"]);
        wrangler.arg("--show-interactive-dev-session=false").env("WRANGLER_HIDE_BANNER", "true");
        let process = Process::start(&mut wrangler, project.path("log"));
        wait_for_port(port, &process);
        Self { url: format!("http://127.0.0.1:{port}"), process, project }
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Response {
        let mut request = client().get(format!("{}{path}", self.url));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }
}

#[tokio::test]
async fn worker_answers_what_its_gates_permit() {
    let app = App::start().await;
    // The store that tests share counts by subject.
    let subject = format!("reader-of-{}", app.url);
    let token = TRUSTED.sign(
        &header(json!({})),
        &claims(
            json!({ "sub": subject, "scope": "a b", "sid": "s1", "plan": "pro", "client_id": "c" }),
        ),
    );
    assert_refused(app.get("/first/x", None).await, 401, "token_missing").await;
    assert_refused(app.get("/elsewhere", Some(&token)).await, 404, "route_not_found").await;

    let request = client().post(format!("{}/first/x?q=1", app.url)).bearer_auth(&token);
    let request =
        request.header("portcullis-subject", "mallory").header("origin", "https://page.example");
    let response = request.body("the body").send().await.unwrap();
    assert_eq!(response.status(), 200, "{}", app.process.text());
    assert_eq!(response.headers()["access-control-allow-origin"], "https://page.example");
    assert!(response.headers().contains_key("x-request-id"));
    assert!(response.headers()["ratelimit"].to_str().unwrap().contains("r=999"));
    let permit: Value = response.json().await.unwrap();
    let expect = json!({
        "route": "first-api", "issuer": ISSUER, "subject": subject, "scopes": ["a", "b"], "clientId": "c",
        "session": "s1", "claims": { "plan": "pro" }, "body": "the body",
        "url": format!("{}/first/x?q=1", app.url),
    });
    for (name, value) in expect.as_object().unwrap() {
        assert_eq!(permit[name], *value, "{name} in {permit}");
    }
    assert!(permit["expiresAt"].as_u64().unwrap() > 1_700_000_000);
    let headers = &permit["headers"];
    assert_eq!(
        (&headers["portcullis-subject"], &headers["x-plan"]),
        (&json!(subject), &json!("pro"))
    );
    assert_eq!(headers["authorization"], Value::Null, "the token is not for the application");

    // Each gate has a policy of its own: the second one's limit is its own.
    for expect in [200, 200, 429] {
        assert_eq!(app.get("/second/x", Some(&token)).await.status(), expect);
    }
    assert_eq!(app.get("/first/x", Some(&token)).await.status(), 200);
    let public: Value = app.get("/first/public", None).await.json().await.unwrap();
    assert_eq!((&public["route"], &public["subject"]), (&json!("first-public"), &Value::Null));

    // On an optional route, a permit has a subject if the request has a token.
    let guest: Value = app.get("/first/optional", None).await.json().await.unwrap();
    let facts = [&guest["route"], &guest["subject"], &guest["scopes"], &guest["claims"]];
    assert_eq!(facts, [&json!("first-optional"), &Value::Null, &json!([]), &json!({})]);
    let known: Value = app.get("/first/optional", Some(&token)).await.json().await.unwrap();
    assert_eq!(known["subject"], subject.as_str());
    let refused = app.get("/first/optional", Some("forged")).await;
    assert_refused(refused, 401, "token_malformed").await;

    // A route that does not enforce says so.
    let trial: Value = app.get("/first/trial", Some("forged")).await.json().await.unwrap();
    assert_eq!(trial["wouldRefuse"], "token_malformed", "{trial}");
    assert_eq!(trial["subject"], Value::Null);

    let mine = app.get("/hono/me", Some(&token)).await;
    assert!(mine.headers().contains_key("ratelimit"), "{:?}", mine.headers());
    let mine: Value = mine.json().await.unwrap();
    assert_eq!(mine, json!({ "subject": subject, "authorization": null }));
    assert_refused(app.get("/hono/me", Some("forged")).await, 401, "token_malformed").await;
}

/// A Worker that does not finish what it has begun harms no other request, although its policy
/// opens breakers at the first failure.
#[tokio::test]
async fn unfinished_requests_harm_no_others() {
    let app = App::start().await;
    // More than an isolate may have open at once.
    for _ in 0..20 {
        assert_eq!(app.get("/first/never", None).await.text().await.unwrap(), "on its own");
    }
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    assert_eq!(app.get("/first/never", None).await.text().await.unwrap(), "on its own");
    assert_eq!(app.get("/first/public", None).await.status(), 200);
    // Gates that are made for each request would use up the memory.
    let refused = app.get("/too-many", None).await;
    assert_eq!(refused.status(), 500);
    assert!(refused.text().await.unwrap().contains("at most 32 gates"));
}

/// Two Workers under wrangler: the one with the gates exports an entrypoint for each policy.
#[tokio::test]
async fn another_worker_asks_each_gate_by_its_entrypoint() {
    let app = App::start_by(&["front.json", "wrangler.json"]).await;
    let subject = format!("caller-of-{}", app.url);
    let token = TRUSTED.sign(&header(json!({})), &claims(json!({ "sub": subject, "plan": "pro" })));
    assert_refused(app.get("/first/x", None).await, 401, "token_missing").await;
    let response = app.get("/first/x", Some(&token)).await;
    assert_eq!(response.status(), 200, "{}", app.process.text());
    assert!(response.headers()["ratelimit"].to_str().unwrap().contains("r=999"));
    let verdict: Value = response.json().await.unwrap();
    assert_eq!((&verdict["permitted"], &verdict["subject"]), (&json!(true), &json!(subject)));
    assert_eq!(verdict["claims"], json!({ "plan": "pro" }));

    // Each entrypoint has its own policy: the limit of the second one is its own.
    for expect in [200, 200, 429] {
        assert_eq!(app.get("/second/x", Some(&token)).await.status(), expect);
    }
    assert_eq!(app.get("/first/x", Some(&token)).await.status(), 200);
    let trial: Value = app.get("/first/trial", Some("forged")).await.json().await.unwrap();
    assert_eq!(trial["wouldRefuse"], "token_malformed", "{trial}");
    // More checks than an isolate may have open at once: a check is over when it has returned.
    for _ in 0..20 {
        assert_eq!(app.get("/first/never", None).await.status(), 200);
    }
    // A binding forwards, too. Nothing is at this policy's upstream.
    assert_refused(app.get("/first/forwarded", None).await, 401, "token_missing").await;
    let forwarded = app.get("/first/forwarded", Some(&token)).await;
    assert_refused(forwarded, 502, "upstream_unreachable").await;

    app.project.folder.write("typed.ts", TYPED);
    let clients = format!("{ROOT}/tests/e2e/clients/node_modules");
    let options = "--noEmit --strict --target esnext --lib esnext --module esnext \
                   --moduleResolution bundler --types @cloudflare/workers-types --typeRoots";
    let options = options.split_whitespace().chain([clients.as_str(), "typed.ts"]);
    app.project.run(&format!("{clients}/.bin/tsc"), &options.collect::<Vec<_>>());
}
