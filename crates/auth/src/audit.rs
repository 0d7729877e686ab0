//! Security events. Each is stored in the transaction of its change, then logged and counted.

use prometheus::{IntCounterVec, Opts};
use std::sync::Arc;

/// The client of a request, according to the headers that the edge sets.
#[derive(Clone, Debug, Default)]
pub struct ClientInfo {
    pub address: String,
    pub device: String,
    pub country: Option<String>,
    pub request_id: String,
    /// The action of an operator in the console that the request is.
    pub action: Option<Arc<ConsoleAction>>,
}

/// An action of an operator in the console.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConsoleAction {
    /// The operator, a user of this service.
    pub user_id: String,
    /// Why, in the operator's words.
    pub reason: String,
}

impl ClientInfo {
    /// Returns the key by which login attempts are counted: the IPv4 address or the IPv6 network.
    /// Requests without an address share one key, so that omitting the address does not bypass the
    /// limit.
    pub fn address_group(&self) -> String {
        portcullis_core::address_group(self.address.parse().ok())
    }
}

/// The cause of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Actor {
    /// A client that introspects tokens.
    Client,
    /// An operator, by a command or in the console.
    Operator,
    /// This service itself.
    Service,
    /// The holder of a password or token.
    User,
}

impl Actor {
    /// Returns the name in the database and the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Service => "service",
            Self::User => "user",
        }
    }
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    BlockCleared,
    BlockSet,
    ClientAdded,
    ClientChanged,
    ClientDeleted,
    ClientDenied,
    ClientDisabled,
    ClientEnabled,
    ClientSecretRolled,
    ConsoleLogin,
    ConsoleLoginFailed,
    ConsoleLogout,
    CountryNew,
    CreditAdded,
    IntrospectionDenied,
    KeyChanged,
    KeyCreated,
    KeyRevoked,
    KeyRolled,
    KeyRotated,
    Login,
    LoginFailed,
    Logout,
    PasswordChanged,
    QuotaCleared,
    QuotaSet,
    RefreshBurst,
    RefreshTokenReused,
    SessionRevoked,
    SessionsOverMax,
    TokenRevoked,
    UserAdded,
    UserChanged,
    UserDeleted,
    UserDisabled,
    UserEnabled,
}

impl EventKind {
    /// All kinds, in their order.
    pub const ALL: [Self; 36] = [
        Self::BlockCleared,
        Self::BlockSet,
        Self::ClientAdded,
        Self::ClientChanged,
        Self::ClientDeleted,
        Self::ClientDenied,
        Self::ClientDisabled,
        Self::ClientEnabled,
        Self::ClientSecretRolled,
        Self::ConsoleLogin,
        Self::ConsoleLoginFailed,
        Self::ConsoleLogout,
        Self::CountryNew,
        Self::CreditAdded,
        Self::IntrospectionDenied,
        Self::KeyChanged,
        Self::KeyCreated,
        Self::KeyRevoked,
        Self::KeyRolled,
        Self::KeyRotated,
        Self::Login,
        Self::LoginFailed,
        Self::Logout,
        Self::PasswordChanged,
        Self::QuotaCleared,
        Self::QuotaSet,
        Self::RefreshBurst,
        Self::RefreshTokenReused,
        Self::SessionRevoked,
        Self::SessionsOverMax,
        Self::TokenRevoked,
        Self::UserAdded,
        Self::UserChanged,
        Self::UserDeleted,
        Self::UserDisabled,
        Self::UserEnabled,
    ];

    /// Returns the stable name in the database, the log and the metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::BlockCleared => "block_cleared",
            Self::BlockSet => "block_set",
            Self::ClientAdded => "client_added",
            Self::ClientChanged => "client_changed",
            Self::ClientDeleted => "client_deleted",
            Self::ClientDenied => "client_denied",
            Self::ClientDisabled => "client_disabled",
            Self::ClientEnabled => "client_enabled",
            Self::ClientSecretRolled => "client_secret_rolled",
            Self::ConsoleLogin => "console_login",
            Self::ConsoleLoginFailed => "console_login_failed",
            Self::ConsoleLogout => "console_logout",
            Self::CountryNew => "country_new",
            Self::CreditAdded => "credit_added",
            Self::IntrospectionDenied => "introspection_denied",
            Self::KeyChanged => "key_changed",
            Self::KeyCreated => "key_created",
            Self::KeyRevoked => "key_revoked",
            Self::KeyRolled => "key_rolled",
            Self::KeyRotated => "key_rotated",
            Self::Login => "login",
            Self::LoginFailed => "login_failed",
            Self::Logout => "logout",
            Self::PasswordChanged => "password_changed",
            Self::QuotaCleared => "quota_cleared",
            Self::QuotaSet => "quota_set",
            Self::RefreshBurst => "refresh_burst",
            Self::RefreshTokenReused => "refresh_token_reused",
            Self::SessionRevoked => "session_revoked",
            Self::SessionsOverMax => "sessions_over_max",
            Self::TokenRevoked => "token_revoked",
            Self::UserAdded => "user_added",
            Self::UserChanged => "user_changed",
            Self::UserDeleted => "user_deleted",
            Self::UserDisabled => "user_disabled",
            Self::UserEnabled => "user_enabled",
        }
    }

    /// Returns whether the event may be part of an attack. It is then logged as a warning.
    fn is_suspicious(self) -> bool {
        match self {
            Self::ClientDenied
            | Self::ConsoleLoginFailed
            | Self::CountryNew
            | Self::IntrospectionDenied
            | Self::LoginFailed
            | Self::RefreshBurst
            | Self::RefreshTokenReused
            | Self::SessionsOverMax => true,
            Self::BlockCleared
            | Self::BlockSet
            | Self::ClientAdded
            | Self::ClientChanged
            | Self::ClientDeleted
            | Self::ClientDisabled
            | Self::ClientEnabled
            | Self::ClientSecretRolled
            | Self::ConsoleLogin
            | Self::ConsoleLogout
            | Self::CreditAdded
            | Self::KeyChanged
            | Self::KeyCreated
            | Self::KeyRevoked
            | Self::KeyRolled
            | Self::KeyRotated
            | Self::Login
            | Self::Logout
            | Self::PasswordChanged
            | Self::QuotaCleared
            | Self::QuotaSet
            | Self::SessionRevoked
            | Self::TokenRevoked
            | Self::UserAdded
            | Self::UserChanged
            | Self::UserDeleted
            | Self::UserDisabled
            | Self::UserEnabled => false,
        }
    }
}

