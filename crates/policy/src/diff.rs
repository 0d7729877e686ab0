//! `diff`: what changes for requests between two policies, in words. What is weaker comes first.
//!
//! Requests are compared, not members: for the paths and methods of both policies, the route that
//! takes them before is compared with the route that takes them after.

mod general;
mod limits;
mod paths;
mod route;

use crate::command::{Host, Outcome};
use crate::file::PolicyFile;
use limits::SharedLimits;
use paths::{Kind, Path, paths};
use portcullis_core::{
    Access, Destination, Policy, RequestHead, Route, RouteIndex, merge_sections,
};
use serde_json::{Map, Value, json};
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;

/// One change, in words.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Change {
    /// Whether nothing more is allowed than before. `false` sorts first.
    pub(crate) is_same_or_stricter: bool,
    pub(crate) text: String,
}

impl Change {
    pub(crate) fn weaker(text: impl Into<String>) -> Self {
        Self { is_same_or_stricter: false, text: text.into() }
    }

    pub(crate) fn other(text: impl Into<String>) -> Self {
        Self { is_same_or_stricter: true, text: text.into() }
    }
}

/// What happens to requests of some methods and paths, before and after.
struct Comparison {
    requests: Vec<String>,
    subject: String,
    changes: Vec<Change>,
}

/// Compares two policy files in one environment.
pub(crate) fn diff(old: &str, new: &str, environment: Option<&str>, host: &Host<'_>) -> Outcome {
    let load = |path: &str| load(path, environment, host);
    let (old, new) = match (load(old), load(new)) {
        (Ok(old), Ok(new)) => (old, new),
        (Err(outcome), _) | (_, Err(outcome)) => return outcome,
    };
    let mut comparisons = general::compare(&old.policy, &new.policy);
    let Some(paths) = paths([&old.sections, &new.sections]) else {
        return Outcome::failed(
            "the paths of too many routes overlap to compare each pair of them; remove routes from \
             both files, and compare these apart",
        );
    };
    comparisons.extend(compare_requests(&old, &new, &paths));
    comparisons.extend(general::compare_sections(&old, &new));
    comparisons.retain(|comparison| !comparison.changes.is_empty());
    for comparison in &mut comparisons {
        comparison.changes.sort();
    }
    comparisons.sort_by_key(|comparison| {
        comparison.changes.iter().all(|change| change.is_same_or_stricter)
    });
    outcome(&comparisons, host)
}

struct Loaded {
    sections: Map<String, Value>,
    policy: Policy,
}

fn load(path: &str, environment: Option<&str>, host: &Host<'_>) -> Result<Loaded, Outcome> {
    let text = (host.read)(path)
        .map_err(|error| Outcome::failed(&format!("can't read {path}: {error}")))?;
    let invalid = || Outcome::failed(&format!("{path} is invalid; run check on it first"));
    let file = PolicyFile::parse(text).map_err(|_| invalid())?;
    let lookup = |name: &str| host.variable(name, environment);
    let policy = Policy::assume(&file.document(), lookup).map_err(|_| invalid())?;
    let mut sections = file.sections;
    let environments = sections.remove("env");
    let changes = environment.and_then(|name| environments.as_ref()?.get(name)?.as_object());
    if let Some(changes) = changes {
        merge_sections(&mut sections, changes);
    }
    sections.values_mut().for_each(|value| resolve(value, &lookup));
    Ok(Loaded { sections, policy })
}

