#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

const ERRORS: &str = include_str!("../../../../docs/errors.md");

/// Every code in the `code` functions above has a row in the table.
#[test]
fn each_code_is_documented() {
    let codes = include_str!("../refusal.rs").lines().filter_map(|line| {
        let (_, code) = line.trim().strip_prefix("Self::")?.split_once(" => \"")?;
        let code = code.strip_suffix("\",")?;
        code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_').then_some(code)
    });
    let codes: Vec<&str> = codes.collect();
    assert!(codes.len() > 35, "{codes:?}");
    for code in codes {
        assert!(ERRORS.contains(&format!("`{code}`")), "docs/errors.md lacks {code}");
    }
}