/// A security event.
#[derive(Clone, Debug)]
pub struct Event {
    pub kind: EventKind,
    pub actor: Actor,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    pub client: ClientInfo,
    pub detail: String,
}

impl Event {
    /// Creates an event without a user, a session or details.
    pub fn new(kind: EventKind, actor: Actor, client: &ClientInfo) -> Self {
        let client = client.clone();
        Self { kind, actor, user_id: None, session_id: None, client, detail: String::new() }
    }

    /// Sets the user.
    pub fn user(mut self, user_id: &str) -> Self {
        self.user_id = Some(user_id.to_owned());
        self
    }

    /// Sets the session.
    pub fn session(mut self, session_id: &str) -> Self {
        self.session_id = Some(session_id.to_owned());
        self
    }

    /// Sets the details, a free text.
    pub fn detail(mut self, detail: impl Into<String>) -> Self {
        self.detail = detail.into();
        self
    }
}

/// Logs and counts events that are committed.
#[derive(Clone)]
pub struct Audit {
    counts: IntCounterVec,
}

impl Audit {
    /// Creates the counter of each kind. Prometheus sees no increase in a counter that begins with
    /// its first event.
    pub fn new() -> Result<Self, prometheus::Error> {
        let counts = Opts::new("portcullis_auth_security_events_total", "Security events.");
        let counts = IntCounterVec::new(counts, &["event"])?;
        for kind in EventKind::ALL {
            counts.with_label_values(&[kind.name()]);
        }
        Ok(Self { counts })
    }

    /// Returns the counter of events, to be registered with the metrics.
    pub fn counts(&self) -> IntCounterVec {
        self.counts.clone()
    }

    /// Logs and counts events.
    pub fn record(&self, events: &[Event]) {
        for event in events {
            let name = event.kind.name();
            self.counts.with_label_values(&[name]).inc();
            let (user, session) = (event.user_id.as_deref(), event.session_id.as_deref());
            let (actor, address, detail) =
                (event.actor.name(), &event.client.address, &event.detail);
            let action = event.client.action.as_deref();
            let by = action.map(|action| action.user_id.as_str());
            let reason = action.map(|action| action.reason.as_str());
            if event.kind.is_suspicious() {
                tracing::warn!(event = name, actor, user, session, address, detail, by, reason);
            } else {
                tracing::info!(event = name, actor, user, session, address, detail, by, reason);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::core::Collector as _;
    use std::collections::BTreeSet;

    #[test]
    fn the_list_has_all_kinds_in_their_order() {
        let source = include_str!("audit.rs");
        let (_, kinds) = source.split_once("pub enum EventKind {").unwrap();
        let (kinds, _) = kinds.split_once('}').unwrap();
        let kinds: Vec<&str> = kinds.split(',').map(str::trim).filter(|k| !k.is_empty()).collect();
        let listed: Vec<String> = EventKind::ALL.iter().map(|kind| format!("{kind:?}")).collect();
        assert_eq!(listed, kinds);
    }

    #[test]
    fn each_kind_has_a_counter_before_its_first_event() {
        let audit = Audit::new().unwrap();
        let families = audit.counts().collect();
        let metrics = families[0].get_metric();
        let counted: BTreeSet<&str> =
            metrics.iter().map(|metric| metric.get_label()[0].value()).collect();
        assert_eq!(counted, EventKind::ALL.into_iter().map(EventKind::name).collect());
        let sum: f64 = metrics.iter().map(|metric| metric.get_counter().get_value()).sum();
        assert_eq!(sum as u64, 0);
    }
}
