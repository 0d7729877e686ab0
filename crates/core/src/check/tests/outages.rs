//! Verdicts while the store, a count or a record is missing; and which requests limits count.

use super::*;
use crate::limits::lease::{Granted, Leases};
use crate::limits::local::LocalCount;
use crate::limits::owed::OwedUntil;
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

/// Returns a policy with one protected route that has these members, too.
fn policy_of(route: &str) -> Policy {
    let issuers = r#"[{"issuer":"https://issuer.example","audience":"api","algorithms":["EdDSA"],
        "jwks_url":"https://issuer.example/jwks","introspection":{"url":"https://issuer.example/i",
        "client_id":"edge","client_secret_variable":"STORE_TOKEN"}}]"#;
    let routes = format!(r#"[{{"name":"a","path":"/a","access":"protected",{route}}}]"#);
    policy_with(&[("issuers", issuers), ("routes", &routes)])
}

#[test]
fn store_outage_is_handled_as_the_route_says() {
    let verdict = |route: &str, introspected: Option<&str>, answer: Result<Vec<Reply>, Outage>| {
        with_check(&policy_of(route), "GET", "/a", &token("x"), |check| {
            let authenticated = authenticate(&check).unwrap();
            let mut results = results_of(&check, &authenticated, answer);
            let reason = check.missing_record(&authenticated, &results).map(|(_, missing)| missing);
            if let (Some(missing), Some(sub)) = (reason, introspected) {
                let record = TokenRecord { sub: sub.into(), ..TokenRecord::default() };
                check.complete(&authenticated, &mut results, missing, record)?;
            }
            let permit = check.decide(&authenticated, &results)?;
            assert!(
                permit.cleared().is_none()
                    || permit.degraded().token != Some(StoreOutage::Signature)
            );
            Ok((permit.degraded().text(), reason))
        })
    };
    let (deny, introspect) = (r#""on_store_outage":"deny""#, r#""on_store_outage":"introspect""#);
    let signature = r#""on_store_outage":"signature""#;
    let out = || Err(Outage::StoreTimeout);
    let timeout = Err(Refusal::Out(Outage::StoreTimeout));
    assert_eq!(verdict(deny, Some("alice"), out()), timeout);
    assert_eq!(verdict(signature, None, out()), Ok((Some("token=signature"), None)));
    let reason = Some(Missing::Store);
    assert_eq!(verdict(introspect, Some("alice"), out()), Ok((Some("token=introspect"), reason)));
    assert_eq!(verdict(introspect, None, out()), timeout, "no introspection");
    let unknown = Err(Refusal::Denied(Denial::TokenNotRegistered));
    assert_eq!(
        verdict(introspect, Some("mallory"), out()),
        unknown,
        "a response about another subject"
    );
    // The results that the store returned apply, even if others are missing.
    let revoked = marked(&[Reply::Null, Reply::text("0")]);
    let half = || Ok(vec![revoked.clone(), Reply::Error("ERR".into())]);
    for route in [deny, introspect, signature] {
        assert_eq!(
            verdict(route, Some("alice"), half()),
            Err(Denial::TokenRevoked.into()),
            "{route}"
        );
        let whole = Ok(vec![clean(), record()]);
        assert_eq!(verdict(route, None, whole), Ok((None, None)), "{route}");
    }
    let half = Ok(vec![clean(), Reply::Error("ERR".into())]);
    assert_eq!(verdict(signature, None, half), Ok((Some("token=signature"), None)));
}

#[test]
fn uncounted_limit_follows_its_outage_policy() {
    let verdict = |outage: &str, shadow: bool, local: Option<LocalCount>| {
        let limit = format!(
            r#""limit":{{"quota":5,"window_seconds":60,"by":"subject","on_store_outage":"{outage}","shadow":{shadow}}}"#
        );
        with_check(&policy_of(&limit), "GET", "/a", &token("x"), |check| {
            let authenticated = authenticate(&check).unwrap();
            let answer = vec![clean(), record(), Reply::Error("OOM".into())];
            let mut results = results_of(&check, &authenticated, Ok(answer));
            let places: Vec<usize> =
                check.uncounted(&authenticated, &results).iter().map(|(place, _)| *place).collect();
            assert_eq!(places, if outage == "local" { vec![2] } else { vec![] });
            if let Some(local) = local {
                results[2] = StoreResult::CountedLocally(local);
            }
            let limit_decisions = check.limit_decisions(&authenticated, &results).len();
            assert_eq!(limit_decisions, usize::from(local.is_some()));
            let permit = check.decide(&authenticated, &results)?;
            assert!(permit.cleared().is_some(), "the store did clear the token");
            Ok::<_, Refusal>(permit.degraded().text())
        })
    };
    assert_eq!(verdict("deny", false, None), Err(Outage::StoreBadResponse.into()));
    assert_eq!(verdict("allow", false, None), Ok(Some("limit=allow")));
    assert_eq!(verdict("local", false, None), Err(Outage::StoreBadResponse.into()), "not counted");
    assert_eq!(
        verdict("local", false, Some(LocalCount::Admitted { left: Some(3) })),
        Ok(Some("limit=local"))
    );
    let over = Some(LocalCount::Refused { wait_ms: 900 });
    let limited = Err(Denial::RateLimited { wait_ms: 900 }.into());
    assert_eq!(verdict("local", false, over), limited);
    assert_eq!(verdict("local", true, over), Ok(Some("limit=local")), "a shadow limit");
    assert_eq!(verdict("deny", true, None), Ok(None), "a shadow limit");
}

#[test]
fn limits_are_counted_by_store_or_lease_and_not_for_unlimited_addresses() {
    let limits = r#"[{"name":"all","quota":9,"window_seconds":1,"by":["subject","route"]},
        {"name":"leased","quota":9,"window_seconds":1,"by":"client","timing":"leased"}]"#;
    let routes = r#"[{"name":"a","path":"/a","access":"protected","limits":["all","leased"],"cost":3,
        "limit":{"quota":4,"window_seconds":2,"by":"header:X-Tenant","plans":{"claim":"plan","quotas":{"pro":8}}}}]"#;
    let with = |address: &str, work: &dyn Fn(&Check<'_, '_>, &AuthenticatedRequest<'_>)| {
        let addresses = r#"{"unlimited":["192.0.2.0/24"],"deny":["198.51.100.1"]}"#;
        let policy =
            policy_with(&[("limits", limits), ("routes", routes), ("ip_rules", addresses)]);
        let token = token("x");
        let fields =
            vec![("authorization", &*token), ("cf-connecting-ip", address), ("x-tenant", "acme")];
        let head = RequestHead::new("GET", "https://a.example/a", fields);
        let check = Check::new(&head, route_of(&policy, &head).unwrap(), &policy)?;
        work(&check, &authenticate(&check).unwrap());
        Ok::<(), Denial>(())
    };
    let counted = with("203.0.113.1", &|check, authenticated| {
        let names: Vec<&str> =
            authenticated.limit_checks().map(|limit_check| &*limit_check.limit.name).collect();
        assert_eq!(names, ["a", "all", "leased"]);
        let commands = check.commands(authenticated);
        let words: Vec<String> = commands[1]
            .words()
            .iter()
            .map(|word| String::from_utf8_lossy(word).into_owned())
            .collect();
        assert!(
            words[3].starts_with("pc:limit:a:bucket:") && !words[3].contains("acme"),
            "{words:?}"
        );
        assert_eq!(words[4..], ["gcra", "4", "2000", "3", "4", "0", "1"]);
    });
    assert_eq!(counted, Ok(()));
    let spared = with("192.0.2.7", &|check, authenticated| {
        assert_eq!(check.commands(authenticated).len(), 1);
        assert_eq!(authenticated.all_limit_checks().count(), 0);
    });
    let leased = with("203.0.113.2", &|check, authenticated| {
        let (mut leases, mut owed) = (Leases::new(8), OwedUntil::new(8));
        let now_ms = 1_000_000;
        let mut request = authenticate(check).unwrap();
        assert_eq!(request.spend_leases(&mut leases, &mut owed, now_ms).len(), 0);
        assert_eq!(check.commands(&request).len(), check.commands(authenticated).len());
        let leased = request.limit_checks().find(|check| check.limit.name == "leased").unwrap();
        let granted = Granted { units: 4, left: 2, ..Granted::default() };
        let (key, terms) = (leased.lease_key(), leased.terms.unwrap());
        leases.grant(key, terms, granted, now_ms, now_ms + 1);
        let mut next = authenticate(check).unwrap();
        next.spend_leases(&mut leases, &mut owed, now_ms + 2);
        assert_eq!(check.commands(&next).len(), check.commands(authenticated).len() - 1);
        let decided = check.limit_decisions(&next, &[]);
        assert_eq!(decided.iter().map(|own| own.left).collect::<Vec<_>>(), [Some(2)]);
    });
    assert_eq!(leased, Ok(()));
    assert_eq!(spared, Ok(()));
    assert_eq!(with("198.51.100.1", &|_, _| ()), Err(Denial::AddressRefused));
}