/// Replaces the variables that are known.
fn resolve(value: &mut Value, lookup: &dyn Fn(&str) -> Option<String>) {
    match value {
        Value::String(text) => {
            let name = text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
            if let Some(found) = name.and_then(lookup) {
                *text = found;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| resolve(value, lookup)),
        Value::Object(table) => table.values_mut().for_each(|value| resolve(value, lookup)),
        _ => {}
    }
}

/// Where a request goes.
#[derive(Clone, Copy)]
enum Reach<'p> {
    Route(&'p Route),
    Refused(&'static str),
}

impl<'p> Reach<'p> {
    fn of(routes: &RouteIndex<'p>, head: &RequestHead<'_>) -> Self {
        match routes.destination(head) {
            Ok(Destination::Route(route)) if route.access == Access::Deny => {
                Self::Refused("route_denied")
            }
            Ok(Destination::Route(route)) => Self::Route(route),
            // A metadata document of the edge's own.
            Ok(Destination::Edge(_)) => Self::Refused("answered by the edge"),
            Err(denial) => Self::Refused(denial.code()),
        }
    }

    /// Returns whether it is a route, and its name or the code.
    fn key(self) -> (bool, &'p str) {
        match self {
            Self::Route(route) => (true, &route.name),
            Self::Refused(code) => (false, code),
        }
    }
}

/// Both policies, and what happens to the limits that several routes share.
struct Sides<'p> {
    old: &'p Policy,
    new: &'p Policy,
    shared_limits: SharedLimits<'p>,
}

/// Requests that go to one place before, and to one after.
struct Group<'p> {
    before: Reach<'p>,
    after: Reach<'p>,
    requests: Vec<String>,
    /// The kind of their paths.
    kind: Kind,
}

fn compare_requests(old: &Loaded, new: &Loaded, paths: &[Path]) -> Vec<Comparison> {
    let groups = groups(old, new, paths);
    let moves = groups.iter().filter_map(|group| match (group.before, group.after) {
        (Reach::Route(before), Reach::Route(after)) => Some((before, after)),
        _ => None,
    });
    let shared_limits = SharedLimits::of(moves);
    let sides = Sides { old: &old.policy, new: &new.policy, shared_limits };
    let compare = |group: Group<'_>| {
        let (subject, changes) = compare_reaches(group.before, group.after, &sides);
        Comparison { requests: group.requests, subject, changes }
    };
    groups.into_iter().map(compare).collect()
}

/// Returns the requests that are compared, by where they go before and after.
fn groups<'p>(old: &'p Loaded, new: &'p Loaded, paths: &[Path]) -> Vec<Group<'p>> {
    let mut groups: Vec<Group<'p>> = Vec::new();
    // By the routes before and after.
    let mut places: HashMap<_, usize> = HashMap::new();
    let methods = methods([&old.sections, &new.sections]);
    let [before, after] = [&old.policy, &new.policy].map(RouteIndex::of);
    for Path { path, kind } in paths {
        let url = format!("https://api.example{path}");
        let head = |method| RequestHead::new(method, &url, Vec::new());
        let [own, others] = [&before, &after].map(|routes| routes.candidates(&head("GET")));
        let candidates = own.zip(others).map(|(own, others)| [own, others].concat());
        // By which of the routes list a method.
        let mut reached: HashMap<Vec<bool>, _> = HashMap::new();
        for method in &methods {
            let reach = || {
                let head = head(method);
                (Reach::of(&before, &head), Reach::of(&after, &head))
            };
            let (before, after) = match &candidates {
                None => reach(),
                Some(routes) => {
                    let listing = routes.iter().map(|route| route.lists(method)).collect();
                    *reached.entry(listing).or_insert_with(reach)
                }
            };
            let place = *places.entry((before.key(), after.key())).or_insert(groups.len());
            if place == groups.len() {
                groups.push(Group { before, after, requests: Vec::new(), kind: *kind });
            }
            if let Some(group) = groups.get_mut(place).filter(|group| group.kind == *kind) {
                group.requests.push(format!("{method} {path}"));
            }
        }
    }
    groups
}

