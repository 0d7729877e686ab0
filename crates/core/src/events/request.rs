//! The request that carries an event.

use crate::json;
use crate::policy::events::EventFormat;
use crate::policy::route::Route;
use crate::refusal::Denial;
use crate::request::form::parameter;
use crate::request::head::RequestHead;
use crate::token::bearer::Token;
use crate::token::received::ReceivedClaims;
use serde_json::{Map, Value};

/// A pushed event as received. Nothing of it is verified.
pub struct EventRequest {
    pub(super) format: EventFormat,
    /// The signed token, a JWS in compact form. It is a credential.
    pub(super) token: String,
    /// The subject in the body of a global revocation, which is not signed.
    pub(super) subject: Option<Map<String, Value>>,
}

impl EventFormat {
    /// Returns the format that a request's media type names; `None` if it names none.
    pub fn of(head: &RequestHead<'_>) -> Option<Self> {
        let media_type = head.header("content-type").unwrap_or_default();
        let media_type = media_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| media_type.eq_ignore_ascii_case(name);
        if is("application/x-www-form-urlencoded") {
            Some(Self::Logout)
        } else if is("application/secevent+jwt") {
            Some(Self::SecurityEvent)
        } else if is("application/json") {
            Some(Self::GlobalRevocation)
        } else {
            None
        }
    }
}

impl EventRequest {
    /// Returns the token's claims about its issuer and audience, verified or not, for the log.
    pub fn received_claims(&self) -> Option<ReceivedClaims> {
        ReceivedClaims::of(Token::new(&self.token), &[])
    }

    /// The longest body.
    pub const BODY_BYTES_MAX: u32 = 16 * 1024;

    /// Reads the signed token, and the subject of a global revocation.
    ///
    /// # Errors
    ///
    /// [`Denial::EventMalformed`] if the body lacks them, and for a global revocation what
    /// [`Token::from_head`] returns.
    pub fn read(
        format: EventFormat,
        head: &RequestHead<'_>,
        route: &Route,
        body: &str,
    ) -> Result<Self, Denial> {
        match format {
            EventFormat::Logout => {
                let token = parameter(body, "logout_token").ok_or(Denial::EventMalformed)?;
                Ok(Self { format, token, subject: None })
            }
            EventFormat::SecurityEvent => {
                Ok(Self { format, token: body.trim_ascii().to_owned(), subject: None })
            }
            EventFormat::GlobalRevocation => {
                let token = Token::from_head(head, route)?.expose().to_owned();
                let mut members = json::object(body.as_bytes()).ok_or(Denial::EventMalformed)?;
                // `subject` is what Okta's first version sent.
                let subject = members.remove("sub_id").or_else(|| members.remove("subject"));
                match subject {
                    Some(Value::Object(subject)) => {
                        Ok(Self { format, token, subject: Some(subject) })
                    }
                    _ => Err(Denial::EventMalformed),
                }
            }
        }
    }
}
