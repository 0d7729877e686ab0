//! Questions to the store that no request waits for: leases and clearances of tokens in use are
//! renewed before they end.

pub mod queue;

use crate::context::RequestContext;
use crate::platform::clock;
use crate::{limits, store};
use portcullis_core::{Renewal, VerifiedToken};
use queue::Question;
use redis_rest::{Command, Reply};
use std::rc::Rc;

/// Has the clearance of a token renewed if it ends soon.
pub fn renew_clearance(token: &Rc<VerifiedToken>, context: &RequestContext) {
    let bound_ms = bound_ms(context);
    let due = context.isolate.tokens.due_renewal(token.hash(), bound_ms, clock::now_ms());
    if let Some(requirement) = due {
        context.isolate.renewals.add(Question::Clearance(Rc::clone(token), requirement));
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
            let questions = context.isolate.renewals.take();
            if questions.is_empty() {
                return;
            }
            ask(questions, &context).await;
        }
    });
}

async fn ask(questions: Vec<Question>, context: &RequestContext) {
    let asked_ms = clock::now_ms();
    context.isolate.limits.leases.borrow_mut().observe(asked_ms);
    let command = |question: &Question| match question {
        Question::Lease(limit_check) => limit_check.command(),
        Question::Clearance(token, requirement) => {
            context.policy.renewal_query(token, *requirement)
        }
    };
    let commands: Vec<Command> = questions.iter().map(command).collect();
    let replies = store::execute(&commands, context).await.unwrap_or_default();
    let mut replies = replies.into_iter();
    for question in questions {
        keep(question, replies.next(), asked_ms, context);
    }
}

/// Keeps the answer to a question; `None` if the store did not reply.
fn keep(question: Question, reply: Option<Reply>, asked_ms: u64, context: &RequestContext) {
    let (token, requirement) = match question {
        Question::Lease(limit_check) => {
            return limits::keep_lease(&limit_check, reply.as_ref(), asked_ms, context);
        }
        Question::Clearance(token, requirement) => (token, requirement),
    };
    let Some(reply) = reply else {
        return;
    };
    let (tokens, hash) = (&context.isolate.tokens, token.hash());
    match context.policy.renewal(&token, requirement, reply, context.now) {
        // As in a request, the bound counts from before the question.
        Renewal::Cleared => tokens.set_cleared(hash, requirement, asked_ms + bound_ms(context)),
        Renewal::Revoked(marker) => tokens.set_revoked(hash, marker, asked_ms),
        Renewal::Ended => tokens.end_clearance(hash),
        Renewal::Unknown => {}
    }
}

fn bound_ms(context: &RequestContext) -> u64 {
    u64::from(context.policy.revocation_delay_seconds_max) * 1000
}

/// The most POSTs that one request sends for others, one after another.
const POSTS_PER_TASK_MAX: usize = 2;
