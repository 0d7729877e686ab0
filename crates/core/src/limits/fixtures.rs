//! What the tests of limits share.

use super::check::LimitCheck;
use crate::policy::limit::{Algorithm, Limit, LimitBy, LimitOutage, LimitTiming};
use crate::policy::resource::Audiences;
use crate::store::keys::StoreKeys;
use crate::token::claims::Claims;
use serde_json::Value;

pub fn limit() -> Limit {
    Limit {
        name: "l".into(),
        algorithm: Algorithm::Gcra,
        quota: 10,
        window_seconds: 60,
        period: None,
        overrides: false,
        burst: None,
        by: vec![LimitBy::Address],
        plans: None,
        shadow: false,
        headers: false,
        on_store_outage: LimitOutage::Local,
        local_quota: None,
        timing: LimitTiming::Exact,
    }
}

pub fn claims(sub: &str, others: &[(&str, Value)]) -> Claims {
    Claims {
        iss: "https://issuer.example".into(),
        sub: sub.into(),
        exp: None,
        nbf: None,
        iat: None,
        jti: None,
        sid: Some("sid".into()),
        client_id: None,
        scope: String::new(),
        others: others.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        audiences: Audiences::OWN,
        key: None,
    }
}

/// Returns a check of a limit, with the quota of the limit.
pub fn check_of(limit: &Limit) -> LimitCheck<'_> {
    let keys: &'static StoreKeys = Box::leak(Box::new(StoreKeys::new(StoreKeys::PREFIX)));
    LimitCheck {
        limit,
        keys,
        key: [0; 32],
        quota: limit.quota,
        is_own: false,
        cost: 1,
        terms: None,
        ahead: 3,
        lease: None,
        owes_nothing: false,
    }
}
