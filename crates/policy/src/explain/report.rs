//! The steps of an explanation, and its verdict.

use super::assume::Assumptions;
use crate::command::{Host, Outcome};
use portcullis_core::{
    Access, Claims, Denial, Destination, EventFormat, Issuer, Permit, Policy, Refusal, RequestHead,
    Route, Target,
};
use redis_rest::Command;
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is printed.
pub(super) struct Report {
    request: String,
    pub(super) steps: Vec<(String, String)>,
    commands: Vec<String>,
    pub(super) verdict: Option<Verdict>,
    /// What kept the command from finding the verdict.
    failure: Option<String>,
}

pub(super) enum Verdict {
    Forwarded {
        to: String,
        remove: Vec<String>,
        set: Vec<(String, String)>,
    },
    Responded {
        status: u16,
        code: Option<&'static str>,
        text: String,
        fields: Vec<(String, String)>,
    },
}

impl Report {
    pub(super) fn new(method: &str, target: &str) -> Self {
        let request = format!("{method} {target}");
        Self { request, steps: Vec::new(), commands: Vec::new(), verdict: None, failure: None }
    }

    pub(super) fn step(&mut self, what: &str, outcome: &str) {
        self.steps.push((what.to_owned(), outcome.to_owned()));
    }

    /// Ends the command without a verdict.
    pub(super) fn fail(&mut self, reason: String) {
        self.failure = Some(reason);
    }

    pub(super) fn route(&mut self, route: &Route, policy: &Policy) {
        self.step(&format!("route {}", route.name), "takes the request");
        if let Some(resource) = route.resource.and_then(|place| policy.resources.get(place)) {
            let audiences = resource.audiences.join(" or ");
            let text =
                format!("{}, so that a token must be for {audiences}", resource.url.as_str());
            self.step(&format!("resource {}", resource.name), &text);
        }
        if route.access == Access::Optional {
            self.step(
                "access",
                "optional: no token is needed, but one that is there must be valid",
            );
        }
    }

    /// Adds the scope of a token and its other claims that the policy uses, with their places.
    pub(super) fn claims(&mut self, claims: &Claims, issuer: &Issuer, others: &[String]) {
        let scope = if claims.scope.is_empty() { "none" } else { &claims.scope };
        let places = issuer.scope_claims.join(" and ");
        self.step("scope", &format!("{scope} (from {places})"));
        for place in others {
            let value = claims.others.get(place).map_or("none".to_owned(), Value::to_string);
            self.step(&format!("claim {place}"), &value);
        }
    }

    /// Adds a command of the store.
    pub(super) fn command(&mut self, command: &Command) {
        let words = command.words().iter().map(|word| String::from_utf8_lossy(word).into_owned());
        self.commands.push(words.collect::<Vec<_>>().join(" "));
    }

