//! What an issuer's pushed events may revoke, and how they are verified.

use super::issuer::Issuer;

/// The rules for the events that an issuer pushes.
#[derive(Clone, Debug)]
pub struct EventPolicy {
    /// The place of the issuer in the policy.
    pub issuer: usize,
    /// The values of which `aud` must be or contain one.
    pub audience: Vec<String>,
    /// The formats that are accepted.
    pub accept: Vec<EventFormat>,
    /// The `iss` of the events, if it is not that of the issuer's tokens.
    pub sender: Option<String>,
    /// The sender as an issuer with keys of its own; `None` if the issuer's keys sign the events.
    pub keys: Option<Issuer>,
    /// Whether the header must have the `typ` of the format.
    pub type_required: bool,
    /// What an event about a session ends.
    pub logout_ends: LogoutEnds,
    /// Whether an email address in an event is the `sub` of tokens.
    pub emails_are_subjects: bool,
    /// The longest life of the issuer's access tokens, and a leeway, 60 to 2,678,400 s. Markers
    /// last as long, and events that are older are refused.
    pub token_life_seconds_max: u64,
}

/// The format of a pushed event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventFormat {
    /// A logout token in a form (OpenID Connect Back-Channel Logout 1.0 section 2.5).
    Logout,
    /// A Security Event Token (RFC 8417), pushed by RFC 8935.
    SecurityEvent,
    /// A subject in JSON, with a signed token of its sender
    /// (draft-parecki-oauth-global-token-revocation).
    GlobalRevocation,
}

impl EventFormat {
    pub(crate) const NAMES: [(&str, Self); 3] = [
        ("logout", Self::Logout),
        ("security_events", Self::SecurityEvent),
        ("global_revocation", Self::GlobalRevocation),
    ];
}

/// What an event about one session ends.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogoutEnds {
    /// The tokens whose `sid` is the session's.
    #[default]
    Session,
    /// All tokens of the subject, for issuers whose access tokens have no `sid`.
    Subject,
}

impl LogoutEnds {
    pub(crate) const NAMES: [(&str, Self); 2] =
        [("session", Self::Session), ("subject", Self::Subject)];
}
