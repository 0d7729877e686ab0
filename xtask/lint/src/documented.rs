//! Reference pages against the code: the members and events of the logs, the names of metrics, and
//! header fields.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Returns every name that a page lacks, or that the code does not have.
pub fn violations(files: &[(PathBuf, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare =
        |what: &str, page: &str, in_code: BTreeSet<String>, in_page: BTreeSet<String>| {
            if in_code.is_empty() {
                found.push(format!("{page}: no {what} found in the code"));
            }
            for name in in_code.difference(&in_page) {
                found.push(format!("{page} lacks the {what} {name}"));
            }
            for name in in_page.difference(&in_code) {
                found.push(format!("{page}: the code has no {what} {name}"));
            }
        };
    let text = |name: &str| {
        let file = files.iter().find(|(file, _)| file == Path::new(name));
        file.map(|(_, text)| text.as_str()).unwrap_or_default()
    };

    let page = text(LOG_PAGE);
    let (members, events) = page.split_once("## Other events").unwrap_or((page, ""));
    let common = ["time", "level", "program", "event"].map(str::to_owned);
    let mut in_code = words_in_quotes(text("src/response/access_log.rs"));
    in_code.extend(common);
    in_code.remove("request");
    compare("log member", LOG_PAGE, in_code, first_cells(members));
    compare("log event", LOG_PAGE, log_events(files), first_cells(events));

    let page = text(EVENTS_PAGE);
    for (heading, program, in_code) in program_events(files) {
        let section = page.split(&format!("## {heading}\n")).nth(1).unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        compare(&format!("event of the {program}"), EVENTS_PAGE, in_code, first_cells(section));
    }

    let page = text(METRICS_PAGE);
    for (heading, program, in_code) in metrics(files) {
        let section = page.split(&format!("## {heading}\n")).nth(1).unwrap_or_default();
        let section = section.split("\n## ").next().unwrap_or_default();
        compare(&format!("metric of the {program}"), METRICS_PAGE, in_code, first_cells(section));
    }

    let page = text(HEADERS_PAGE).to_lowercase();
    for file in HEADER_SOURCES {
        let names = tuple_names(text(file)).into_iter().filter(|name| is_header(name));
        for name in names.filter(|name| !page.contains(&format!("`{name}"))) {
            found.push(format!("{HEADERS_PAGE} lacks {name}, which {file} sets"));
        }
    }
    found
}

/// Returns the names in backquotes of the first cells of a section's tables.
fn first_cells(section: &str) -> BTreeSet<String> {
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.get(2..)?.split(" | ").next());
    let words = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    words.filter(|word| is_word(word)).map(str::to_owned).collect()
}

/// Returns what is in double quotes in the code before its tests.
fn quoted(source: &str) -> impl Iterator<Item = &str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.flat_map(|line| line.split('"').skip(1).step_by(2))
}

/// Returns the quoted first members of tuples in the code before its tests.
fn tuple_names(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let parts: Vec<&str> = code.split('"').collect();
    let mut names = Vec::new();
    for part in parts.windows(3) {
        if let [before, name, after] = part
            && before.trim_end().ends_with('(')
            && after.starts_with(',')
        {
            names.push(*name);
        }
    }
    names
}

fn words_in_quotes(source: &str) -> BTreeSet<String> {
    quoted(source).filter(|text| is_word(text)).map(str::to_owned).collect()
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
}

/// Returns the events of the edge's own lines, except `request`.
fn log_events(files: &[(PathBuf, String)]) -> BTreeSet<String> {
    let mut events = BTreeSet::new();
    for (_, text) in files.iter().filter(|(file, _)| file.starts_with("src")) {
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let rust = code.split("Line::new(Level::").skip(1);
        let javascript = code.split("logError({ event: '").skip(1);
        events.extend(rust.filter_map(|rest| rest.split('"').nth(1)).map(str::to_owned));
        events.extend(javascript.filter_map(|rest| rest.split('\'').next()).map(str::to_owned));
        // A task's failure names its event.
        if let Some((_, rest)) = code.split_once("impl TaskFailure {") {
            events.extend(words_in_quotes(rest.split("\n}").next().unwrap_or_default()));
        }
    }
    events.retain(|event| is_word(event) && event != "request");
    events
}

