//! `explain`: what the edge would do with one request, step by step, and why. It needs no network:
//! what only the store or an issuer knows is assumed, and each assumption is named.

mod assume;
mod document;
mod keys;
mod report;
mod token;

pub use document::{ExplainError, Explanation, Question, explain_document};

use crate::command::{Host, Outcome};
use crate::file::PolicyFile;
use assume::{Assumption, Assumptions};
use clap::Args;
use keys::KeyFile;
use portcullis_core::{
    Access, AuthenticatedRequest, Check, Denial, Destination, Location, OperatorRequest, Permit,
    Policy, Refusal, RequestHead, Route, UnixSeconds, UnverifiedToken,
};
use report::Report;
use serde_json::{Map, Value};
use std::rc::Rc;

/// Options of `explain`.
#[derive(Args, Default)]
pub(crate) struct Options {
    /// The method.
    method: String,
    /// The path, with its query.
    target: String,
    /// The policy file.
    #[arg(long, default_value = "portcullis.toml")]
    file: String,
    /// The environment, [env.NAME].
    #[arg(long)]
    env: Option<String>,
    /// The access token. It is never printed.
    #[arg(long)]
    token: Option<String>,
    /// A file with the key set that the signature of --token is checked with.
    #[arg(long, requires = "token")]
    jwks: Option<String>,
    /// A JSON file with the claims of a token: of a JWT that is made of them, or of an opaque
    /// --token. With the member `key` they are those of an API key.
    #[arg(long)]
    claims: Option<String>,
    /// A header of the request, NAME: VALUE; may be given more than once.
    #[arg(long)]
    header: Vec<String>,
    /// The client's address.
    #[arg(long, default_value = "203.0.113.1")]
    address: String,
    /// The country of that address: two capitals, or T1 for Tor.
    #[arg(long)]
    country: Option<String>,
    /// The number of the autonomous system of that address.
    #[arg(long)]
    asn: Option<u32>,
    /// What is assumed otherwise: revoked, blocked, no-record, bad-signature, over:LIMIT,
    /// store-down, auth-down; may be given more than once.
    #[arg(long)]
    assume: Vec<Assumption>,
}

/// Explains what happens to one request.
pub(crate) fn explain(options: &Options, host: &Host<'_>) -> Outcome {
    match Request::read(options, host) {
        Ok(request) => {
            let (report, assumptions) = request.report(options);
            report.outcome(&assumptions, host)
        }
        Err(error) => Outcome::failed(&error),
    }
}

/// A request that is explained, before a policy.
struct Request<'h> {
    host: &'h Host<'h>,
    policy: Policy,
    /// The keys that verify the token, unless its signature is assumed to be good.
    keys: Option<KeyFile>,
    fields: Vec<(String, String)>,
    /// Where the client is.
    location: Location,
    /// What the store or the issuer would say of an opaque token.
    claims: Map<String, Value>,
    now_seconds: u64,
}

impl<'h> Request<'h> {
    /// Reads the files that the options name.
    fn read(options: &Options, host: &'h Host<'h>) -> Result<Self, String> {
        check_target(&options.target)?;
        let path = &options.file;
        let text = (host.read)(path).map_err(|error| format!("can't read {path}: {error}"))?;
        let invalid = || format!("{path} is invalid; run check on it first");
        let file = PolicyFile::parse(text).map_err(|_| invalid())?;
        let lookup = |name: &str| host.variable(name, options.env.as_deref());
        let policy = Policy::assume(&file.document(), lookup).map_err(|_| invalid())?;
        let keys = options.jwks.as_deref().map(|path| KeyFile::read(path, host)).transpose()?;
        if keys.is_some() && options.assume.contains(&Assumption::BadSignature) {
            return Err("--jwks checks the signature; leave out --assume bad-signature".to_owned());
        }
        let claims = options.claims.as_deref().map(|path| token::claims(path, host)).transpose()?;
        let request = Self::new(options, host, policy, claims)?;
        Ok(Self { keys, ..request })
    }

