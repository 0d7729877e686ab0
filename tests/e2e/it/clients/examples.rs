//! The examples in real processes, as their READMEs say to run them.

use crate::support::environment::ROOT;
use crate::support::http::{assert_refused, client, get, get_with};
use crate::support::process::{Folder, Process, free_ports, wait_for_port, wrangler_dev};
use crate::support::redis_server::Redis;
use crate::support::stack::{EDGE_AUTH_KEY, RECORD_ENCRYPTION_KEY, SHARED, Stack, Tokens, stop};
use serde_json::{Value, json};
use std::process::Command;
use std::time::{Duration, Instant};

/// Starts the system with the policy of an example.
async fn start(example: &str, options: &[&str], vars: Value) -> Stack {
    let policy = format!("{ROOT}/examples/{example}/portcullis.toml");
    let mut all = vec!["--engine".to_owned(), "workerd".into(), "--policy".into(), policy];
    all.extend(options.iter().map(|option| (*option).to_owned()));
    let start =
        move || Stack::start(&all.iter().map(String::as_str).collect::<Vec<_>>(), Some(vars));
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// Logs in, calls the API, refreshes and logs out. Returns the last tokens, which are refused then.
async fn use_a_session(stack: &Stack) -> Tokens {
    let url = stack.edge("/api/hello");
    assert_refused(get(&url).send().await.unwrap(), 401, "token_missing").await;
    let first = stack.login().await;
    assert_eq!(get_with(&url, &first.access).await.status(), 200);
    let tokens = Tokens::read(stack.refresh(&first.refresh).await).await;
    assert_eq!(get_with(&url, &tokens.access).await.status(), 200);
    let logout = client().post(stack.edge("/auth/logout")).bearer_auth(&tokens.access);
    assert_eq!(logout.send().await.unwrap().status(), 204);
    for token in [&first.access, &tokens.access] {
        assert_refused(get_with(&url, token).await, 401, "token_revoked").await;
    }
    tokens
}

/// Runs lines of a README in bash, with other values for some of its assignments.
fn shell(lines: &str, values: &[(&str, &str)]) {
    let mut bash = Command::new("bash");
    let assigns =
        |line: &&str| values.iter().any(|(name, _)| line.starts_with(&format!("{name}=")));
    let rest: Vec<&str> = lines.lines().filter(|line| !assigns(line)).collect();
    bash.args(["-euc", &rest.join("\n")]).envs(values.iter().copied());
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{lines}: {output:?}");
}

/// Returns the indented lines after a heading.
fn block(page: &str, heading: &str) -> String {
    let page = std::fs::read_to_string(format!("{ROOT}/{page}")).unwrap();
    let (_, section) = page.split_once(&format!("\n## {heading}\n")).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let lines = section.lines().filter_map(|line| line.strip_prefix("    "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test]
async fn own_redis_example_stores_in_that_redis_and_a_marker_revokes_a_user() {
    let redis = Redis::start(&[]);
    let stack = start("own-redis", &["--redis-url", &redis.url()], json!({})).await;
    use_a_session(&stack).await;
    let tokens = stack.login().await;
    let url = stack.edge("/api/hello");
    let answer = get_with(&url, &tokens.access).await;
    let echo: Value = answer.json().await.unwrap();
    let records: Vec<String> =
        redis::cmd("KEYS").arg("pc:token:*").query(&mut redis.connection()).unwrap();
    assert!(!records.is_empty(), "the records are in another Redis");

    // The marker of examples/README.md, for this user.
    let subject = echo["headers"]["portcullis-subject"].as_str().unwrap();
    let lines = block("examples/README.md", "Revoke a token or a user");
    let values = [
        ("ISSUER", stack.fact("edge_url")),
        ("NAME", subject),
        ("STORE_URL", stack.fact("store_url")),
        ("OPERATOR_TOKEN", stack.fact("store_token")),
    ];
    shell(&lines, &values);
    assert_refused(get_with(&url, &tokens.access).await, 401, "token_revoked").await;
    stop(stack).await;
}

#[tokio::test]
async fn memcached_example_runs_with_its_policy_unchanged() {
    let stack = start("memcached", &["--store", "memcached"], json!({})).await;
    use_a_session(&stack).await;
    stop(stack).await;
}

#[tokio::test]
async fn opaque_tokens_example_accepts_opaque_tokens() {
    let options = ["--auth-env", "ACCESS_TOKEN_FORMAT=opaque"];
    let stack = start("opaque-tokens", &options, json!({})).await;
    let tokens = use_a_session(&stack).await;
    assert!(tokens.access.starts_with("pca_"), "not opaque");
    stop(stack).await;
}

/// The page logs in, is reloaded, calls and logs out in two tabs of a real browser.
#[tokio::test]
async fn browser_session_example_shares_a_session_between_tabs() {
    let [port] = free_ports();
    let page = format!("http://127.0.0.1:{port}");
    let origins = format!("COOKIE_ORIGINS={page}");
    let vars = json!({ "APP_ORIGIN": page });
    let stack = start("browser-session", &["--auth-env", &origins], vars).await;
    let folder = Folder::new();
    let mut server = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    server.arg(format!("{ROOT}/examples/browser-session/server.mjs")).arg(port.to_string());
    let server = Process::start(&mut server, folder.file("page.log"));
    wait_for_port(port, &server);
    let mut browser = Command::new(format!("{ROOT}/node_modules/.bin/node"));
    browser.arg(format!("{ROOT}/tests/e2e/clients/example.mjs"));
    browser.env("PAGE_URL", &page).env("EDGE_URL", stack.fact("edge_url"));
    browser.env("STACK_USERNAME", stack.username()).env("STACK_PASSWORD", stack.password());
    let output = tokio::task::spawn_blocking(move || browser.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{output:?}\n{}", stack.log("edge"));
    stop(stack).await;
}

/// `npx wrangler dev` in the folder checks its policy, builds its Worker and serves it with
/// .dev.vars.
#[tokio::test]
async fn wrangler_dev_serves_an_example_with_its_local_variables() {
    let (folder, [port]) = (Folder::new(), free_ports());
    let at = |name: &str| format!("{ROOT}/examples/own-redis/{name}");
    let read = |name: &str| std::fs::read_to_string(at(name)).unwrap();
    let xtask = std::env::var("PORTCULLIS_XTASK").unwrap_or_else(|_| "cargo xtask".to_owned());
    folder.write("wrangler.toml", &read("wrangler.toml").replace("cargo xtask", &xtask));
    folder.write("portcullis.toml", &read("portcullis.toml"));
    let (edge, auth) = (SHARED.fact("edge_url"), SHARED.fact("auth_url"));
    let values = [
        ("UPSTREAM_URL", SHARED.fact("upstream_url").to_owned()),
        ("AUTH_URL", auth.to_owned()),
        ("STORE_URL", SHARED.fact("store_url").to_owned()),
        ("ISSUER", edge.to_owned()),
        ("JWKS_URL", format!("{auth}/.well-known/jwks.json")),
        ("INTROSPECTION_URL", format!("{auth}/oauth/introspect")),
        ("STORE_TOKEN", SHARED.fact("edge_store_token").to_owned()),
        ("INTROSPECTION_SECRET", SHARED.fact("introspection_secret").to_owned()),
        ("RECORD_ENCRYPTION_KEY", RECORD_ENCRYPTION_KEY.to_owned()),
        ("EDGE_AUTH_KEY", EDGE_AUTH_KEY.to_owned()),
    ];
    let example = read(".dev.vars.example");
    let value = |line: &str| {
        let Some((name, _)) = line.split_once('=').filter(|_| !line.starts_with('#')) else {
            return format!("{line}\n");
        };
        let (_, value) = values.iter().find(|(own, _)| *own == name).unwrap();
        format!("{name}='{value}'\n")
    };
    folder.write(".dev.vars", &example.lines().map(value).collect::<String>());
    let mut wrangler = wrangler_dev(&folder, port);
    let process = Process::start(&mut wrangler, folder.file("log"));
    let token = SHARED.login().await.access;
    let (url, begun) = (format!("http://127.0.0.1:{port}/api/hello"), Instant::now());
    // The first trips to a store that shares two cores may be too late.
    loop {
        let answer = client().get(&url).bearer_auth(&token).send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", process.text());
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_refused(get(&url).send().await.unwrap(), 401, "token_missing").await;
}
