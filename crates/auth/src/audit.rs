//! Security events: in the database with the change that they tell of, in the log, and in the counters.

use prometheus::{IntCounterVec, Opts};

/// From where a request came, as far as the edge says so.
#[derive(Clone, Debug, Default)]
pub struct Whence {
    pub address: String,
    pub device: String,
    pub country: Option<String>,
    pub request_id: String,
}

impl Whence {
    /// Whose attempts count together. All whose address nobody states share one count, so that leaving it out is
    /// no way around.
    pub fn group(&self) -> String {
        portcullis_core::address_group(self.address.parse().ok())
    }
}

/// Who did something.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Actor {
    /// Whoever runs this service, by a command.
    Operator,
    /// This service by itself.
    Service,
    /// Whoever holds the password, or the token.
    User,
}

impl Actor {
    pub fn name(self) -> &'static str {
        match self {
            Self::Operator => "operator",
            Self::Service => "service",
            Self::User => "user",
        }
    }
}

/// What happened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Happened {
    CountryNew,
    KeyRotated,
    Login,
    LoginFailed,
    Logout,
    PasswordChanged,
    RefreshBurst,
    RefreshTokenReused,
    SessionRevoked,
    SessionsOverMax,
    TokenRevoked,
    UserAdded,
    UserDisabled,
    UserEnabled,
}

impl Happened {
    /// Its stable name.
    pub fn name(self) -> &'static str {
        match self {
            Self::CountryNew => "country_new",
            Self::KeyRotated => "key_rotated",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::PasswordChanged => "password_changed",
            Self::RefreshBurst => "refresh_burst",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::SessionRevoked => "session_revoked",
            Self::SessionsOverMax => "sessions_over_max",
            Self::TokenRevoked => "token_revoked",
            Self::UserAdded => "user_added",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
        }
    }

    /// Whether somebody should look.
    fn is_suspicious(self) -> bool {
        match self {
            Self::CountryNew
            | Self::LoginFailed
            | Self::RefreshBurst
            | Self::RefreshTokenReused
            | Self::SessionsOverMax => true,
            Self::KeyRotated
            | Self::Login
            | Self::Logout
            | Self::PasswordChanged
            | Self::SessionRevoked
            | Self::TokenRevoked
            | Self::UserAdded
            | Self::UserDisabled
            | Self::UserEnabled => false,
        }
    }
}

/// One event.
#[derive(Clone, Debug)]
pub struct Event {
    pub happened: Happened,
    pub actor: Actor,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub whence: Whence,
    pub detail: String,
}

impl Event {
    /// An event without anybody's name.
    pub fn new(happened: Happened, actor: Actor, whence: &Whence) -> Self {
        let whence = whence.clone();
        Self { happened, actor, user_id: None, session_id: None, whence, detail: String::new() }
    }

    /// Whose it is.
    pub fn of(mut self, user_id: &str) -> Self {
        self.user_id = Some(user_id.to_owned());
        self
    }

    /// Which session it is about.
    pub fn session(mut self, session_id: &str) -> Self {
        self.session_id = Some(session_id.to_owned());
        self
    }

    /// What else there is to say.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// Tells of events that are committed.
pub struct Audit {
    counts: IntCounterVec,
}

impl Audit {
    /// Counts from nothing.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counts = Opts::new("portcullis_auth_security_events_total", "Security events.");
        Ok(Self { counts: IntCounterVec::new(counts, &["event"])? })
    }

    /// The counter, for the page of metrics.
    pub fn counts(&self) -> IntCounterVec {
        self.counts.clone()
    }

    /// Writes events to the log, and counts them.
    pub fn tell(&self, events: &[Event]) {
        for event in events {
            let name = event.happened.name();
            self.counts.with_label_values(&[name]).inc();
            let (user, session) = (event.user_id.as_deref(), event.session_id.as_deref());
            let (actor, address, detail) =
                (event.actor.name(), &event.whence.address, &event.detail);
            if event.happened.is_suspicious() {
                tracing::warn!(event = name, actor, user, session, address, detail);
            } else {
                tracing::info!(event = name, actor, user, session, address, detail);
            }
        }
    }
}
