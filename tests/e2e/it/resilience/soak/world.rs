//! One run: the system, the clients' knowledge, and the results.

use super::history::History;
use super::model::{Model, Token};
use super::record::{Record, Reply, Topic};
use super::state::api_keys::ApiKeys;
use super::state::credits::Credits;
use super::state::guests::Guests;
use super::state::operator::Operator;
use super::state::overrides::Overrides;
use super::state::visitors::Visitors;
use super::system::System;
use crate::support::chance::Chance;
use crate::support::http::client_builder;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use std::time::{Duration, Instant};

pub struct World {
    pub system: System,
    pub model: Model,
    pub visitors: Visitors,
    pub guests: Guests,
    pub api_keys: ApiKeys,
    pub operator: Operator,
    pub credits: Credits,
    pub overrides: Overrides,
    pub history: History,
    pub record: Record,
    pub client: Client,
    /// The `REFRESH_GRACE_SECONDS` of the run.
    pub grace: Duration,
}

impl World {
    pub fn new(system: System, grace_seconds: u64) -> Self {
        // Connections of a burst are closed early, so that the edge's file descriptors correspond
        // to the load.
        let client = client_builder().timeout(Duration::from_secs(15));
        let client = client.pool_idle_timeout(Duration::from_secs(5)).build().unwrap();
        Self {
            system,
            model: Model::default(),
            visitors: Visitors::default(),
            guests: Guests::default(),
            api_keys: ApiKeys::default(),
            operator: Operator::default(),
            credits: Credits::default(),
            overrides: Overrides::default(),
            history: History::default(),
            record: Record::default(),
            client,
            grace: Duration::from_secs(grace_seconds),
        }
    }

    pub fn url(&self, path: &str) -> String {
        self.system.edge.edge(path)
    }

    /// Returns the URL of a path at one of the two isolates.
    pub fn any_url(&self, chance: &mut Chance, path: &str) -> String {
        let System { edge, other, .. } = &self.system;
        if chance.below(2) == 0 { edge.edge(path) } else { other.edge(path) }
    }

    pub async fn send(&self, request: RequestBuilder) -> Reply {
        let sent = Instant::now();
        let (status, body) = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                match response.text().await {
                    Ok(body) => (Some(status), body),
                    Err(_) => (Some(0), String::new()),
                }
            }
            Err(_) => (None, String::new()),
        };
        Reply { sent, answered: Instant::now(), status, body }
    }

    /// Compares the verdict on an access token with its client's knowledge, and records it.
    pub fn judge(&self, kind: &'static str, token: &Token, reply: &Reply) {
        self.judge_identity(kind, Some(&token.sub), reply);
        match reply.status {
            Some(101 | 200) => match token.revocation() {
                _ if token.has_expired(reply.sent) => {
                    self.record
                        .find(Topic::WrongAccept, format!("{kind}: an expired token passed"));
                }
                Some(revocation) if reply.sent > revocation.at => {
                    let delay = reply.sent - revocation.at;
                    if self.history.excuses(revocation, reply.sent) {
                        self.record.late(delay);
                        self.record.right(kind, reply);
                    } else {
                        let delivered = if revocation.delivered { "delivered" } else { "pending" };
                        let text =
                            format!("{kind}: passed {delay:?} after its {delivered} revocation");
                        self.record.find(Topic::WrongAccept, text);
                    }
                }
                _ => self.record.right(kind, reply),
            },
            Some(401 | 403) if token.may_be_rejected(reply.sent, reply.answered) => {
                self.record.right(kind, reply)
            }
            Some(403)
                if token.was_blocked()
                    && self.history.had_fault(reply.sent, reply.answered)
                    && reply.body.contains("\"blocked\"") =>
            {
                self.record.failure(kind, reply, &self.history);
            }
            Some(401 | 403) => {
                self.record.find(Topic::WrongReject, format!("{kind}: {}", reply.body));
            }
            _ => self.record.failure(kind, reply, &self.history),
        }
    }

    /// Checks, if the upstream echoed the request, that it received this subject. `None` stands for
    /// a request without a subject.
    pub fn judge_identity(&self, kind: &'static str, subject: Option<&str>, reply: &Reply) {
        if reply.status != Some(200) {
            return;
        }
        let echo: Value = serde_json::from_str(&reply.body).unwrap_or_default();
        if echo["headers"]["portcullis-subject"].as_str() != subject {
            let text = format!("{kind}: {subject:?} is not in {echo}");
            self.record.find(Topic::Identity, text);
        }
    }
}
