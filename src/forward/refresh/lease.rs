//! The lease of a refresh. Its holder calls the auth service and stores the response for the
//! requests that wait. It continues if its client leaves, and waits longer than its client does, so
//! that no response of the auth service is lost.

use super::timing::{LATE_SECONDS_MAX, STORE_RETRY_PAUSES_MS};
use crate::context::RequestContext;
use crate::dependency::breakers::{Dependency, Health};
use crate::dependency::call;
use crate::platform::http::{BufferedForward, BufferedResponse, PendingResponse, Response};
use crate::platform::protocol::PlatformError;
use crate::platform::{clock, crypto};
use crate::store;
use portcullis_core::{CapturedResponse, Outage, Refresh, Refusal};
use redis_rest::Command;

/// The lease that one request holds.
pub struct RefreshLease {
    pub refresh: Refresh,
    /// The family of the token; `None` if the store did not grant the lease.
    pub family: Option<String>,
    /// Whether this request still holds the lease, and so may release it.
    pub held: bool,
    pub context: RequestContext,
}

/// The work that remains after the client has its response.
pub enum FollowUp {
    Nothing,
    /// The store did not accept the response; the write is retried.
    RetryStore(Vec<Command>),
    /// The auth service's response is late; it is awaited.
    Wait(PendingResponse),
}

/// The response to the client, and the work that remains after it.
pub struct Settled {
    pub response: Result<Response, Refusal>,
    pub follow_up: FollowUp,
}

impl RefreshLease {
    /// Calls the auth service within `deadline_ms`.
    pub async fn call(&mut self, forward: BufferedForward, deadline_ms: u32) -> Settled {
        let port = &self.context.port;
        let work = async {
            let pending = forward.send(RESPONSE_BYTES_MAX);
            let response = pending.within(port, deadline_ms).await;
            let health = match response {
                Some(Ok(_)) => Health::Good,
                Some(Err(PlatformError::Timeout)) | None => Health::Failed(Outage::AuthTimeout),
                Some(Err(error)) => Health::Failed(outage(error)),
            };
            (health, (response, pending))
        };
        match call::call(Dependency::Auth, deadline_ms, work, &self.context).await {
            Ok((Some(response), _)) => self.settle(response).await,
            Ok((None, pending)) => {
                let hold = self.refresh.extend(&self.context.request_id, LATE_SECONDS_MAX);
                self.held = self.family.is_some() && store::write(&[hold], &self.context).await;
                let response = Err(Outage::AuthTimeout.into());
                Settled { response, follow_up: FollowUp::Wait(pending) }
            }
            Err(outage) => {
                self.release().await;
                Settled::without_follow_up(Err(outage.into()))
            }
        }
    }

    /// Does the work that remains after the client has its response.
    pub async fn follow_up(&self, follow_up: FollowUp) {
        match follow_up {
            FollowUp::Nothing => {}
            FollowUp::RetryStore(commands) => self.retry_store(&commands).await,
            FollowUp::Wait(pending) => {
                let settled = self.settle(pending.end(&self.context.port).await).await;
                // The client has had its 503 already, and finds the response when it retries.
                if let FollowUp::RetryStore(commands) = settled.follow_up {
                    self.retry_store(&commands).await;
                }
            }
        }
    }

    /// Converts the auth service's response for the client, and stores it for the requests that
    /// wait.
    async fn settle(&self, response: Result<BufferedResponse, PlatformError>) -> Settled {
        match response {
            Ok(BufferedResponse::Text(text)) => match CapturedResponse::parse(&text) {
                Some(captured) => {
                    Settled { response: replay(&captured), follow_up: self.keep(&captured).await }
                }
                None => {
                    self.release().await;
                    Settled::without_follow_up(Err(Outage::AuthBadResponse.into()))
                }
            },
            Ok(BufferedResponse::Other(response)) => {
                if matches!(response.status, 400 | 401 | 403) && self.family.is_some() {
                    let refused = self.refresh.store_refusal(crypto::nonce());
                    store::write(&[refused], &self.context).await;
                } else {
                    self.release().await;
                }
                Settled::without_follow_up(Ok(response))
            }
            Err(error) => {
                self.release().await;
                Settled::without_follow_up(Err(outage(error).into()))
            }
        }
    }

    /// Stores a response for the requests that wait.
    async fn keep(&self, captured: &CapturedResponse) -> FollowUp {
        let policy = self.context.policy;
        let seconds = u64::from(policy.refresh_replay_seconds);
        let family = self.family.clone().unwrap_or_else(|| self.refresh.family());
        let nonce = crypto::nonce();
        let Some(commands) =
            self.refresh.store_response(captured, &family, nonce, seconds, &policy.keys)
        else {
            self.release().await;
            return FollowUp::Nothing;
        };
        match store::write(&commands, &self.context).await {
            true => FollowUp::Nothing,
            false => FollowUp::RetryStore(commands),
        }
    }

    /// Retries to store a response. Without it, requests that wait until the lease ends would
    /// present a used token.
    async fn retry_store(&self, commands: &[Command]) {
        for pause_ms in STORE_RETRY_PAUSES_MS {
            clock::sleep(&self.context.port, pause_ms).await;
            if store::write(commands, &self.context).await {
                return;
            }
        }
    }

    /// Releases the lease. An error is not stored, so each request that waits makes its own call.
    async fn release(&self) {
        if self.held && self.family.is_some() {
            store::write(&[self.refresh.release()], &self.context).await;
        }
    }
}

impl Settled {
    fn without_follow_up(response: Result<Response, Refusal>) -> Self {
        Self { response, follow_up: FollowUp::Nothing }
    }
}

/// Builds a response from a captured one.
pub fn replay(captured: &CapturedResponse) -> Result<Response, Refusal> {
    let response = Response::of_parts(200, &captured.fields, &captured.body);
    response.ok_or_else(|| Outage::AuthBadResponse.into())
}

fn outage(error: PlatformError) -> Outage {
    match error {
        PlatformError::Timeout => Outage::AuthTimeout,
        PlatformError::TooLarge
        | PlatformError::Unreachable
        | PlatformError::Rejected
        | PlatformError::Protocol => Outage::AuthUnreachable,
    }
}

const RESPONSE_BYTES_MAX: u32 = 32 * 1024;