/// Returns the heading, the program and the log events of each section.
fn program_events(
    files: &[(PathBuf, String)],
) -> [(&'static str, &'static str, BTreeSet<String>); 4] {
    let of = |folder: &str| {
        let own = files.iter().filter(|(file, _)| file.starts_with(folder) && !is_test(file));
        let mut events = BTreeSet::new();
        for (_, text) in own {
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
            let calls = code.split("tracing::").skip(1).filter_map(|call| call.split_once("!("));
            let names = calls.filter_map(|(_, call)| call.trim_start().strip_prefix("event = \""));
            events.extend(names.filter_map(|rest| rest.split('"').next()).map(str::to_owned));
        }
        events
    };
    let mut shared = of("crates/server/src");
    // What a library logs.
    shared.insert("log".to_owned());
    let mut auth = of("crates/auth/src");
    let audit = files.iter().find(|(file, _)| file == Path::new("crates/auth/src/audit.rs"));
    let kinds = audit.and_then(|(_, text)| text.split_once("impl EventKind {"));
    let kinds = kinds.and_then(|(_, text)| text.split_once("fn is_suspicious"));
    auth.extend(kinds.map(|(names, _)| words_in_quotes(names)).unwrap_or_default());
    [
        ("The edge", "edge", log_events(files)),
        ("Both servers", "servers", shared),
        ("The auth service", "auth service", auth),
        ("The redis gateway", "redis gateway", of("crates/redis-gateway/src")),
    ]
}

fn is_test(file: &Path) -> bool {
    file.iter().any(|part| part == "tests" || part == "tests.rs" || part == "testing.rs")
}

/// Returns the heading, the program and the metrics of each section.
fn metrics(files: &[(PathBuf, String)]) -> [(&'static str, &'static str, BTreeSet<String>); 3] {
    let below = |folder: &str| {
        let files = files.iter().filter(move |(file, _)| file.starts_with(folder));
        files.map(|(_, text)| text.as_str()).collect::<Vec<_>>()
    };
    let listener = || {
        let texts = below("crates/server/src");
        let names = texts.iter().flat_map(|text| quoted(text));
        let names = names.filter_map(|text| text.strip_prefix("{prefix}_"));
        names.map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let mut edge = BTreeSet::new();
    for text in below("src") {
        let counters = text.match_indices("_total{").filter_map(|(at, _)| {
            let before = text.get(..at)?;
            let from = before.rfind(|c: char| !c.is_ascii_lowercase() && c != '_')? + 1;
            Some(format!("{}_total", before.get(from..)?))
        });
        edge.extend(counters);
        let histograms = text.split("observe(\"").skip(1).filter_map(|rest| rest.split('"').next());
        edge.extend(histograms.map(|name| format!("{name}_milliseconds")));
    }
    let mut auth = listener();
    for text in below("crates/auth/src") {
        let whole = quoted(text).filter_map(|text| text.strip_prefix("portcullis_auth_"));
        auth.extend(whole.filter(|name| is_word(name)).map(str::to_owned));
    }
    auth.extend(arguments(&below("crates/auth/src/http/gauges.rs").concat(), &["gauge("]));
    let text = below("crates/redis-gateway/src/metrics.rs").concat();
    let mut gateway = listener();
    gateway.extend(arguments(&text, &["counters(", "counter(", "gauge(", "named("]));
    [
        ("The edge", "edge", edge),
        ("The auth service", "auth service", auth),
        ("The redis gateway", "redis gateway", gateway),
    ]
}

/// Returns the first arguments of calls, where they are words in quotes.
fn arguments(text: &str, calls: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for call in calls {
        for rest in text.split(call).skip(1) {
            let name = rest.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next());
            found.extend(name.filter(|name| is_word(name)).map(str::to_owned));
        }
    }
    found
}

fn is_header(name: &str) -> bool {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
    plain
        && (name.contains('-') || HEADERS_OF_ONE_WORD.contains(&name))
        && !name.starts_with('-')
        && !name.ends_with('-')
}

const LOG_PAGE: &str = "docs/reference/access-log.md";
const EVENTS_PAGE: &str = "docs/reference/log-events.md";
const METRICS_PAGE: &str = "docs/reference/metrics.md";
const HEADERS_PAGE: &str = "docs/reference/headers.md";
const HEADER_SOURCES: [&str; 4] = [
    "crates/core/src/forward/headers.rs",
    "crates/core/src/routing/preflight.rs",
    "src/response.rs",
    "src/response/headers.rs",
];
const HEADERS_OF_ONE_WORD: [&str; 3] = ["allow", "ratelimit", "vary"];