    /// Ends with a response of the edge's own.
    pub(super) fn answer(&mut self, status: u16, fields: &[(&'static str, String)]) {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let text = "the edge answers by itself".to_owned();
        self.verdict =
            Some(Verdict::Responded { status, code: None, text, fields: fields.collect() });
    }

    /// Ends with a refusal.
    pub(super) fn refuse(&mut self, refusal: Refusal, policy: &Policy, head: &RequestHead<'_>) {
        let (status, ..) = refusal.status_and_challenge();
        let mut fields = Vec::new();
        let route = match policy.destination(head) {
            Ok(Destination::Route(route)) => Some(route),
            Ok(Destination::Edge(_)) | Err(_) => None,
        };
        if let Some(challenge) = policy.challenge(refusal, route) {
            fields.push(("www-authenticate".to_owned(), challenge));
        }
        if refusal == Refusal::Denied(Denial::MethodNotAllowed) {
            fields.push(("allow".to_owned(), policy.allowed_methods(head).join(", ")));
        }
        let text = refusal.to_string();
        self.verdict =
            Some(Verdict::Responded { status, code: Some(refusal.code()), text, fields });
    }

    /// Ends with a permit.
    pub(super) fn permit(&mut self, permit: &Permit<'_>, head: &RequestHead<'_>) {
        let edits = permit.header_edits(head, REQUEST_ID);
        let to = match permit.target() {
            Target::Auth(url) => format!("the auth service, {}", url.join(head.target())),
            Target::Edge => return self.event(head),
            Target::Upstream(url) => format!("the upstream, {}", url.join(head.target())),
        };
        let set = edits.set.iter().map(|(name, value)| {
            // Another value each time, or a part of a secret.
            let value = match *name {
                "cookie" => "(without its tokens)",
                "traceparent" | "x-request-id" => "(new for each request)",
                _ => value,
            };
            ((*name).to_owned(), value.to_owned())
        });
        let remove = edits.remove.iter().map(|name| (*name).to_owned()).collect();
        self.verdict = Some(Verdict::Forwarded { to, remove, set: set.collect() });
    }

    /// Ends with the response to a pushed event.
    fn event(&mut self, head: &RequestHead<'_>) {
        let Some(format) = EventFormat::of(head) else {
            let (status, ..) = Refusal::from(Denial::EventMalformed).status_and_challenge();
            let (code, text) = (Denial::EventMalformed.code(), Denial::EventMalformed.to_string());
            self.verdict =
                Some(Verdict::Responded { status, code: Some(code), text, fields: Vec::new() });
            return;
        };
        self.step("event", "the edge verifies it, and writes the markers that it asks for");
        let answer = format.answer();
        self.answer(answer.status, &answer.fields);
    }

    pub(super) fn outcome(&self, assumptions: &Assumptions, host: &Host<'_>) -> Outcome {
        if let Some(reason) = &self.failure {
            return Outcome::failed(reason);
        }
        let text = match host.json {
            true => format!("{:#}\n", self.json(assumptions)),
            false => self.text(assumptions, host),
        };
        Outcome { text, status: 0 }
    }

    fn json(&self, assumptions: &Assumptions) -> Value {
        let steps =
            self.steps.iter().map(|(what, outcome)| json!({ "step": what, "outcome": outcome }));
        let verdict = match &self.verdict {
            None => Value::Null,
            Some(Verdict::Forwarded { to, remove, set }) => {
                json!({ "verdict": "forwarded", "to": to, "remove": remove, "set": set })
            }
            Some(Verdict::Responded { status, code, text, fields }) => json!({
                "verdict": if code.is_some() { "refused" } else { "answered" },
                "status": status, "code": code, "detail": text, "headers": fields,
            }),
        };
        json!({
            "request": self.request,
            "steps": steps.collect::<Vec<_>>(),
            "store_commands": self.commands,
            "assumptions": assumptions.notes(),
            "outcome": verdict,
        })
    }

    /// Returns the explanation as the command prints it.
    pub(super) fn text(&self, assumptions: &Assumptions, host: &Host<'_>) -> String {
        let mut text = format!("{}\n", self.request);
        for (what, outcome) in &self.steps {
            let _ = writeln!(text, "  {what}: {outcome}");
        }
        for command in &self.commands {
            let _ = writeln!(text, "  store command: {command}");
        }
        for note in assumptions.notes() {
            let _ = writeln!(text, "  {}: {note}", host.yellow("assumed"));
        }
        match &self.verdict {
            None => {}
            Some(Verdict::Forwarded { to, remove, set }) => {
                let _ = writeln!(text, "{} to {to}", host.green("forwarded"));
                for (name, value) in set {
                    let _ = writeln!(text, "  set {name}: {value}");
                }
                if !remove.is_empty() {
                    let _ = writeln!(text, "  remove {}", remove.join(", "));
                }
            }
            Some(Verdict::Responded { status, code, text: detail, fields }) => {
                let verdict = match code {
                    Some(code) => host.red(&format!("refused: {status} {code}")),
                    None => host.green(&format!("answered: {status}")),
                };
                let _ = writeln!(text, "{verdict}: {detail}");
                for (name, value) in fields {
                    let _ = writeln!(text, "  {name}: {value}");
                }
            }
        }
        text
    }
}

const REQUEST_ID: &str = "00000000-0000-4000-8000-000000000000";
