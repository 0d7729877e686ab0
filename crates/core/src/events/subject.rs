//! Subject identifiers (RFC 9493), as far as tokens can be found by them.

use crate::policy::events::LogoutEnds;
use crate::refusal::Denial;
use crate::store::keys::StoreKeys;
use serde_json::{Map, Value};

/// What decides which tokens a subject identifier means.
pub(super) struct SubjectRules<'a> {
    pub(super) keys: &'a StoreKeys,
    /// The issuer of the tokens, by which markers are named.
    pub(super) issuer: &'a str,
    /// The issuer of the event, in each form that a subject may name it.
    pub(super) own: [&'a str; 2],
    pub(super) emails_are_subjects: bool,
    pub(super) logout_ends: LogoutEnds,
    /// Whether the event is about a session.
    pub(super) is_session: bool,
}

impl SubjectRules<'_> {
    /// Returns the keys of the markers that revoke the tokens of a subject.
    ///
    /// # Errors
    ///
    /// [`Denial::SubjectRefused`] if it is another issuer's, or no token can be found by it;
    /// [`Denial::EventMalformed`] if a member is missing or has another type.
    pub(super) fn marks(&self, subject: &Map<String, Value>) -> Result<Vec<String>, Denial> {
        match format(subject)? {
            "complex" => self.complex(subject),
            "opaque" if self.is_session => {
                // CAEP's session-revoked names a session, or a user, by the same format.
                let id = text(subject, "id")?;
                Ok(vec![self.session(id), self.subject(id)])
            }
            _ => Ok(vec![self.simple(subject)?]),
        }
    }

    fn simple(&self, subject: &Map<String, Value>) -> Result<String, Denial> {
        match format(subject)? {
            "iss_sub" | "iss-sub" => {
                self.check_issuer(subject)?;
                Ok(self.subject(text(subject, "sub")?))
            }
            "opaque" => Ok(self.subject(text(subject, "id")?)),
            "email" if self.emails_are_subjects => Ok(self.subject(text(subject, "email")?)),
            "jwt_id" => {
                self.check_issuer(subject)?;
                Ok(self.keys.revoked_jti(self.issuer, text(subject, "jti")?))
            }
            _ => Err(Denial::SubjectRefused),
        }
    }

    /// Reads a complex subject of the Shared Signals Framework. What narrows a user further, such
    /// as a device, is ignored: more is revoked rather than less.
    fn complex(&self, subject: &Map<String, Value>) -> Result<Vec<String>, Denial> {
        let member = |name: &str| match subject.get(name) {
            Some(Value::Object(member)) => Ok(Some(member)),
            Some(_) => Err(Denial::EventMalformed),
            None => Ok(None),
        };
        let session = member("session")?;
        let user = match member("user")?.map(|user| (user, self.simple(user))) {
            // The session is enough where no token can be found by the user.
            Some((user, Err(Denial::SubjectRefused)))
                if self.is_session && session.is_some() && !user.contains_key("iss") =>
            {
                None
            }
            user => user.map(|(_, marks)| marks).transpose()?,
        };
        let mut marks = Vec::new();
        if let Some(session) = session.filter(|_| self.is_session || user.is_none()) {
            if format(session)? != "opaque" {
                return Err(Denial::SubjectRefused);
            }
            marks.push(self.session(text(session, "id")?));
        }
        if marks.is_empty() || self.logout_ends == LogoutEnds::Subject {
            marks.extend(user);
        }
        if marks.is_empty() { Err(Denial::SubjectRefused) } else { Ok(marks) }
    }

    /// Returns the key of the marker that revokes a subject's tokens.
    pub(super) fn subject(&self, sub: &str) -> String {
        self.keys.revoked_sub(self.issuer, sub)
    }

    /// Returns the key of the marker that revokes the tokens of a session.
    pub(super) fn session(&self, sid: &str) -> String {
        self.keys.revoked_sid(self.issuer, sid)
    }

    fn check_issuer(&self, subject: &Map<String, Value>) -> Result<(), Denial> {
        match self.own.contains(&text(subject, "iss")?) {
            true => Ok(()),
            false => Err(Denial::SubjectRefused),
        }
    }
}

/// Returns the format, which Google and early drafts call `subject_type`. A complex subject need
/// not have one.
fn format(subject: &Map<String, Value>) -> Result<&str, Denial> {
    match subject.get("format").or_else(|| subject.get("subject_type")) {
        Some(format) => format.as_str().ok_or(Denial::EventMalformed),
        None if subject.contains_key("user") || subject.contains_key("session") => Ok("complex"),
        None => Err(Denial::EventMalformed),
    }
}

/// Returns a member that must be a text, and not empty.
pub(super) fn text<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Denial> {
    let text = members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    text.ok_or(Denial::EventMalformed)
}
