//! monitoring/: the alerts, and the dashboard before a running system.

use crate::support::environment::ROOT;
use crate::support::http::{client, get_with, post};
use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::{Stack, stop};
use crate::support::yaml;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn file(name: &str) -> PathBuf {
    Path::new(ROOT).join("monitoring").join(name)
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// Runs promtool, which must succeed.
fn promtool(arguments: &[&str]) {
    let mut command = Command::new("promtool");
    let output = command.args(arguments).current_dir(file("prometheus")).output().unwrap();
    let said =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{arguments:?}: {}", said.concat());
}

fn rules() -> Vec<Value> {
    let groups = yaml::documents(&file("prometheus/alerts.yml")).remove(0);
    let groups = groups["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Returns the queries of the dashboard, with the titles of their panels.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text(&file("grafana/portcullis.json"))).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let title = panel["title"].as_str().unwrap().to_owned();
            queries.push((title, target["expr"].as_str().unwrap().to_owned()));
        }
    }
    queries
}

#[test]
fn every_alert_fires_and_stays_quiet_in_a_test_and_has_a_section_in_the_runbook() {
    promtool(&["check", "config", "prometheus.yml"]);
    promtool(&["test", "rules", "alerts.test.yml"]);
    let tests = yaml::documents(&file("prometheus/alerts.test.yml")).remove(0);
    let runbook = text(&Path::new(ROOT).join("docs/how-to/alerts.md"));
    let mut alerts = 0;
    for rule in rules() {
        let Some(name) = rule["alert"].as_str() else { continue };
        alerts += 1;
        let own = tests["tests"].as_array().unwrap().iter();
        let own = own.flat_map(|test| test["alert_rule_test"].as_array().unwrap());
        let own: Vec<&Value> = own.filter(|test| test["alertname"] == name).collect();
        let fires = |test: &&Value| !test["exp_alerts"].as_array().unwrap().is_empty();
        assert!(own.iter().any(fires), "{name}: no test in which it fires");
        assert!(own.iter().any(|test| !fires(test)), "{name}: no test in which it does not");
        assert!(runbook.contains(&format!("### {name}\n")), "{name}: not in the runbook");
        let section = format!("docs/how-to/alerts.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook"], section, "{name}");
        assert!(["critical", "warning"].contains(&rule["labels"]["severity"].as_str().unwrap()));
    }
    assert_eq!(runbook.matches("\n### Portcullis").count(), alerts);
    assert!(alerts > 30, "{alerts}");
}

/// A renamed metric would silence an alert.
#[test]
fn rules_and_dashboard_name_only_metrics_of_the_reference() {
    let reference = text(&Path::new(ROOT).join("docs/reference/metrics.md"));
    let mut known = BTreeSet::from(["portcullis_edge_metrics_readable".to_owned()]);
    let mut prefix = String::new();
    for line in reference.lines() {
        if let Some((_, rest)) = line.split_once("| `portcullis_") {
            prefix = format!("portcullis_{}", rest.split('…').next().unwrap());
        }
        let names = line.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2);
        known.extend(names.map(|name| format!("{prefix}{name}")));
    }
    let expressions = rules().into_iter().map(|rule| rule["expr"].as_str().unwrap().to_owned());
    let all = expressions.chain(queries().into_iter().map(|(_, query)| query));
    let mut unknown = BTreeSet::new();
    for expression in all {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        let words = expression.split(|c: char| !is_word(c));
        // A regular expression for names has no whole name.
        let words = words.filter(|word| word.starts_with("portcullis_") && !word.ends_with('_'));
        for word in words {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end));
            if !known.contains(word) && !base.is_some_and(|base| known.contains(base)) {
                unknown.insert(word.to_owned());
            }
        }
    }
    assert_eq!(unknown, BTreeSet::new());
}

/// A Prometheus with the example's configuration, before a running system with some traffic.
#[tokio::test(flavor = "multi_thread")]
async fn every_panel_has_data_of_a_running_system() {
    let vars = json!({
        "metrics.interval_seconds": 1, "usage.flush_seconds": 1,
        "revocation.delay_seconds_max": 5,
    });
    let start = move || Stack::start(&[], Some(vars));
    let stack = tokio::task::spawn_blocking(start).await.unwrap();
    let folder = Folder::new();
    let host = |fact: &str| stack.fact(fact).trim_start_matches("http://").to_owned();
    let configuration = text(&file("prometheus/prometheus.yml"))
        .replace("127.0.0.1:9788", &host("auth_admin_url"))
        .replace("127.0.0.1:9379", &host("redis_gateway_admin_url"))
        .replace("15s", "1s")
        .replace("alerts.yml", file("prometheus/alerts.yml").to_str().unwrap());
    std::fs::write(folder.file("prometheus.yml"), configuration).unwrap();
    let [port] = free_ports();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", folder.file("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", folder.file("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let prometheus = Process::start(&mut command, folder.file("prometheus.log"));
    wait_for_port(port, &prometheus);
    let api = format!("http://127.0.0.1:{port}/api/v1");
    let begun = Instant::now();
    loop {
        make_traffic(&stack).await;
        let mut empty = Vec::new();
        for (title, query) in queries() {
            if !has_data(&api, &query).await {
                empty.push(format!("{title}: {query}"));
            }
        }
        if empty.is_empty() {
            break;
        }
        let log = || format!("{}\n{}", prometheus.text(), empty.join("\n"));
        assert!(begun.elapsed() < Duration::from_secs(90), "no data:\n{}", log());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Every rule is evaluated, and a healthy system wakes no one.
    let state: Value = get(&format!("{api}/rules")).await;
    let groups = state["data"]["groups"].as_array().unwrap();
    for rule in groups.iter().flat_map(|group| group["rules"].as_array().unwrap()) {
        assert_eq!(rule["health"], "ok", "{rule}");
        let is_critical = rule["labels"]["severity"] == "critical";
        assert!(!is_critical || rule["state"] != "firing", "{rule}");
    }
    let targets: Value = get(&format!("{api}/targets")).await;
    let targets = targets["data"]["activeTargets"].as_array().unwrap();
    assert_eq!(targets.len(), 2);
    assert!(targets.iter().all(|target| target["health"] == "up"), "{targets:?}");
    drop(prometheus);
    stop(stack).await;
}

/// Requests of each kind: accepted, refused, limited, refreshed.
async fn make_traffic(stack: &Stack) {
    let tokens = stack.login().await;
    for path in ["/api/x", "/api/limited", "/api/limited", "/nowhere"] {
        get_with(&stack.edge(path), &tokens.access).await;
        // The second time without a question to the store, by a clearance.
        get_with(&stack.edge(path), &tokens.access).await;
    }
    // A caller who sends so many gets a lease, and then passes by the clearance.
    for _ in 0..30 {
        get_with(&stack.edge("/api/x"), &tokens.access).await;
    }
    get_with(&stack.edge("/api/x"), "malformed").await;
    post(&stack.edge("/auth/login"), json!({ "username": "x", "password": "wrong" })).await;
    let response = stack.refresh(&tokens.refresh).await;
    assert_eq!(response.status(), 200);
}

async fn has_data(api: &str, query: &str) -> bool {
    let query = query.replace("$__rate_interval", "1m");
    let url = reqwest::Url::parse_with_params(&format!("{api}/query"), [("query", &query)]);
    let response: Value = get(url.unwrap().as_str()).await;
    assert_eq!(response["status"], "success", "{query}: {response}");
    !response["data"]["result"].as_array().unwrap().is_empty()
}

async fn get(url: &str) -> Value {
    client().get(url).send().await.unwrap().json().await.unwrap()
}