/// Returns what requests are called that went to one place and go to another, and what changed.
fn compare_reaches(
    before: Reach<'_>,
    after: Reach<'_>,
    sides: &Sides<'_>,
) -> (String, Vec<Change>) {
    match (before, after) {
        (Reach::Route(before), Reach::Route(after)) => {
            let moved = before.name != after.name;
            let subject = match moved {
                true => format!("route {} (was route {})", after.name, before.name),
                false => format!("route {}", after.name),
            };
            (subject, route::compare(before, after, sides))
        }
        (Reach::Refused(before), Reach::Route(after)) => {
            let text = format!("opens: {before} before, now {}", route::describe(after));
            (format!("route {}", after.name), vec![Change::weaker(text)])
        }
        (Reach::Route(before), Reach::Refused(after)) => {
            let text = format!("closes: now {after}");
            (format!("route {}", before.name), vec![Change::other(text)])
        }
        (Reach::Refused(before), Reach::Refused(after)) if before != after => {
            let text = format!("refused as before: {before} before, now {after}");
            ("no route".to_owned(), vec![Change::other(text)])
        }
        (Reach::Refused(_), Reach::Refused(_)) => ("no route".to_owned(), Vec::new()),
    }
}

/// Returns the methods that are compared: the usual ones, and those that a policy names.
fn methods(policies: [&Map<String, Value>; 2]) -> BTreeSet<String> {
    let routes = policies.into_iter().filter_map(|sections| sections.get("routes")?.as_array());
    let named = routes.flatten().filter_map(|route| route.get("methods")?.as_array()).flatten();
    let usual = METHODS.map(str::to_owned).into_iter();
    usual.chain(named.filter_map(Value::as_str).map(str::to_owned)).collect()
}

fn outcome(comparisons: &[Comparison], host: &Host<'_>) -> Outcome {
    let changes = || comparisons.iter().flat_map(|comparison| &comparison.changes);
    let weaker = changes().filter(|change| !change.is_same_or_stricter).count();
    let status = if weaker > 0 { WEAKER } else { 0 };
    if host.json {
        let comparisons = comparisons.iter().map(|comparison| {
            let changes = comparison.changes.iter().map(
                |change| json!({ "weaker": !change.is_same_or_stricter, "text": change.text }),
            );
            json!({
                "subject": comparison.subject,
                "requests": comparison.requests,
                "changes": changes.collect::<Vec<_>>(),
            })
        });
        let comparisons: Vec<Value> = comparisons.collect();
        let json = json!({ "weaker": weaker, "comparisons": comparisons });
        return Outcome { text: format!("{json:#}\n"), status };
    }
    let mut text = String::new();
    for Comparison { requests, subject, changes } in comparisons {
        let shown = requests.get(..requests.len().min(SHOWN)).unwrap_or_default().join(", ");
        let more = requests.len().saturating_sub(SHOWN);
        let _ = match (requests.is_empty(), more) {
            (true, _) => writeln!(text, "{subject}"),
            (false, 0) => writeln!(text, "{subject}: {shown}"),
            (false, more) => writeln!(text, "{subject}: {shown} and {more} more"),
        };
        for change in changes {
            let mark = match change.is_same_or_stricter {
                true => "  changed".to_owned(),
                false => host.red("  WEAKER "),
            };
            let _ = writeln!(text, "{mark} {}", change.text);
        }
    }
    let _ = match (comparisons.is_empty(), weaker) {
        (true, _) => writeln!(text, "{}", host.green("no change")),
        (false, 0) => writeln!(text, "{}", host.green("nothing is weaker")),
        (false, weaker) => writeln!(text, "{}", host.red(&format!("{weaker} weaker"))),
    };
    Outcome { text, status }
}

/// The methods that are compared always. One that neither policy names goes where these go that
/// neither names.
const METHODS: [&str; 7] = ["DELETE", "GET", "OPTIONS", "PATCH", "POST", "PUT", "X-OTHER"];
/// How many requests of a comparison are shown.
const SHOWN: usize = 4;
/// The exit status if something is weaker.
const WEAKER: u8 = 3;

#[cfg(test)]
mod tests;
