//! The clients' knowledge about their tokens and sessions.

use super::history::Revocation;
use crate::support::chance::Chance;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

/// The edge's default leeway, plus a second for rounding.
const LEEWAY: Duration = Duration::from_secs(31);

const ENDED_TOKENS_MAX: usize = 2000;
/// The number of most recently ended tokens. They are presented as often as all others together.
const RECENT: usize = 20;

const TOKENS_PER_SESSION_MAX: usize = 4;

/// An access token.
pub struct Token {
    pub text: String,
    pub sub: String,
    pub sid: String,
    expires: Instant,
    life: Mutex<Life>,
}

#[derive(Clone, Copy, Default)]
struct Life {
    /// When a request was sent that may end the token.
    ending_since: Option<Instant>,
    revoked: Option<Revocation>,
    /// When the token was last seen to be accepted again.
    continued: Option<Instant>,
}

impl Token {
    /// Reads the claims of a token. Returns `None` if it is not a JWT with all of them.
    pub fn read(text: String) -> Option<Self> {
        let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1)?).ok()?;
        let claims: Value = serde_json::from_slice(&claims).ok()?;
        let claim = |name: &str| Some(claims[name].as_str()?.to_owned());
        let left = claims["exp"].as_u64()?.saturating_sub(now());
        let expires = Instant::now() + Duration::from_secs(left);
        let (sub, sid) = (claim("sub")?, claim("sid")?);
        Some(Self { text, sub, sid, expires, life: Mutex::default() })
    }

    /// Makes the token of an API key, whose record has this subject.
    pub fn of_key(text: &str, sub: &str, life: Duration) -> Self {
        let (text, sub, sid) = (text.to_owned(), sub.to_owned(), String::new());
        Self { text, sub, sid, expires: Instant::now() + life, life: Mutex::default() }
    }

    pub fn begin_ending(&self) {
        self.begin_ending_at(Instant::now());
    }

    /// Says that the token may be rejected from a moment on.
    pub fn begin_ending_at(&self, moment: Instant) {
        self.life.lock().unwrap().ending_since.get_or_insert(moment);
    }

    /// Takes [`Token::begin_ending`] and a revocation back, because the token is accepted again.
    pub fn continue_after_all(&self) {
        let continued = Some(Instant::now());
        *self.life.lock().unwrap() = Life { continued, ..Life::default() };
    }

    /// Replaces the revocation, which the store may have lost, by a later one.
    pub fn revoke_again(&self, revocation: Revocation) {
        self.life.lock().unwrap().revoked = Some(revocation);
    }

    pub fn revoke(&self, revocation: Revocation) {
        self.life.lock().unwrap().revoked.get_or_insert(revocation);
    }

    pub fn revocation(&self) -> Option<Revocation> {
        self.life.lock().unwrap().revoked
    }

    /// Returns whether the token's caller was blocked for a while. An isolate that does not reach
    /// the store goes on to reject it.
    pub fn was_blocked(&self) -> bool {
        self.life.lock().unwrap().continued.is_some()
    }

    /// Returns whether the rejection of a request is correct.
    pub fn may_be_rejected(&self, sent: Instant, answered: Instant) -> bool {
        let life = *self.life.lock().unwrap();
        life.ending_since.is_some_and(|since| since <= answered)
            || life.continued.is_some_and(|continued| sent <= continued)
            || answered + Duration::from_secs(2) >= self.expires
    }

    pub fn has_expired(&self, moment: Instant) -> bool {
        moment > self.expires + LEEWAY
    }

    /// Returns whether the token has expired or expires within this time.
    pub fn expires_within(&self, time: Duration) -> bool {
        Instant::now() + time >= self.expires
    }
}

/// A refresh token that was used.
#[derive(Clone)]
pub struct Spent {
    pub token: String,
    pub at: Instant,
}

/// A login, as its client knows it.
pub struct Session {
    pub sid: String,
    pub refresh: String,
    pub tokens: Vec<Arc<Token>>,
    /// The first of its refresh tokens that was used.
    pub spent: Option<Spent>,
    /// Whether the response to a refresh was lost. Then the next refresh uses the same token.
    pub in_doubt: bool,
}

/// The tokens of a response.
pub struct Pair {
    pub sid: String,
    pub refresh: String,
    pub access: Arc<Token>,
}

