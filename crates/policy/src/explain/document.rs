//! `explain` for a program: of a policy document instead of files, and without tokens.

use super::assume::Assumption;
use super::report::Verdict;
use super::{Options, Request, check_target};
use crate::command::Host;
use portcullis_core::Policy;
use serde_json::{Map, Value};

/// A request whose outcome is asked for.
#[derive(Clone, Debug, Default)]
pub struct Question {
    /// The method.
    pub method: String,
    /// The path, with its query.
    pub target: String,
    /// The header fields. None of them may have a token.
    pub headers: Vec<(String, String)>,
    /// The client's address; `None` for one of the documentation's.
    pub address: Option<String>,
    /// The country of that address.
    pub country: Option<String>,
    /// The number of the autonomous system of that address.
    pub asn: Option<u32>,
    /// The claims of the request's token; `None` for a request without one.
    pub claims: Option<Map<String, Value>>,
    /// What is assumed otherwise, as the option `--assume` names it.
    pub assume: Vec<String>,
}

/// What would happen to a request.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// Each step with its outcome, in their order.
    pub steps: Vec<(String, String)>,
    /// The status that the edge itself responds with; `None` if the request is forwarded.
    pub status: Option<u16>,
    /// The code of a refusal.
    pub code: Option<&'static str>,
    /// Where the request is forwarded to.
    pub target: Option<String>,
    /// What was assumed.
    pub assumptions: Vec<String>,
    /// All of it, as the command prints it.
    pub text: String,
}

/// The reason why a request can't be explained.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExplainError {
    /// The document is not a valid policy of this version.
    DocumentInvalid,
    /// The question is invalid; the text says why.
    QuestionInvalid(String),
    /// A header field has a token, or may have one.
    TokenNotAccepted,
}

/// Explains what the policy in `document`, which is JSON, does with a request. Variables that the
/// document names are assumed to be right.
///
/// # Errors
///
/// [`ExplainError::TokenNotAccepted`] if a header field has a token: `claims` stand for it.
pub fn explain_document(
    document: &str,
    question: &Question,
    now_seconds: u64,
) -> Result<Explanation, ExplainError> {
    let policy = Policy::assume(document, |_| None).map_err(|_| ExplainError::DocumentInvalid)?;
    if has_token(question, &policy) {
        return Err(ExplainError::TokenNotAccepted);
    }
    let invalid = ExplainError::QuestionInvalid;
    check_target(&question.target).map_err(invalid)?;
    let assume = |text: &String| {
        text.parse::<Assumption>().map_err(|error| invalid(format!("assume: {error}")))
    };
    let headers = question.headers.iter().map(|(name, value)| format!("{name}: {value}"));
    let options = Options {
        method: question.method.clone(),
        target: question.target.clone(),
        header: headers.collect(),
        address: question.address.clone().unwrap_or_else(|| "203.0.113.1".to_owned()),
        country: question.country.clone(),
        asn: question.asn,
        assume: question.assume.iter().map(assume).collect::<Result<_, _>>()?,
        ..Options::default()
    };
    let host = Host::without_files(now_seconds);
    let request =
        Request::new(&options, &host, policy, question.claims.clone()).map_err(invalid)?;
    let (report, assumptions) = request.report(&options);
    let (status, code, target) = match &report.verdict {
        Some(Verdict::Responded { status, code, .. }) => (Some(*status), *code, None),
        Some(Verdict::Forwarded { to, .. }) => (None, None, Some(to.clone())),
        None => (None, None, None),
    };
    Ok(Explanation {
        status,
        code,
        target,
        assumptions: assumptions.notes().to_vec(),
        text: report.text(&assumptions, &host),
        steps: report.steps,
    })
}

/// Returns whether a question has a token, or a field in which the policy looks for one. A token
/// elsewhere is recognised by its form.
fn has_token(question: &Question, policy: &Policy) -> bool {
    let is_token_field = |name: &str| {
        let fields = policy.routes.iter().filter_map(|route| route.api_key_header.as_deref());
        let mut fields = fields.chain(["authorization", "cookie", "proxy-authorization"]);
        fields.any(|field| field.eq_ignore_ascii_case(name))
    };
    let prefixes = policy.issuers.iter().flat_map(|issuer| {
        let opaque = issuer.introspection.as_ref().map(|own| own.token_prefix.as_str());
        let keys = issuer.api_key_prefixes.iter().map(String::as_str);
        keys.chain(opaque.filter(|prefix| !prefix.is_empty()))
    });
    let prefixes: Vec<&str> = prefixes.chain(["pca_", "pcr_", "pck_"]).collect();
    let looks_like_token = |text: &str| {
        let mut words = text.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c)));
        words.any(|word| {
            let has_prefix =
                |prefix: &&str| word.strip_prefix(*prefix).is_some_and(|rest| rest.len() >= 16);
            prefixes.iter().any(has_prefix) || is_jwt(word)
        })
    };
    question.headers.iter().any(|(name, value)| {
        is_token_field(name.trim()) || looks_like_token(value) || looks_like_token(name)
    }) || looks_like_token(&question.target)
        || question.claims.iter().flatten().any(|(_, value)| looks_like_token(&value.to_string()))
}

