//! The visitors, and their tokens.

use crate::resilience::soak::history::Revocation;
use crate::resilience::soak::model::Token;
use crate::resilience::soak::settings::{FILES, ORDERS};
use crate::support::chance::Chance;
use crate::support::events::{Push, unique};
use crate::support::issuer::{AUDIENCE, TRUSTED, claims, header, now};
use serde_json::json;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The number of visitors. During a fault of the store, half of them may wait for their events.
const VISITORS: usize = 60;

/// The lifetime of their tokens. Many are replaced within a run.
const TOKEN_SECONDS: u64 = 120;

const ENDED_MAX: usize = 1000;
/// The number of most recently ended tokens. They are presented as often as all others together.
const RECENT: usize = 20;

/// Each path, and the audience that a token needs there.
pub const PATHS: [(&str, &str); 4] = [
    ("/orders/x", ORDERS),
    ("/files/x", FILES),
    ("/api/not-revoked", AUDIENCE),
    ("/open/x", AUDIENCE),
];

/// The audiences that a token may have.
const AUDIENCES: [&[&str]; 5] =
    [&[ORDERS], &[FILES], &[AUDIENCE], &[ORDERS, FILES], &[FILES, AUDIENCE]];

/// A token of a visitor.
#[derive(Clone)]
pub struct Pass {
    pub token: Arc<Token>,
    pub jti: String,
    pub audiences: &'static [&'static str],
}

impl Pass {
    fn new(sub: &str, sid: &str, chance: &mut Chance) -> Self {
        let audiences = AUDIENCES[chance.place(AUDIENCES.len()).unwrap()];
        let aud = match audiences {
            [one] => json!(one),
            several => json!(several),
        };
        let jti = unique("pass");
        let claims = claims(json!({
            "sub": sub, "sid": sid, "jti": jti, "aud": aud, "exp": now() + TOKEN_SECONDS,
        }));
        let token = Token::read(TRUSTED.sign(&header(json!({})), &claims)).unwrap();
        Self { token: Arc::new(token), jti, audiences }
    }

    /// Returns a path at which the token passes.
    pub fn path(&self) -> &'static str {
        PATHS.iter().find(|(_, audience)| self.audiences.contains(audience)).unwrap().0
    }
}

/// An event that was confirmed, and when it was sent.
pub struct Confirmed {
    pub push: Push,
    pub at: Instant,
}

/// A subject of the second issuer.
pub struct Visitor {
    pub sub: String,
    pub passes: Vec<Pass>,
    /// The newest events about it.
    pub confirmed: Vec<Confirmed>,
}

impl Visitor {
    fn new(chance: &mut Chance) -> Self {
        let mut visitor =
            Self { sub: unique("visitor"), passes: Vec::new(), confirmed: Vec::new() };
        visitor.sign_in(chance);
        visitor
    }

    /// Signs in twice: a session with two tokens, and one with one.
    pub fn sign_in(&mut self, chance: &mut Chance) {
        let [one, two] = [unique("session"), unique("session")];
        for sid in [&one, &one, &two] {
            self.passes.push(Pass::new(&self.sub, sid, chance));
        }
    }
}

/// All visitors and ended tokens. A visitor is in none of the lists while an event about
/// it is delivered.
#[derive(Default)]
pub struct Visitors {
    idle: Mutex<Vec<Visitor>>,
    ended: Mutex<VecDeque<Pass>>,
}

impl Visitors {
    pub fn fill(&self) {
        let mut chance = Chance::new(11);
        *self.idle.lock().unwrap() = (0..VISITORS).map(|_| Visitor::new(&mut chance)).collect();
    }

    pub fn put(&self, visitor: Visitor) {
        self.idle.lock().unwrap().push(visitor);
    }

    /// Takes a random visitor out of those that `fits` accepts, unless too many are out.
    pub fn take(&self, chance: &mut Chance, fits: impl Fn(&Visitor) -> bool) -> Option<Visitor> {
        let mut idle = self.idle.lock().unwrap();
        if idle.len() <= VISITORS / 2 {
            return None;
        }
        let fitting: Vec<usize> = (0..idle.len()).filter(|place| fits(&idle[*place])).collect();
        let place = fitting[chance.place(fitting.len())?];
        Some(idle.swap_remove(place))
    }

    /// Returns a random token that has not ended. One that is about to expire is replaced.
    pub fn live(&self, chance: &mut Chance) -> Option<Pass> {
        let mut idle = self.idle.lock().unwrap();
        let place = chance.place(idle.len())?;
        let visitor = &mut idle[place];
        let place = chance.place(visitor.passes.len())?;
        let pass = &mut visitor.passes[place];
        if pass.token.expires_within(Duration::from_secs(10)) {
            let new = Pass::new(&visitor.sub, &pass.token.sid, chance);
            let expiring = std::mem::replace(pass, new);
            // From now on, it is not spared when its visitor is blocked or an event comes.
            expiring.token.begin_ending();
            self.ended.lock().unwrap().push_back(expiring);
        }
        Some(pass.clone())
    }

    pub fn all_live(&self) -> Vec<Pass> {
        let idle = self.idle.lock().unwrap();
        idle.iter().flat_map(|visitor| &visitor.passes).cloned().collect()
    }

    /// Marks tokens as ended. Without a revocation, they may pass or not.
    pub fn bury(&self, passes: &[Pass], revocation: Option<Revocation>) {
        let mut ended = self.ended.lock().unwrap();
        for pass in passes {
            match revocation {
                Some(revocation) => pass.token.revoke(revocation),
                None => pass.token.begin_ending(),
            }
            ended.push_back(pass.clone());
        }
        let surplus = ended.len().saturating_sub(ENDED_MAX);
        ended.drain(..surplus);
    }

    /// Returns the newest ended tokens.
    pub fn newest_ended(&self, count: usize) -> Vec<Pass> {
        self.ended.lock().unwrap().iter().rev().take(count).cloned().collect()
    }

    pub fn ended(&self, chance: &mut Chance) -> Option<Pass> {
        let ended = self.ended.lock().unwrap();
        let among = if chance.below(2) == 0 { RECENT } else { ended.len() };
        let back = chance.place(ended.len().min(among))?;
        ended.iter().rev().nth(back).cloned()
    }
}
