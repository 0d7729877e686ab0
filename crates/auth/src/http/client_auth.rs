//! The authentication of clients at the token endpoint (RFC 6749 section 2.3, RFC 7523).

use crate::accounts::basic_credentials;
use crate::clients::ASSERTION_TYPE;
use crate::problem::Problem;
use crate::sessions::ClientCredential;
use axum::http::{HeaderMap, header};

/// The parameters of a form that authenticate a client.
#[derive(Default)]
pub struct ClientForm {
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub client_assertion_type: Option<String>,
    pub client_assertion: Option<String>,
}

/// Returns the one credential of a request.
///
/// # Errors
///
/// [`Problem::ClientInvalid`] if there is none that can be read, and [`Problem::RequestMalformed`]
/// if there are two (RFC 6749 section 2.3), or one is incomplete.
pub fn client_credential(
    headers: &HeaderMap,
    form: ClientForm,
) -> Result<ClientCredential, Problem> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next();
    let has_assertion = form.client_assertion.is_some() || form.client_assertion_type.is_some();
    let methods = [field.is_some(), form.client_secret.is_some(), has_assertion];
    if fields.next().is_some() || methods.iter().filter(|used| **used).count() > 1 {
        return Err(Problem::RequestMalformed);
    }
    if let Some(field) = field {
        let credentials = field.to_str().ok().and_then(basic_credentials);
        let (client_id, secret) = credentials.ok_or(Problem::ClientInvalid)?;
        if form.client_id.is_some_and(|named| named != client_id) {
            return Err(Problem::RequestMalformed);
        }
        return Ok(ClientCredential::Secret { client_id, secret });
    }
    if let Some(secret) = form.client_secret {
        let client_id = form.client_id.ok_or(Problem::RequestMalformed)?;
        return Ok(ClientCredential::Secret { client_id, secret });
    }
    match (form.client_assertion, form.client_assertion_type.as_deref()) {
        (Some(assertion), Some(ASSERTION_TYPE)) => {
            Ok(ClientCredential::Assertion { client_id: form.client_id, assertion })
        }
        (None, None) => Err(Problem::ClientInvalid),
        _ => Err(Problem::RequestMalformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    /// Returns the credential as text, or the code of the problem.
    fn read(authorization: &[&str], form: [Option<&str>; 4]) -> String {
        let mut headers = HeaderMap::new();
        for field in authorization {
            headers.append(header::AUTHORIZATION, field.parse().unwrap());
        }
        let [client_id, client_secret, client_assertion_type, client_assertion] =
            form.map(|text| text.map(str::to_owned));
        let form = ClientForm { client_id, client_secret, client_assertion_type, client_assertion };
        match client_credential(&headers, form) {
            Ok(ClientCredential::Secret { client_id, secret }) => format!("{client_id}:{secret}"),
            Ok(ClientCredential::Assertion { client_id, assertion }) => {
                format!("{client_id:?} {assertion}")
            }
            Err(problem) => problem.code().to_owned(),
        }
    }

    #[test]
    fn request_has_exactly_one_credential() {
        let basic = format!("Basic {}", STANDARD.encode("c:s%3A"));
        let (c, kind) = (Some("c"), Some(ASSERTION_TYPE));
        let none = [None; 4];
        let malformed = "request_malformed";
        for (authorization, form, expected) in [
            (vec![basic.as_str()], none, "c:s:"),
            (vec![&basic], [c, None, None, None], "c:s:"),
            (vec![], [c, Some("s"), None, None], "c:s"),
            (vec![], [c, None, kind, Some("a")], "Some(\"c\") a"),
            (vec![], [None, None, kind, Some("a")], "None a"),
            (vec![], none, "client_invalid"),
            (vec![], [c, None, None, None], "client_invalid"),
            (vec!["Bearer x"], none, "client_invalid"),
            (vec!["Basic !"], none, "client_invalid"),
            (vec![&basic, &basic], none, malformed),
            (vec![&basic], [Some("d"), None, None, None], malformed),
            (vec![&basic], [c, Some("s"), None, None], malformed),
            (vec![&basic], [c, None, kind, Some("a")], malformed),
            (vec![], [c, Some("s"), kind, Some("a")], malformed),
            (vec![], [None, Some("s"), None, None], malformed),
            (vec![], [c, None, kind, None], malformed),
            (vec![], [c, None, None, Some("a")], malformed),
            (vec![], [c, None, Some("urn:x"), Some("a")], malformed),
        ] {
            assert_eq!(read(&authorization, form), expected, "{authorization:?} {form:?}");
        }
    }
}