impl Pair {
    /// Reads a response to a login or refresh. Returns `None` if it has no tokens.
    pub fn read(body: &str) -> Option<Self> {
        let body: Value = serde_json::from_str(body).ok()?;
        let access = Token::read(body["access_token"].as_str()?.to_owned())?;
        let refresh = body["refresh_token"].as_str()?.to_owned();
        Some(Self { sid: access.sid.clone(), refresh, access: Arc::new(access) })
    }
}

fn now() -> u64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

impl Session {
    pub fn new(pair: Pair) -> Self {
        let Pair { sid, refresh, access } = pair;
        Self { sid, refresh, tokens: vec![access], spent: None, in_doubt: false }
    }

    /// Continues with the tokens of a refresh.
    pub fn renew(&mut self, pair: Pair) {
        let token = std::mem::replace(&mut self.refresh, pair.refresh);
        self.spent.get_or_insert(Spent { token, at: Instant::now() });
        self.tokens.push(pair.access);
        let surplus = self.tokens.len().saturating_sub(TOKENS_PER_SESSION_MAX);
        self.tokens.drain(..surplus);
        self.in_doubt = false;
    }

    pub fn begin_ending(&self) {
        for token in &self.tokens {
            token.begin_ending();
        }
    }
}

/// All sessions and ended tokens. A session in use by a request is in none of the lists.
#[derive(Default)]
pub struct Model {
    idle: Mutex<Vec<Session>>,
    /// Sessions whose end was requested and not confirmed.
    unsure: Mutex<Vec<Session>>,
    ended: Mutex<VecDeque<Arc<Token>>>,
    /// Every access token, for the comparison at the end.
    issued: Mutex<VecDeque<Arc<Token>>>,
}

impl Model {
    pub fn issue(&self, token: &Arc<Token>) {
        let mut issued = self.issued.lock().unwrap();
        issued.push_back(Arc::clone(token));
        let surplus = issued.len().saturating_sub(ENDED_TOKENS_MAX);
        issued.drain(..surplus);
    }

    pub fn issued(&self) -> Vec<Arc<Token>> {
        self.issued.lock().unwrap().iter().cloned().collect()
    }

    pub fn put(&self, session: Session) {
        self.idle.lock().unwrap().push(session);
    }

    pub fn put_unsure(&self, session: Session) {
        self.unsure.lock().unwrap().push(session);
    }

    pub fn live(&self) -> usize {
        self.idle.lock().unwrap().len()
    }

    pub fn unsure(&self) -> usize {
        self.unsure.lock().unwrap().len()
    }

    pub fn take_unsure(&self) -> Option<Session> {
        let mut unsure = self.unsure.lock().unwrap();
        (!unsure.is_empty()).then(|| unsure.remove(0))
    }

    pub fn take_all(&self) -> Vec<Session> {
        std::mem::take(&mut self.idle.lock().unwrap())
    }

    /// Takes a random session out of those that `fits` accepts.
    pub fn take(&self, chance: &mut Chance, fits: impl Fn(&Session) -> bool) -> Option<Session> {
        let mut idle = self.idle.lock().unwrap();
        let fitting: Vec<usize> = (0..idle.len()).filter(|place| fits(&idle[*place])).collect();
        let place = fitting[chance.place(fitting.len())?];
        Some(idle.swap_remove(place))
    }

    /// Returns a random token of an active session.
    pub fn valid(&self, chance: &mut Chance) -> Option<Arc<Token>> {
        let idle = self.idle.lock().unwrap();
        let session = &idle[chance.place(idle.len())?];
        let token = &session.tokens[chance.place(session.tokens.len())?];
        (!token.expires_within(Duration::from_secs(5))).then(|| Arc::clone(token))
    }

    /// Marks tokens as ended: from now on, requests present them as revoked ones.
    pub fn bury(&self, tokens: &[Arc<Token>], revocation: Revocation) {
        let mut ended = self.ended.lock().unwrap();
        for token in tokens {
            token.revoke(revocation);
            ended.push_back(Arc::clone(token));
        }
        let surplus = ended.len().saturating_sub(ENDED_TOKENS_MAX);
        ended.drain(..surplus);
    }

    /// Returns a revoked or expired token. Recent ones are as frequent as all others together.
    pub fn ended(&self, chance: &mut Chance) -> Option<Arc<Token>> {
        let ended = self.ended.lock().unwrap();
        let among = if chance.below(2) == 0 { RECENT } else { ended.len() };
        let back = chance.place(ended.len().min(among))?;
        ended.iter().rev().nth(back).cloned()
    }
}
