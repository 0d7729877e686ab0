//! One request's judgement, step by step; see the crate's page for their order.

use crate::credential::{Token, TokenHash};
use crate::denial::{Denial, Outage, Refusal};
use crate::head::Head;
use crate::jwt::UnverifiedJwt;
use crate::limit::{Limit, LimitBy, address_group};
use crate::permit::{Identity, Permit, Target};
use crate::policy::{Issuer, Policy};
use crate::route::{Access, Mode, Route};
use crate::session::{TokenRecord, revoked_before};
use crate::time::UnixSeconds;
use redis_rest::{Command, Reply};

/// A request whose route is known and whose token, where it needs one, is well-formed and in date.
#[derive(Debug)]
pub struct Check<'a> {
    policy: &'a Policy,
    route: &'a Route,
    candidate: Option<Candidate<'a>>,
    address: String,
}

/// A token that nobody has vouched for.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Its hash, by which a host remembers that its signature held.
    pub hash: TokenHash,
    /// Its parts.
    pub jwt: UnverifiedJwt<'a>,
    /// The place of its issuer in the policy.
    pub issuer: usize,
}

/// That a request's token is genuine, or that its route asks for none.
#[derive(Debug)]
pub struct Proof(Option<TokenHash>);

impl<'a> Check<'a> {
    /// Judges all that can be judged without a key.
    pub fn new(
        head: &Head<'a>,
        route: &'a Route,
        policy: &'a Policy,
        now: UnixSeconds,
    ) -> Result<Self, Denial> {
        let candidate = match route.access {
            Access::Auth | Access::Public => None,
            Access::Protected => Some(Candidate::read(head, policy, now)?),
        };
        Ok(Self { policy, route, candidate, address: address_group(head) })
    }

    /// The token that must be verified; none where the route asks for none.
    pub fn candidate(&self) -> Option<&Candidate<'a>> {
        self.candidate.as_ref()
    }

    /// Takes the host's word on the signature. Where the route asks for no token, nothing has to hold.
    pub fn prove(&self, signature_holds: bool) -> Result<Proof, Denial> {
        let Some(candidate) = &self.candidate else {
            return Ok(Proof(None));
        };
        if !signature_holds {
            return Err(Denial::SignatureInvalid);
        }
        Ok(Proof(Some(candidate.hash)))
    }

    /// Everything that the verdict needs from the store; empty where it needs nothing.
    pub fn commands(&self, proof: &Proof) -> Vec<Command> {
        let keys = &self.policy.keys;
        let mut commands = Vec::with_capacity(3);
        if let (Some(candidate), Some(hash)) = (&self.candidate, proof.0) {
            let claims = &candidate.jwt.claims;
            let mut markers = Command::new("MGET").arg(keys.revoked_sub(&claims.iss, &claims.sub));
            if let Some(jti) = &claims.jti {
                markers = markers.arg(keys.revoked_jti(&claims.iss, jti));
            }
            if let Some(sid) = &claims.sid {
                markers = markers.arg(keys.revoked_sid(&claims.iss, sid));
            }
            commands.push(markers);
            if self.route.mode == Mode::Registered {
                commands.push(Command::new("GET").arg(keys.token(&hash)));
            }
        }
        if let Some(limit) = self.route.limit {
            commands.push(limit.command(&keys.limit(&self.route.name, &self.counted_by(limit))));
        }
        commands
    }

    /// The verdict, from the store's replies to [`Check::commands`] or from its outage.
    pub fn decide(
        self,
        proof: Proof,
        answer: Result<Vec<Reply>, Outage>,
    ) -> Result<Permit<'a>, Refusal> {
        let mut replies = answer?.into_iter();
        let mut next = || replies.next().ok_or(Refusal::Out(Outage::StoreFaulty));
        let identity = match (&self.candidate, proof.0) {
            (Some(candidate), Some(hash)) if hash == candidate.hash => {
                judge_markers(&next()?, candidate)?;
                if self.route.mode == Mode::Registered {
                    judge_record(&next()?, candidate)?;
                }
                let claims = &candidate.jwt.claims;
                if !self.route.scopes.iter().all(|scope| claims.has_scope(scope)) {
                    return Err(Denial::ScopeInsufficient.into());
                }
                Some(Identity::new(claims))
            }
            (None, None) => None,
            // A proof of one check does not serve another.
            (Some(_), _) | (None, Some(_)) => return Err(Denial::SignatureInvalid.into()),
        };
        if self.route.limit.is_some() {
            Limit::judge(&next()?)?;
        }
        let policy = self.policy;
        let target = match self.route.access {
            Access::Auth => Target::Origin(&policy.origin),
            Access::Protected | Access::Public => {
                Target::Upstream(self.route.upstream.as_ref().unwrap_or(&policy.upstream))
            }
        };
        Ok(Permit::new(self.route, target, identity))
    }

    fn counted_by(&self, limit: Limit) -> String {
        match (limit.by, &self.candidate) {
            (LimitBy::Subject, Some(candidate)) => {
                format!("{}\n{}", candidate.jwt.claims.iss, candidate.jwt.claims.sub)
            }
            (LimitBy::Address, _) | (LimitBy::Subject, None) => self.address.clone(),
        }
    }
}

