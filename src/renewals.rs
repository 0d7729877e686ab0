//! Questions to the store that no request waits for: leases and clearances of tokens in use are
//! renewed before they end.

pub mod queue;

use crate::context::RequestContext;
use crate::dependency::breakers::Health;
use crate::platform::clock;
use crate::{limits, store};
use portcullis_core::{LimitCheck, Outage, Renewal, RenewedToken, VerifiedToken};
use queue::Batch;
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// Has the clearance of a token renewed if it ends soon.
pub fn renew_clearance(token: &Rc<VerifiedToken>, context: &RequestContext) {
    let bound_ms = bound_ms(context);
    let due = context.isolate.tokens.due_renewal(token.hash(), bound_ms, clock::now_ms());
    if let Some(requirement) = due {
        let renewed = RenewedToken { token: Rc::clone(token), requirement };
        context.isolate.renewals.add_clearance(renewed);
    }
}

/// Sends the questions that wait, in the background, unless enough POSTs are in flight. Their
/// tasks send them then.
pub fn send(context: &RequestContext) {
    let Some(sending) = context.isolate.renewals.sender() else {
        return;
    };
    context.spawn(|context| async move {
        let _sending = sending;
        for _ in 0..POSTS_PER_TASK_MAX {
            let Some(batch) = context.isolate.renewals.take() else {
                return;
            };
            ask(batch, &context).await;
        }
    });
}

/// Sends one POST, and keeps the answers.
pub async fn ask(batch: Batch, context: &RequestContext) {
    let asked_ms = clock::now_ms();
    context.isolate.limits.leases.borrow_mut().observe(asked_ms);
    context.clock_steps.set(context.isolate.observe_clock(asked_ms));
    match batch {
        Batch::Leases(limit_checks) => {
            let commands: Vec<Command> = limit_checks.iter().map(LimitCheck::command).collect();
            let mut replies =
                store::execute(&commands, context).await.unwrap_or_default().into_iter();
            for limit_check in limit_checks {
                let reply = replies.next();
                limits::record_use(&limit_check, reply.as_ref(), context);
                limits::keep_lease(&limit_check, reply.as_ref(), asked_ms, context);
            }
        }
        Batch::Clearances(renewed) => {
            // One command, because a store bills each. It fails if one node of a Cluster is down.
            for count in [renewed.len(), 1] {
                let failed = ask_clearances(&renewed, count, asked_ms, context).await;
                if !failed || renewed.len() == 1 {
                    break;
                }
            }
        }
    }
}

/// Asks the store about clearances, `count` of them in one command. Returns whether it replied with
/// an error.
async fn ask_clearances(
    renewed: &[RenewedToken],
    count: usize,
    asked_ms: u64,
    context: &RequestContext,
) -> bool {
    let queries: Vec<Command> =
        renewed.chunks(count).map(|part| context.policy.renewal_query(part)).collect();
    let if_all_fail = match count {
        1 => Health::Failed(Outage::StoreBadResponse),
        _ => Health::Inconclusive,
    };
    let replies = store::execute_with(&queries, if_all_fail, context).await.unwrap_or_default();
    let failed = replies.iter().any(|reply| matches!(reply, Reply::Error(_)));
    for (part, reply) in renewed.chunks(count).zip(replies) {
        keep_clearances(part, reply, asked_ms, context);
    }
    failed
}

fn keep_clearances(
    renewed: &[RenewedToken],
    reply: Reply,
    asked_ms: u64,
    context: &RequestContext,
) {
    let tokens = &context.isolate.tokens;
    let renewals = context.policy.renewals(renewed, reply, context.now);
    for (RenewedToken { token, requirement }, renewal) in renewed.iter().zip(renewals) {
        let hash = token.hash();
        match renewal {
            // As in a request, the bound counts from before the question.
            Renewal::Cleared => {
                let (until_ms, steps) = (asked_ms + bound_ms(context), context.clock_steps.get());
                tokens.set_cleared(hash, *requirement, until_ms, steps);
            }
            Renewal::Revoked(marker) => tokens.set_revoked(hash, marker, asked_ms),
            Renewal::Ended => tokens.end_clearance(hash),
            Renewal::Unknown => {}
        }
    }
}

fn bound_ms(context: &RequestContext) -> u64 {
    u64::from(context.policy.revocation_delay_seconds_max) * 1000
}

/// The most POSTs that one request sends for others, one after another.
const POSTS_PER_TASK_MAX: usize = 2;
