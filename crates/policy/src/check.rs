//! `check`: all errors of a policy file, its risks, and its size.

use crate::command::{Host, Outcome};
use crate::file::{PolicyFile, Position};
use crate::{members, risk};
use portcullis_core::Policy;
use serde_json::{Value, json};
use std::collections::HashSet;
use std::fmt::Write as _;

/// What `check` found at one place.
struct Finding {
    position: Position,
    is_error: bool,
    /// The environment that it is about, if not the file as it stands.
    environment: Option<String>,
    /// The place in the policy; empty if the text is not TOML.
    place: String,
    message: String,
    /// The name of a risk, by which the policy can accept it.
    risk: Option<String>,
}

/// Checks a policy file for one environment, or for all that it has.
pub(crate) fn check(path: &str, environment: Option<&str>, host: &Host<'_>) -> Outcome {
    let text = match (host.read)(path) {
        Ok(text) => text,
        Err(error) => return Outcome::failed(&format!("can't read {path}: {error}")),
    };
    let bytes = text.len();
    let file = match PolicyFile::parse(text) {
        Ok(file) => file,
        Err(errors) => {
            let findings = errors.into_iter().map(|error| Finding {
                position: error.position,
                is_error: true,
                environment: None,
                place: String::new(),
                message: error.message,
                risk: None,
            });
            return outcome(path, findings.collect(), Value::Null, host);
        }
    };
    let names = file.sections.get("env").and_then(Value::as_object);
    let mut names: Vec<String> =
        names.into_iter().flat_map(|table| table.keys().cloned()).collect();
    // The Worker refuses each request if the policy lacks an environment that is selected.
    for selected in host.selected_environments() {
        if !names.contains(&selected) {
            names.push(selected);
        }
    }
    let environments: Vec<Option<String>> = match environment {
        Some(name) => vec![Some(name.to_owned())],
        None => std::iter::once(None).chain(names.into_iter().map(Some)).collect(),
    };
    let (mut findings, mut sizes) = (Vec::new(), Value::Null);
    for environment in environments {
        match of_environment(&file, environment.as_deref(), host, &mut findings) {
            Some(policy) if sizes.is_null() => {
                sizes = json!({
                    "bytes": bytes,
                    "embedded_bytes": file.document().len(),
                    "issuers": policy.issuers.len(),
                    "routes": policy.routes.len(),
                });
            }
            _ => {}
        }
    }
    // An environment repeats the findings of what it does not change.
    let mut seen = HashSet::new();
    findings.retain(|finding| seen.insert((finding.place.clone(), finding.message.clone())));
    findings.sort_by_key(|finding| (finding.position.line, finding.position.column));
    outcome(path, findings, sizes, host)
}

/// Adds the findings of one environment. Returns its policy if that is valid.
fn of_environment(
    file: &PolicyFile,
    environment: Option<&str>,
    host: &Host<'_>,
    findings: &mut Vec<Finding>,
) -> Option<Policy> {
    let lookup = |name: &str| host.variable(name, environment);
    let mut add = |is_error, place: &str, message: String, risk: Option<String>| {
        findings.push(Finding {
            position: file.position(place, environment),
            is_error,
            environment: environment.map(str::to_owned),
            place: place.to_owned(),
            message,
            risk,
        });
    };
    let names = host.names(environment);
    let policy = match Policy::assume_named(&file.document(), &names, lookup) {
        Ok(policy) => policy,
        Err(errors) => {
            for error in errors {
                add(true, &error.name, members::message(&error), None);
            }
            return None;
        }
    };
    let risks = risk::of(&policy);
    for (at, accepted) in policy.accepted_risks.iter().enumerate() {
        if !risks.iter().any(|risk| risk.name == *accepted) {
            let place = format!("accept[{at}]");
            let message = format!("{place}: {accepted} is not a risk of this policy; remove it");
            add(true, &place, message, None);
        }
    }
    for risk in risks {
        if !policy.accepted_risks.contains(&risk.name) {
            add(false, &risk.place, risk.reason, Some(risk.name));
        }
    }
    Some(policy)
}

fn outcome(path: &str, findings: Vec<Finding>, sizes: Value, host: &Host<'_>) -> Outcome {
    let errors = findings.iter().filter(|finding| finding.is_error).count();
    let risks = findings.len() - errors;
    let status = u8::from(errors > 0);
    if host.json {
        let findings = findings.iter().map(|finding| {
            json!({
                "severity": if finding.is_error { "error" } else { "risk" },
                "line": finding.position.line,
                "column": finding.position.column,
                "environment": finding.environment,
                "place": finding.place,
                "message": finding.message,
                "risk": finding.risk,
            })
        });
        let findings: Vec<Value> = findings.collect();
        let json =
            json!({ "file": path, "valid": errors == 0, "findings": findings, "size": sizes });
        return Outcome { text: format!("{json:#}\n"), status };
    }
    let mut text = String::new();
    for Finding { position, is_error, environment, message, risk, .. } in &findings {
        let kind = if *is_error { host.red("error") } else { host.yellow("risk") };
        let environment =
            environment.as_ref().map(|name| format!("[env.{name}] ")).unwrap_or_default();
        let Position { line, column } = position;
        let _ = write!(text, "{path}:{line}:{column}: {kind}: {environment}{message}");
        if let Some(risk) = risk {
            let _ = write!(text, " (accept = [\"{risk}\"] accepts it)");
        }
        text.push('\n');
    }
    if let (Some(routes), Some(issuers), Some(bytes)) =
        (sizes.get("routes"), sizes.get("issuers"), sizes.get("embedded_bytes"))
    {
        let _ = writeln!(
            text,
            "{path}: {routes} routes, {issuers} issuers, {bytes} bytes in the Worker"
        );
    }
    let verdict = if errors == 0 { host.green("valid") } else { host.red("invalid") };
    let _ = writeln!(text, "{verdict}: {errors} errors, {risks} risks");
    Outcome { text, status }
}

#[cfg(test)]
mod tests;
