//! Executes commands: checks permissions, runs them, counts them, and encodes the replies.

use super::gateway::{Gateway, SYNC_TOKEN};
use super::response::{Content, ResponseBody, error, json, replies, set_header, unavailable};
use crate::backend::{Outage, Replies};
use crate::command::{self, Access, CommandSpec};
use crate::request::Format;
use crate::script::Renamed;
use crate::token::Token;
use hyper::{Response, StatusCode};
use redis_rest::{Command, Encoding, Reply};

/// Executes a single command.
pub async fn single(
    gateway: &Gateway,
    token: &Token,
    command: Command,
    format: Format,
) -> Response<ResponseBody> {
    let Executed { outcome, has_written } = run(gateway, token, vec![command]).await;
    let response = outcome.map(|Replies { value, memory }| {
        let reply = value.first().unwrap_or(&Reply::Null);
        let status = match reply {
            Reply::Error(_) => StatusCode::BAD_REQUEST,
            _ => StatusCode::OK,
        };
        replies(status, format, Content::One(reply), &memory)
    });
    respond(gateway, response, has_written)
}

/// Executes a pipeline: commands in order, without atomicity.
pub async fn pipeline(
    gateway: &Gateway,
    token: &Token,
    commands: Vec<Command>,
    format: Format,
) -> Response<ResponseBody> {
    let Executed { outcome, has_written } = run(gateway, token, commands).await;
    let response = outcome.map(|Replies { value, memory }| {
        replies(StatusCode::OK, format, Content::All(&value), &memory)
    });
    respond(gateway, response, has_written)
}

/// Completes the response to commands that were executed, or may have been.
fn respond(
    gateway: &Gateway,
    response: Result<Response<ResponseBody>, Outage>,
    has_written: bool,
) -> Response<ResponseBody> {
    let mut response = response.unwrap_or_else(unavailable);
    set_header(response.headers_mut(), SYNC_TOKEN, &gateway.sync_token(has_written));
    response
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
    let refusal = commands
        .iter()
        .zip(&specs)
        .find_map(|(command, spec)| refusal(token, command, *spec))
        .or_else(|| token.transaction_refusal(&commands));
    if let Some(refusal) = refusal {
        specs.iter().for_each(|spec| count(gateway, *spec, "refused"));
        return error(StatusCode::BAD_REQUEST, &refusal);
    }
    if commands.is_empty() {
        return json(StatusCode::OK, "[]");
    }
    let renamed: Vec<Option<Renamed>> =
        commands.iter_mut().map(|command| gateway.scripts.rewrite(command)).collect();
    let has_written = specs.iter().copied().any(may_write);
    let outcome_of_all = gateway.backends.run_atomically(token.server, &commands).await;
    let response = outcome_of_all.map(|Replies { value, memory }| match value {
        Reply::Array(mut all) => {
            for ((reply, renamed), spec) in all.iter_mut().zip(renamed).zip(&specs) {
                count(gateway, *spec, outcome(reply));
                if let Some(renamed) = renamed {
                    renamed.restore(reply);
                }
            }
            replies(StatusCode::OK, Format::Json(encoding), Content::All(&all), &memory)
        }
        discarded => {
            specs.iter().for_each(|spec| count(gateway, *spec, "error"));
            let format = Format::Json(Encoding::Text);
            replies(StatusCode::BAD_REQUEST, format, Content::One(&discarded), &memory)
        }
    });
    if let Err(outage) = &response {
        specs.iter().for_each(|spec| count(gateway, *spec, outage.name()));
    }
    respond(gateway, response, has_written)
}

type Spec = Option<&'static CommandSpec>;

/// A command that was checked, before it runs.
struct Checked {
    spec: Spec,
    /// The error for a command that may not run.
    refusal: Option<String>,
    renamed: Option<Renamed>,
}

/// The outcome of commands, and whether one of them may have written.
struct Executed {
    outcome: Result<Replies<Vec<Reply>>, Outage>,
    has_written: bool,
}

/// Runs commands in order. A command without permission gets an error, and the others still run.
async fn run(gateway: &Gateway, token: &Token, commands: Vec<Command>) -> Executed {
    let mut checked: Vec<Checked> = Vec::with_capacity(commands.len());
    let mut allowed = Vec::with_capacity(commands.len());
    let mut has_written = false;
    for mut command in commands {
        let spec = command::find(command.name());
        let refusal = refusal(token, &command, spec);
        let mut renamed = None;
        if refusal.is_none() {
            renamed = gateway.scripts.rewrite(&mut command);
            has_written |= may_write(spec);
            allowed.push(command);
        }
        checked.push(Checked { spec, refusal, renamed });
    }
    let outcome = gateway.backends.run(token.server, allowed).await;
    if let Err(outage) = &outcome {
        for one in &checked {
            let outcome = one.refusal.as_ref().map_or(outage.name(), |_| "refused");
            count(gateway, one.spec, outcome);
        }
    }
    let outcome = outcome.map(|replies| replies.map(|replies| merge(gateway, checked, replies)));
    Executed { outcome, has_written }
}

/// Inserts the errors for refused commands among the replies of Redis.
fn merge(gateway: &Gateway, checked: Vec<Checked>, replies: Vec<Reply>) -> Vec<Reply> {
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
    merged.collect()
}

/// Returns the error for a command that may not run; `None` if it may.
///
/// The command's own properties are checked before the token's permissions.
fn refusal(token: &Token, command: &Command, spec: Spec) -> Option<String> {
    command::refusal(command, spec).or_else(|| token.refusal(command, spec))
}

/// Returns whether a command may write, even if it then fails.
fn may_write(spec: Spec) -> bool {
    !matches!(spec.map(|spec| spec.access), Some(Access::Any | Access::Read))
}

fn count(gateway: &Gateway, spec: Spec, outcome: &str) {
    let family = spec.map_or("other", |spec| spec.family.name());
    gateway.metrics.commands.with_label_values(&[family, outcome]).inc();
}

/// Returns the outcome of a reply for the metrics.
///
/// If one node of a Cluster or a later step fails, an error takes the place of the reply.
fn outcome(reply: &Reply) -> &'static str {
    let Reply::Error(text) = reply else { return "ok" };
    let outages = [Outage::Deadline, Outage::Memory, Outage::Unreachable];
    let outage = outages.into_iter().find(|outage| outage.text() == text);
    outage.map_or("error", Outage::name)
}