#[test]
fn record_that_does_not_open_is_missing() {
    let key = |id: &str| format!("{id}:{}", "A".repeat(43));
    let routes = r#"[{"name":"a","path":"/a","access":"protected"}]"#;
    let policy = policy_with(&[("RECORD_ENCRYPTION_KEY", &key("a")), ("routes", routes)]);
    with_check(&policy, "GET", "/a", &token("x"), |check| {
        let authenticated = authenticate(&check).unwrap();
        let store_key = policy.keys.token(&check.token_hash().unwrap());
        let verdict = |value: &str| {
            let mut results =
                vec![StoreResult::Reply(clean()), StoreResult::Reply(Reply::text(value))];
            let unreadable = check.open_record(&authenticated, &mut results);
            (unreadable, check.decide(&authenticated, &results).err())
        };
        let sealed = |key: &str| {
            let record = TokenRecord {
                sub: "alice".into(),
                sid: Some("s".into()),
                ..TokenRecord::default()
            };
            record.encode(key, policy.seal.as_ref(), [3; 12])
        };
        assert_eq!(verdict(&sealed(&store_key)), (false, None));
        let unknown = (true, Some(Denial::TokenNotRegistered.into()));
        assert_eq!(verdict(&sealed("pc:token:another")), unknown, "moved from another token");
        let Reply::Bulk(plain) = record() else { panic!() };
        assert_eq!(verdict(&String::from_utf8(plain).unwrap()), unknown, "not sealed");
        assert_eq!(verdict(""), unknown);
    });
}
