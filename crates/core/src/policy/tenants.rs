//! The tenants of a provider whose issuers differ only by the tenant's name in them.

/// What stands for the tenant in an issuer of the policy.
pub(crate) const TENANT: &str = "{tenant}";

/// What stands for the tenant in a provider's metadata and key set, as Microsoft writes it.
const TENANT_ID: &str = "{tenantid}";

/// Returns the tenant that `iss` names in the place of each `mark` of `template`. Returns `None` if
/// it differs from the template elsewhere, names two tenants, or has another text than a tenant
/// there.
pub(crate) fn tenant_in<'t>(template: &str, mark: &str, iss: &'t str) -> Option<&'t str> {
    let (first, mut template) = template.split_once(mark)?;
    let mut rest = iss.strip_prefix(first)?;
    let mut tenant = None;
    loop {
        let Some((literal, later)) = template.split_once(mark) else {
            let last = rest.strip_suffix(template)?;
            let is_same = tenant.is_none_or(|tenant| tenant == last);
            return Some(last).filter(|last| is_same && is_tenant(last));
        };
        let (found, after) = rest.split_once(literal)?;
        if tenant.is_some_and(|tenant| tenant != found) {
            return None;
        }
        (tenant, rest, template) = (Some(found), after, later);
    }
}

/// Returns whether a key of an issuer's key set may sign for `iss`. `owner` is the key's member
/// `issuer`, which may stand for all tenants.
pub(super) fn is_owned_by(iss: &str, owner: &str) -> bool {
    owner == iss || tenant_in(owner, TENANT_ID, iss).is_some()
}

/// Returns a template as a provider's metadata has it.
pub(super) fn as_in_metadata(template: &str) -> String {
    template.replace(TENANT, TENANT_ID)
}

/// Returns whether a text can be a tenant: 1 to 64 of the characters that the path of a URL has
/// unencoded (`unreserved` in RFC 3986 section 2.3), so no slash.
pub(crate) fn is_tenant(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    const GUID: &str = "9188040d-6c67-4c5b-b112-36a304b66dad";

    #[test]
    fn tenant_is_one_segment_in_the_place_of_its_mark() {
        fn check(template: &str, iss: &str, expect: Option<&str>) {
            assert_eq!(tenant_in(template, TENANT, iss), expect, "{template} {iss}");
        }
        let v2 = "https://login.example/{tenant}/v2.0";
        check(v2, &format!("https://login.example/{GUID}/v2.0"), Some(GUID));
        check(v2, "https://login.example/a/v2.0", Some("a"));
        for other in [
            "https://login.example//v2.0",
            "https://login.example/v2.0",
            "https://login.example/a/b/v2.0",
            "https://login.example/a%2Fb/v2.0",
            "https://login.example/a/v2.0/",
            "https://login.example/a/v2.0?x",
            "https://login.example/a/v2.0/v2.0",
            "https://login.example/a",
            "https://login.example/a/V2.0",
            "https://LOGIN.example/a/v2.0",
            "http://login.example/a/v2.0",
            " https://login.example/a/v2.0",
            "https://login.example.evil.example/a/v2.0",
            "https://login.example/{tenant}/v2.0",
            "https://login.example/{tenantid}/v2.0",
            "https://login.example/a b/v2.0",
            "https://login.example/a\u{e9}/v2.0",
            "",
        ] {
            check(v2, other, None);
        }
        let long = "a".repeat(65);
        check(v2, &format!("https://login.example/{}/v2.0", &long[1..]), Some(&long[1..]));
        check(v2, &format!("https://login.example/{long}/v2.0"), None);
        check("https://sts.example/{tenant}/", "https://sts.example/a/", Some("a"));
        check("https://sts.example/{tenant}/", "https://sts.example/a", None);
        check("https://sts.example/{tenant}", "https://sts.example/a", Some("a"));
        check("{tenant}", "a", Some("a"));
        check("https://a.example", "https://a.example", None);
        // The texts around the mark may not overlap.
        check("aba{tenant}aba", "aba", None);
        check("aba{tenant}aba", "ababa", None);
        check("aba{tenant}aba", "abaXaba", Some("X"));
    }

    #[test]
    fn key_of_one_tenant_signs_for_no_other() {
        fn check(owner: &str, iss: &str, expect: bool) {
            assert_eq!(is_owned_by(iss, owner), expect, "{owner} {iss}");
        }
        let consumers = format!("https://login.example/{GUID}/v2.0");
        check(&consumers, &consumers, true);
        check(&consumers, "https://login.example/other/v2.0", false);
        check("https://login.example/{tenantid}/v2.0", &consumers, true);
        check("https://login.example/{tenantid}/v2.0", "https://login.example/a/v2.0", true);
        check("https://login.example/{tenantid}/v2.0", "https://sts.example/a/", false);
        check(
            "https://login.example/{tenantid}/v2.0",
            "https://login.example/{tenantid}/v2.0",
            true,
        );
        check("https://login.example/{tenant}/v2.0", "https://login.example/a/v2.0", false);
        let twice = "https://{tenantid}.ciam.example/{tenantid}/v2.0";
        check(twice, "https://a.ciam.example/a/v2.0", true);
        check(twice, "https://a.ciam.example/b/v2.0", false);
        check(twice, "https://a.ciam.example/a/a/v2.0", false);
        check("{tenantid}{tenantid}", "aa", false);
        check("", "https://login.example/a/v2.0", false);
    }

    #[cfg(not(target_arch = "wasm32"))]
    proptest::proptest! {
        /// A template matches what one gets by putting a tenant into it, and nothing else.
        #[test]
        fn tenant_is_what_was_put_in(
            before in "[a-c/]{0,4}", after in "[a-c/]{0,4}", iss in "[a-c/]{0,10}",
            tenant in "[a-c~.-]{1,4}",
        ) {
            let template = format!("{before}{TENANT}{after}");
            let made = format!("{before}{tenant}{after}");
            proptest::prop_assert_eq!(tenant_in(&template, TENANT, &made), Some(tenant.as_str()));
            let oracle = (0..=iss.len())
                .flat_map(|from| (from..=iss.len()).map(move |to| (from, to)))
                .map(|(from, to)| (&iss[..from], &iss[from..to], &iss[to..]))
                .find(|(a, own, b)| *a == before && *b == after && is_tenant(own))
                .map(|(_, own, _)| own);
            proptest::prop_assert_eq!(tenant_in(&template, TENANT, &iss), oracle);
        }
    }
}
