//! What `explain` assumes of everything that only the network knows.

use portcullis_core::{
    AuthenticatedRequest, Check, LimitOutage, LocalCount, Outage, Policy, Refusal, StoreResult,
    TokenRecord,
};
use redis_rest::{Command, Reply};
use std::rc::Rc;
use std::str::FromStr;

/// One thing that is other than usual.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Assumption {
    /// The token's issuer does not answer.
    AuthDown,
    /// The token's signature is wrong.
    BadSignature,
    /// The client's address is blocked.
    Blocked,
    /// The store has no record of the token.
    NoRecord,
    /// The limit of this name has nothing left.
    Over(String),
    /// The token was revoked.
    Revoked,
    /// The store does not answer.
    StoreDown,
}

impl FromStr for Assumption {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "auth-down" => Self::AuthDown,
            "bad-signature" => Self::BadSignature,
            "blocked" => Self::Blocked,
            "no-record" => Self::NoRecord,
            "revoked" => Self::Revoked,
            "store-down" => Self::StoreDown,
            _ => match text.strip_prefix("over:") {
                Some(limit) if !limit.is_empty() => Self::Over(limit.to_owned()),
                _ => {
                    return Err("must be revoked, blocked, no-record, bad-signature, over:LIMIT, \
                                store-down or auth-down"
                        .to_owned());
                }
            },
        })
    }
}

/// What is assumed for one request, and what of that mattered.
pub(crate) struct Assumptions {
    given: Vec<Assumption>,
    notes: Vec<String>,
}

impl Assumptions {
    pub(crate) fn new(given: &[Assumption]) -> Self {
        Self { given: given.to_vec(), notes: Vec::new() }
    }

    pub(crate) fn holds(&mut self, assumption: &Assumption) -> bool {
        let holds = self.given.contains(assumption);
        if holds {
            self.note(&match assumption {
                Assumption::AuthDown => "the issuer's introspection does not answer".to_owned(),
                Assumption::BadSignature => "the signature is wrong".to_owned(),
                Assumption::Blocked => "the client's address is blocked".to_owned(),
                Assumption::NoRecord => "the store has no record of the token".to_owned(),
                Assumption::Over(limit) => format!("the limit {limit} has nothing left"),
                Assumption::Revoked => "the token was revoked".to_owned(),
                Assumption::StoreDown => "the store does not answer".to_owned(),
            });
        }
        holds
    }

    pub(crate) fn is_signature_good(&mut self) -> bool {
        let is_good = !self.holds(&Assumption::BadSignature);
        if is_good {
            self.note("the signature is good");
        }
        is_good
    }

    fn is_over(&mut self, limit: &str) -> bool {
        let is_over = self.holds(&Assumption::Over(limit.to_owned()));
        if !is_over {
            self.note(&format!("the limit {limit} has enough left"));
        }
        is_over
    }

    /// Notes that the outcome depends on something.
    pub(crate) fn note(&mut self, text: &str) {
        if !self.notes.iter().any(|note| note == text) {
            self.notes.push(text.to_owned());
        }
    }

    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns what the store, and an issuer where it is asked, are assumed to say.
    pub(crate) fn results(
        &mut self,
        check: &Check<'_, '_>,
        policy: &Policy,
        authenticated: &AuthenticatedRequest<'_>,
        commands: &[Command],
    ) -> Result<Vec<StoreResult>, Refusal> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let mut results = match self.holds(&Assumption::StoreDown) {
            true => check.divide(authenticated, self.without_store(authenticated, commands)),
            false => {
                let has_record = check.queries_record(authenticated);
                self.with_store(authenticated, commands, has_record)
            }
        };
        if let Some((provider, missing)) = check.missing_record(authenticated, &results) {
            let issuer = policy.issuers.get(provider.issuer);
            let verified = authenticated.verified();
            let name = match verified.map(|verified| verified.claims().iss.as_str()) {
                Some(name) => name,
                None => issuer.map_or("", |issuer| issuer.issuer.as_str()),
            };
            if self.holds(&Assumption::AuthDown) {
                return Err(Outage::IntrospectionUnreachable.into());
            }
            self.note(&format!("{name} answers that the token is active"));
            let record = record_of(authenticated, Some(name));
            check.complete(authenticated, &mut results, missing, record)?;
        }
        Ok(results)
    }

    fn with_store(
        &mut self,
        authenticated: &AuthenticatedRequest<'_>,
        commands: &[Command],
        has_record: bool,
    ) -> Vec<StoreResult> {
        let mut limits = authenticated.limit_checks();
        let mut results = Vec::new();
        for command in commands {
            match command.name() {
                "MGET" => {
                    // The last of the markers is the block of the address.
                    let count = command.words().len() - 2 - usize::from(has_record);
                    let marker = match self.holds(&Assumption::Revoked) {
                        // Later than any token.
                        true => Reply::Bulk(u64::MAX.to_string().into_bytes()),
                        false => {
                            self.note("the token was not revoked");
                            Reply::Null
                        }
                    };
                    let mut markers = vec![marker; count];
                    markers.push(self.block());
                    results.push(StoreResult::Reply(Reply::Array(markers)));
                    if has_record {
                        results.push(self.record(authenticated));
                    }
                }
                "GET" => {
                    let block = self.block();
                    results.push(StoreResult::Reply(block));
                }
                _ => {
                    let limit = limits.next().map_or("", |check| check.limit.name.as_str());
                    let numbers =
                        if self.is_over(limit) { [0, 0, 1000, 1000] } else { [1, 1, 0, 1000] };
                    let numbers = numbers.map(Reply::Integer);
                    results.push(StoreResult::Reply(Reply::Array(numbers.to_vec())));
                }
            }
        }
        results
    }

    fn block(&mut self) -> Reply {
        match self.holds(&Assumption::Blocked) {
            true => Reply::Bulk("1".into()),
            false => {
                self.note("the caller is not blocked");
                Reply::Null
            }
        }
    }

    fn record(&mut self, authenticated: &AuthenticatedRequest<'_>) -> StoreResult {
        if self.holds(&Assumption::NoRecord) {
            return StoreResult::Reply(Reply::Null);
        }
        self.note("the store has the token's record");
        StoreResult::Record(Rc::new(record_of(authenticated, None)))
    }

    /// Returns what replaces the store's replies while it is unavailable.
    fn without_store(
        &mut self,
        authenticated: &AuthenticatedRequest<'_>,
        commands: &[Command],
    ) -> Vec<StoreResult> {
        let mut limits = authenticated.limit_checks();
        let mut results = Vec::new();
        for command in commands {
            let limit = match command.name() {
                "GET" | "MGET" => None,
                _ => limits.next().map(|check| check.limit),
            };
            let local = limit.filter(|limit| limit.on_store_outage == LimitOutage::Local);
            results.push(match local {
                None => StoreResult::Out(Outage::StoreUnreachable),
                Some(limit) => StoreResult::CountedLocally(match self.is_over(&limit.name) {
                    true => LocalCount::Refused { wait_ms: 1000 },
                    false => LocalCount::Admitted { left: None },
                }),
            });
        }
        results
    }
}

/// Returns a record that says of the token what it says of itself.
fn record_of(authenticated: &AuthenticatedRequest<'_>, issuer: Option<&str>) -> TokenRecord {
    let claims = authenticated.verified().map(|verified| verified.claims());
    TokenRecord {
        sub: claims.map(|claims| claims.sub.clone()).unwrap_or_default(),
        sid: claims.and_then(|claims| claims.sid.clone()),
        iss: issuer.map(str::to_owned),
        ..TokenRecord::default()
    }
}