    /// Prepares a request with these claims before a policy.
    fn new(
        options: &Options,
        host: &'h Host<'h>,
        policy: Policy,
        claims: Option<Map<String, Value>>,
    ) -> Result<Self, String> {
        let location = location(options)?;
        let token = match (&options.token, &claims) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(claims)) => {
                Some(token::made_of(claims.clone(), &policy, host.now_seconds)?)
            }
            (None, None) => None,
        };
        let mut fields = fields(options, policy.trusted_proxy_hops)?;
        if let Some(token) = token {
            fields.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        let (claims, now_seconds) = (claims.unwrap_or_default(), host.now_seconds);
        Ok(Self { host, policy, keys: None, fields, location, claims, now_seconds })
    }

    /// Explains what happens to the request.
    fn report(&self, options: &Options) -> (Report, Assumptions) {
        let url = format!("https://{HOST}{}", options.target);
        let fields = self.fields.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut head = RequestHead::new(&options.method, &url, fields.collect());
        head.set_location(self.location);
        let mut report = Report::new(&options.method, &options.target);
        let mut assumptions = Assumptions::new(&options.assume);
        if let Err(refusal) = self.steps(&head, &mut assumptions, &mut report) {
            report.refuse(refusal, &self.policy, &head);
        }
        (report, assumptions)
    }

    /// Adds each step to the report, up to the first that refuses the request.
    fn steps<'p>(
        &'p self,
        head: &RequestHead<'p>,
        assumptions: &mut Assumptions,
        report: &mut Report,
    ) -> Result<(), Refusal> {
        if let Some(request) = self.policy.operator_request(head)? {
            let endpoint = match request {
                OperatorRequest::Health => "health.path",
                OperatorRequest::Metrics => "metrics.path",
            };
            report.step("endpoint", &format!("{endpoint}, before all routes"));
            report.answer(200, &[]);
            return Ok(());
        }
        for (route, mismatch) in self.policy.mismatches(head) {
            report.step(&format!("route {route}"), &format!("not taken: {mismatch}"));
        }
        let route = match self.policy.destination(head)? {
            Destination::Route(route) => route,
            Destination::Edge(answer) => {
                report.answer(answer.status, &answer.fields);
                return Ok(());
            }
        };
        report.route(route, &self.policy);
        let permit = match self.admit(head, route, assumptions, report) {
            Ok(permit) => permit,
            Err(refusal) => {
                let permit = Permit::unenforced(route, &self.policy).ok_or(refusal)?;
                let text = format!("would be {}: {refusal}; not enforced", refusal.code());
                report.step("refusal", &text);
                permit
            }
        };
        report.permit(&permit, head);
        Ok(())
    }

    fn admit<'p>(
        &'p self,
        head: &RequestHead<'p>,
        route: &'p Route,
        assumptions: &mut Assumptions,
        report: &mut Report,
    ) -> Result<Permit<'p>, Refusal> {
        let check = Check::new(head, route, &self.policy)?;
        report.step("client address", &format!("{}, not refused", check.address()));
        let authenticated = self.authenticate(&check, route, assumptions, report)?;
        for limit_check in authenticated.all_limit_checks() {
            if let Some(terms) = limit_check.terms {
                let text = format!(
                    "leased: an isolate may spend up to {} in advance, for {} ms; without a lease, the \
                     store counts",
                    terms.units_max, terms.life_ms
                );
                report.step(&format!("limit {}", limit_check.limit.name), &text);
            }
        }
        let commands = check.commands(&authenticated);
        for command in &commands {
            report.command(command);
        }
        let results = assumptions.results(&check, &self.policy, &authenticated, &commands)?;
        let permit = check.decide(&authenticated, &results)?;
        if let Some(text) = permit.degraded().text() {
            report.step("store", &format!("unavailable, and decided without it: {text}"));
        }
        Ok(permit)
    }

    fn authenticate<'p>(
        &self,
        check: &Check<'_, 'p>,
        route: &Route,
        assumptions: &mut Assumptions,
        report: &mut Report,
    ) -> Result<AuthenticatedRequest<'p>, Refusal> {
        if check.token_hash().is_none() {
            report.step(
                "token",
                match route.access {
                    Access::Optional => "none, so that the request is anonymous",
                    _ => "none needed",
                },
            );
            return Ok(check.without_token()?);
        }
        let now = UnixSeconds(self.now_seconds);
        let issuer = |place: usize| self.policy.issuers.get(place);
        let parsed = check.unverified_token(now).inspect_err(|_| {
            let unmet = check.received_claims().and_then(|received| received.unmet);
            if let Some(unmet) = unmet {
                report.step("token", &format!("does not meet {unmet} of its issuer"));
            }
        });
        let verified = match parsed? {
            UnverifiedToken::Jwt(jwt) => {
                let text = format!("a JWT of {}, with good form, claims and times", jwt.iss());
                report.step("token", &text);
                let is_good = match &self.keys {
                    Some(keys) => keys.verify(&jwt, &self.policy, self.host, report)?,
                    None => assumptions.is_signature_good(),
                };
                check.accept_signature(jwt, is_good)?
            }
            UnverifiedToken::ApiKey(key) => {
                let issuer = issuer(key.issuer).ok_or(Denial::IssuerUnknown)?;
                let text = format!("an API key of {}, with good form", issuer.issuer);
                report.step("token", &text);
                let record = token::key_record(&self.claims, issuer, assumptions);
                let record = record.ok_or(Denial::TokenInactive)?;
                check.accept_key(key.issuer, (String::new(), Rc::new(record)))?
            }
            UnverifiedToken::Opaque(provider) => {
                let issuer = issuer(provider.issuer).ok_or(Denial::IssuerUnknown)?;
                report.step("token", &format!("an opaque token of {}", issuer.issuer));
                let (claims, now) = (&self.claims, self.now_seconds);
                let record = token::record(claims, issuer, &self.policy, now, assumptions)?;
                check.accept_record(provider.issuer, record)?
            }
        };
        if let Some(issuer) = issuer(verified.issuer()) {
            report.claims(verified.claims(), issuer, &self.policy.other_claims);
        }
        Ok(check.authenticate(verified, None, now)?)
    }
}