impl<'a> Candidate<'a> {
    fn read(head: &Head<'a>, policy: &Policy, now: UnixSeconds) -> Result<Self, Denial> {
        let token = Token::from_head(head)?;
        let jwt = UnverifiedJwt::parse(token)?;
        let named = |issuer: &Issuer| issuer.issuer == jwt.claims.iss;
        let place = policy.issuers.iter().position(named).ok_or(Denial::IssuerUnknown)?;
        let issuer = policy.issuers.get(place).ok_or(Denial::IssuerUnknown)?;
        jwt.check(issuer, now)?;
        Ok(Self { hash: token.hash(), jwt, issuer: place })
    }
}

fn judge_markers(reply: &Reply, candidate: &Candidate<'_>) -> Result<(), Refusal> {
    let claims = &candidate.jwt.claims;
    let expected = 1 + usize::from(claims.jti.is_some()) + usize::from(claims.sid.is_some());
    let Reply::Array(markers) = reply else {
        return Err(Outage::StoreFaulty.into());
    };
    if markers.len() != expected {
        return Err(Outage::StoreFaulty.into());
    }
    for (place, marker) in markers.iter().enumerate() {
        match marker {
            Reply::Null => {}
            Reply::Bulk(_) | Reply::Status(_) | Reply::Integer(_) => {
                let text = match marker {
                    Reply::Integer(number) => number.to_string(),
                    other => other.as_text().unwrap_or_default().to_owned(),
                };
                // The first is the subject's, which spares what was issued after it; a token or a
                // session that is revoked stays so.
                if place > 0 || claims.issued_at().0 <= revoked_before(&text) {
                    return Err(Denial::TokenRevoked.into());
                }
            }
            Reply::Array(_) | Reply::Error(_) => return Err(Outage::StoreFaulty.into()),
        }
    }
    Ok(())
}

fn judge_record(reply: &Reply, candidate: &Candidate<'_>) -> Result<(), Refusal> {
    match reply {
        Reply::Null => Err(Denial::TokenUnknown.into()),
        Reply::Bulk(_) | Reply::Status(_) => {
            let record = reply.as_text().and_then(TokenRecord::decode);
            let claims = &candidate.jwt.claims;
            match record {
                Some(record)
                    if record.sub == claims.sub && Some(&record.sid) == claims.sid.as_ref() =>
                {
                    Ok(())
                }
                // A record that can't be read, or is another's, registers nothing.
                Some(_) | None => Err(Denial::TokenUnknown.into()),
            }
        }
        Reply::Array(_) | Reply::Error(_) | Reply::Integer(_) => Err(Outage::StoreFaulty.into()),
    }
}

#[cfg(test)]
mod tests;
