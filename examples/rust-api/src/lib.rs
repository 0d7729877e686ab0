//! An API that answers the callers that the gate in front of it states.

mod assertion;

use assertion::{Caller, Checker};
use serde_json::json;
use worker::{Context, Env, Request, Response, Result, console_error, event};

#[event(fetch)]
async fn fetch(request: Request, env: Env, _context: Context) -> Result<Response> {
    match caller(&request, &env)? {
        Some(caller) => Response::from_json(&json!({ "hello": caller.sub, "scope": caller.scope })),
        None => Response::error("the gate's assertion is missing or invalid", 401),
    }
}

/// Returns the caller; `None` if the gate states none.
fn caller(request: &Request, env: &Env) -> Result<Option<Caller>> {
    let variable = |name: &str| env.var(name).map(|value| value.to_string());
    let (issuer, audience) = (variable("ASSERTION_ISSUER")?, variable("ASSERTION_AUDIENCE")?);
    let checker = Checker::new(&variable("ASSERTION_JWKS")?, &issuer, &audience)?;
    let Some(assertion) = request.headers().get("portcullis-assertion")? else {
        return Ok(None);
    };
    Ok(checker
        .check(&assertion)
        .inspect_err(|invalid| console_error!("assertion rejected: {invalid}"))
        .ok())
}