fn check_target(target: &str) -> Result<(), String> {
    match target.starts_with('/') {
        true => Ok(()),
        false => Err(format!("{target}: not a path, which begins with /")),
    }
}

/// Returns the client's location, as Cloudflare would state it.
fn location(options: &Options) -> Result<Location, String> {
    let (country, asn) = (options.country.as_deref().unwrap_or_default(), options.asn);
    let location = Location::parse(&format!("{country}\n{}", asn.unwrap_or_default()));
    if !country.is_empty() && location.country().is_none() {
        return Err(format!("--country {country}: not two capitals, such as DE"));
    }
    Ok(location)
}

/// Returns the request's header fields, with the client's address as the platform or the trusted
/// proxies state it.
fn fields(options: &Options, hops: u32) -> Result<Vec<(String, String)>, String> {
    let mut fields = Vec::new();
    for header in &options.header {
        let (name, value) =
            header.split_once(':').ok_or_else(|| format!("--header {header}: not NAME: VALUE"))?;
        fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
    }
    let (field, entries) = match usize::try_from(hops) {
        Ok(hops) if hops > 0 => ("x-forwarded-for", vec![options.address.as_str(); hops]),
        _ => ("cf-connecting-ip", vec![options.address.as_str()]),
    };
    for (name, value) in [(field, entries.join(", ")), ("host", HOST.to_owned())] {
        if !fields.iter().any(|(own, _)| own == name) {
            fields.push((name.to_owned(), value));
        }
    }
    Ok(fields)
}

/// The host of requests that are explained.
const HOST: &str = "api.example";

#[cfg(test)]
mod tests;
