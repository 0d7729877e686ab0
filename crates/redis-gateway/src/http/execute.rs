//! Executes commands: checks permissions, runs them, counts them, and encodes the replies.

use super::gateway::Gateway;
use super::response::{ResponseBody, json, resp2, unavailable};
use crate::backend::Outage;
use crate::command::{self, Access, CommandSpec};
use crate::request::Format;
use crate::script::Renamed;
use crate::token::Token;
use hyper::{Response, StatusCode};
use redis_rest::{Command, Encoding, Reply, encode_replies, encode_reply};
use std::sync::atomic::Ordering;

/// Executes a single command.
pub async fn single(
    gateway: &Gateway,
    token: &Token,
    command: Command,
    format: Format,
) -> Response<ResponseBody> {
    let reply = match run(gateway, token, vec![command]).await {
        Ok(replies) => replies.into_iter().next().unwrap_or(Reply::Null),
        Err(outage) => return unavailable(outage),
    };
    let status = match reply {
        Reply::Error(_) => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    };
    match format {
        Format::Json(encoding) => json(status, encode_reply(&reply, encoding)),
        Format::Resp2 => resp2(status, std::slice::from_ref(&reply)),
    }
}

/// Executes a pipeline: commands in order, without atomicity.
pub async fn pipeline(
    gateway: &Gateway,
    token: &Token,
    commands: Vec<Command>,
    format: Format,
) -> Response<ResponseBody> {
    match run(gateway, token, commands).await {
        Ok(replies) => match format {
            Format::Json(encoding) => json(StatusCode::OK, encode_replies(&replies, encoding)),
            Format::Resp2 => resp2(StatusCode::OK, &replies),
        },
        Err(outage) => unavailable(outage),
    }
}

/// Executes a transaction. A command without permission rejects all of it.
pub async fn transaction(
    gateway: &Gateway,
    token: &Token,
    mut commands: Vec<Command>,
    format: Format,
) -> Response<ResponseBody> {
    // The response to a transaction is always JSON.
    let encoding = match format {
        Format::Json(encoding) => encoding,
        Format::Resp2 => Encoding::Text,
    };
    let specs: Vec<Spec> = commands.iter().map(|command| command::find(command.name())).collect();
    let refusal =
        commands.iter().zip(&specs).find_map(|(command, spec)| refusal(token, command, *spec));
    if let Some(refusal) = refusal {
        specs.iter().for_each(|spec| count(gateway, *spec, "refused"));
        return json(StatusCode::BAD_REQUEST, encode_reply(&Reply::Error(refusal), Encoding::Text));
    }
    if commands.is_empty() {
        return json(StatusCode::OK, "[]".to_owned());
    }
    let renamed: Vec<Option<Renamed>> =
        commands.iter_mut().map(|command| gateway.scripts.rewrite(command)).collect();
    note_writes(gateway, specs.iter().copied());
    match gateway.backend.run_atomically(&commands).await {
        Ok(Reply::Array(mut replies)) => {
            for ((reply, renamed), spec) in replies.iter_mut().zip(renamed).zip(specs) {
                count(gateway, spec, outcome(reply));
                if let Some(renamed) = renamed {
                    renamed.restore(reply);
                }
            }
            json(StatusCode::OK, encode_replies(&replies, encoding))
        }
        Ok(discarded) => {
            specs.iter().for_each(|spec| count(gateway, *spec, "error"));
            json(StatusCode::BAD_REQUEST, encode_reply(&discarded, Encoding::Text))
        }
        Err(outage) => {
            specs.iter().for_each(|spec| count(gateway, *spec, outage.name()));
            unavailable(outage)
        }
    }
}

type Spec = Option<&'static CommandSpec>;

/// A command that was checked, before it runs.
struct Checked {
    spec: Spec,
    /// The error for a command that may not run.
    refusal: Option<String>,
    renamed: Option<Renamed>,
}

/// Runs commands in order. A command without permission gets an error, and the others still run.
async fn run(
    gateway: &Gateway,
    token: &Token,
    commands: Vec<Command>,
) -> Result<Vec<Reply>, Outage> {
    let mut checked: Vec<Checked> = Vec::with_capacity(commands.len());
    let mut allowed = Vec::with_capacity(commands.len());
    for mut command in commands {
        let spec = command::find(command.name());
        let refusal = refusal(token, &command, spec);
        let mut renamed = None;
        if refusal.is_none() {
            renamed = gateway.scripts.rewrite(&mut command);
            allowed.push(command);
        }
        checked.push(Checked { spec, refusal, renamed });
    }
    note_writes(gateway, checked.iter().map(|one| one.spec));
    let replies = if allowed.is_empty() {
        Vec::new()
    } else {
        match gateway.backend.run(allowed).await {
            Ok(replies) => replies,
            Err(outage) => {
                for one in &checked {
                    let outcome = one.refusal.as_ref().map_or(outage.name(), |_| "refused");
                    count(gateway, one.spec, outcome);
                }
                return Err(outage);
            }
        }
    };
    let mut replies = replies.into_iter();
    let merged = checked.into_iter().map(|Checked { spec, refusal, renamed }| match refusal {
        Some(text) => {
            count(gateway, spec, "refused");
            Reply::Error(text)
        }
        None => {
            let mut reply = replies.next().unwrap_or(Reply::Null);
            count(gateway, spec, outcome(&reply));
            if let Some(renamed) = renamed {
                renamed.restore(&mut reply);
            }
            reply
        }
    });
    Ok(merged.collect())
}

/// Returns the error for a command that may not run, or `None` if it may.
///
/// The command's own properties come before the token's permissions.
fn refusal(token: &Token, command: &Command, spec: Spec) -> Option<String> {
    command::refusal(command, spec).or_else(|| token.refusal(command, spec))
}

/// Changes the sync token if one of the commands may write, whether or not it succeeds.
fn note_writes(gateway: &Gateway, mut specs: impl Iterator<Item = Spec>) {
    if specs.any(may_write) {
        gateway.writes.fetch_add(1, Ordering::Relaxed);
    }
}

fn may_write(spec: Spec) -> bool {
    !matches!(spec.map(|spec| spec.access), Some(Access::Any | Access::Read))
}

fn count(gateway: &Gateway, spec: Spec, outcome: &str) {
    let family = spec.map_or("other", |spec| spec.family.name());
    gateway.metrics.commands.with_label_values(&[family, outcome]).inc();
}

/// Returns the outcome of a reply for the metrics.
///
/// In a Cluster, an outage of one node is an error in place of a reply.
fn outcome(reply: &Reply) -> &'static str {
    let Reply::Error(text) = reply else { return "ok" };
    let outages = [Outage::Deadline, Outage::Unreachable];
    let outage = outages.into_iter().find(|outage| outage.text() == text);
    outage.map_or("error", Outage::name)
}