/// Returns whether a word has the form of a JWT: three parts or more, and the first one is an
/// encoded JSON object.
fn is_jwt(word: &str) -> bool {
    word.starts_with("eyJ") && word.split('.').count() >= 3 && word.len() >= 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::PolicyFile;
    use crate::testing::{NOW_SECONDS, POLICY, run_on};
    use serde_json::json;

    fn document() -> String {
        PolicyFile::parse(POLICY.to_owned()).ok().unwrap().document()
    }

    fn get(target: &str) -> Question {
        Question { method: "GET".into(), target: target.into(), ..Question::default() }
    }

    fn ask(question: &Question) -> Result<Explanation, ExplainError> {
        explain_document(&document(), question, NOW_SECONDS)
    }

    #[test]
    fn document_is_explained_as_the_command_explains_its_file() {
        let claims = json!({ "scope": "admin", "sub": "alice" });
        let mut question = get("/api/admin/x?a=1");
        question.claims = claims.as_object().cloned();
        question.headers = vec![("X-A".into(), "b".into())];
        let explained = ask(&question).unwrap();
        let files = [("portcullis.toml", POLICY), ("claims", &claims.to_string())];
        let line = "explain GET /api/admin/x?a=1 --claims claims --header X-A:b";
        assert_eq!(explained.text, run_on(&files, line).text);
        let upstream = "the upstream, https://upstream.example/api/admin/x?a=1";
        assert_eq!(explained.target.as_deref(), Some(upstream));
        assert_eq!((explained.status, explained.code), (None, None));
        assert!(!explained.steps.is_empty() && !explained.assumptions.is_empty());
        question.assume = vec!["revoked".into()];
        let refused = ask(&question).unwrap();
        assert_eq!((refused.status, refused.code), (Some(401), Some("token_revoked")));
        assert_eq!(refused.target, None);
    }

    #[test]
    fn invalid_questions_and_documents_are_refused() {
        let mut assumed = get("/api");
        assumed.assume = vec!["luck".into()];
        let mut elsewhere = get("/api");
        elsewhere.country = Some("germany".into());
        for question in [get("api"), assumed, elsewhere] {
            let error = ask(&question).err().unwrap();
            assert!(matches!(error, ExplainError::QuestionInvalid(_)), "{error:?}");
        }
        for document in ["", "[]", "{}", "{\"routes\":[]}"] {
            let error = explain_document(document, &get("/"), NOW_SECONDS).err().unwrap();
            assert_eq!(error, ExplainError::DocumentInvalid, "{document}");
        }
    }

    #[test]
    fn tokens_are_refused_wherever_they_are() {
        let jwt = "eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhbGljZSJ9.c2VjcmV0c2VjcmV0";
        let key = format!("pck_live_{}", "a".repeat(43));
        let header = |name: &str, value: &str| Question {
            headers: vec![(name.to_owned(), value.to_owned())],
            ..get("/api/x")
        };
        let mut claimed = get("/api/x");
        claimed.claims = json!({ "sub": jwt }).as_object().cloned();
        for question in [
            header("Authorization", "x"),
            header(" authorization ", "x"),
            header("cookie", "a=b"),
            header("Proxy-Authorization", "x"),
            header("x-a", jwt),
            header("x-a", &format!("Bearer {jwt}")),
            header("x-a", &key),
            header(&key, "x"),
            get(&format!("/api/x?token={jwt}")),
            get(&format!("/api/{key}")),
            claimed,
        ] {
            let error = ask(&question).err();
            assert_eq!(error, Some(ExplainError::TokenNotAccepted), "{question:?}");
        }
        let policy = POLICY
            .replace("suffixes = \"same\"", "api_key_header = \"X-Key\"")
            .replace("audience = \"api\"", "audience = \"api\"\napi_key_prefixes = [\"pk_\"]");
        let document = PolicyFile::parse(policy).ok().unwrap().document();
        for (question, is_refused) in [
            (header("x-key", "v"), true),
            (header("x-a", &format!("pk_{}", "a".repeat(43))), true),
            (header("x-a", "pk_short, version 1.2.3 and pck_live"), false),
        ] {
            let refused = explain_document(&document, &question, NOW_SECONDS).err();
            let expect = is_refused.then_some(ExplainError::TokenNotAccepted);
            assert_eq!(refused, expect, "{question:?}");
        }
    }
}
