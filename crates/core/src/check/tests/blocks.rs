//! Blocks of subjects, clients, API keys and addresses.

use super::*;
use crate::token::api_key::KeyTerms;
use crate::token::blocks::BlockKind;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

#[test]
fn every_value_of_a_block_refuses() {
    let policy = policy();
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let authenticated = authenticate(&check).unwrap();
        for (place, kind) in [(3, BlockKind::Subject), (4, BlockKind::Address)] {
            for value in ["", "0", "{}"] {
                let mut markers = vec![Reply::Null; place];
                markers.push(Reply::text(value));
                let results =
                    results_of(&check, &authenticated, Ok(vec![marked(&markers), record()]));
                let refusal = check.decide(&authenticated, &results).unwrap_err();
                assert_eq!(refusal, Denial::Blocked.into(), "{kind:?} {value}");
                let marker = check.refusing_marker(&authenticated, &results);
                assert_eq!(marker, Some(RevocationMarker::Block(kind)));
            }
        }
        // A revocation is named first, because no operator can end it.
        let both = vec![Reply::Null, Reply::text("0"), Reply::Null, Reply::text("1")];
        let refusal = decide(&check, &authenticated, Ok(vec![marked(&both), record()]));
        assert_eq!(refusal.unwrap_err(), Denial::TokenRevoked.into());
        for marker in [
            RevocationMarker::Block(BlockKind::Address),
            RevocationMarker::Block(BlockKind::Key),
            RevocationMarker::Subject,
        ] {
            assert!(marker.recheck_ms().is_some_and(|ms| ms <= 5000), "{marker:?}");
        }
    });
}

/// Without an answer about the address, the reply does not fit the query.
#[test]
fn reply_without_the_address_is_malformed() {
    let policy = policy();
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let authenticated = authenticate(&check).unwrap();
        for count in [3, 4, 6] {
            let markers = Reply::Array(vec![Reply::Null; count]);
            let refusal = decide(&check, &authenticated, Ok(vec![markers, record()]));
            assert_eq!(refusal.unwrap_err(), Outage::StoreBadResponse.into(), "{count}");
        }
    });
}

#[test]
fn query_names_what_the_token_has_and_the_address() {
    let policy = policy();
    let keys = &policy.keys;
    let iss = "https://issuer.example";
    with_check(&policy, "POST", "/api/x", &token("api:write"), |check| {
        let verified = verify(&check, true).unwrap();
        let query_for = |client: Option<&str>, key: Option<Rc<KeyTerms>>| {
            let mut claims = verified.claims().clone();
            (claims.client_id, claims.key) = (client.map(str::to_owned), key);
            let verified = Rc::new(VerifiedToken::new(keys, verified.hash(), 0, claims));
            let authenticated = check.authenticate(verified, None, NOW).unwrap();
            let commands = check.commands(&authenticated);
            let words = commands[0].words().iter().map(|word| String::from_utf8_lossy(word));
            words.map(|word| word.into_owned()).collect::<Vec<_>>()
        };
        let address = keys.block_address("unknown");
        let record = keys.token(&verified.hash());
        let subject = keys.block("subject", iss, "alice");
        let bare = query_for(None, None);
        assert_eq!(bare[4..], [subject.clone(), address.clone(), record.clone()]);
        let whole = query_for(Some("c"), Some(Rc::default()));
        let client = keys.block("client", iss, "c");
        let key = keys.block("key", iss, "j");
        assert_eq!(whole[5..], [subject, client, key, address, record]);
    });
}

#[test]
fn limited_request_without_a_token_asks_about_its_address() {
    let policy = policy();
    let fields = vec![("cf-connecting-ip", "2001:db8:1:2::9")];
    let head = RequestHead::new("GET", "https://a.example/health", fields);
    let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy).unwrap();
    let authenticated = check.without_token().unwrap();
    let commands = check.commands(&authenticated);
    let key = policy.keys.block_address("2001:db8:1:2::/64");
    assert_eq!((commands[0].name(), commands[0].text(1)), ("GET", Some(key.as_str())));
    let admitted = || Reply::Array([1, 1, 0, 0].map(Reply::Integer).to_vec());
    let over = || Reply::Array([0, 0, 900, 900].map(Reply::Integer).to_vec());
    for (block, limit, expect) in [
        (Reply::Null, admitted(), None),
        (Reply::Null, over(), Some(Denial::RateLimited { wait_ms: 900 })),
        (Reply::text("1"), admitted(), Some(Denial::Blocked)),
        (Reply::text("1"), over(), Some(Denial::Blocked)),
        // Only the limit says what an outage means for a request without a token.
        (Reply::Error("NOPERM".into()), admitted(), None),
    ] {
        let results = results_of(&check, &authenticated, Ok(vec![block.clone(), limit]));
        let found = check.decide(&authenticated, &results).err();
        assert_eq!(found, expect.map(Refusal::from), "{block:?}");
        let marker = check.refusing_marker(&authenticated, &results);
        let is_blocked = expect == Some(Denial::Blocked);
        assert_eq!(marker.and_then(RevocationMarker::block).is_some(), is_blocked);
        assert!(!check.is_answered(&authenticated, &results), "no verdict on a token");
    }
}
