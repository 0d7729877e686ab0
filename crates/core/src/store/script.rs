//! The Lua scripts that the store runs, in the form in which they are sent.

/// Returns how many bytes [`bare`] keeps of a script.
pub(crate) const fn bare_bytes(script: &str) -> usize {
    keep(script.as_bytes(), &mut [])
}

/// Returns a script without indentation, empty lines, and lines that only comment. The Worker
/// carries and sends it like this. `N` is [`bare_bytes`] of the script.
pub(crate) const fn bare<const N: usize>(script: &str) -> [u8; N] {
    let mut kept = [0; N];
    keep(script.as_bytes(), &mut kept);
    kept
}

/// Returns the bytes as text; empty if they are not UTF-8.
pub(crate) const fn text(script: &[u8]) -> &str {
    match str::from_utf8(script) {
        Ok(text) => text,
        Err(_) => "",
    }
}

/// Writes what is kept to `kept`, as far as it has room. Returns how many bytes are kept.
const fn keep(script: &[u8], kept: &mut [u8]) -> usize {
    let (mut rest, mut count) = (script, 0);
    let (mut begins_line, mut is_comment) = (true, false);
    while let [byte, tail @ ..] = rest {
        if begins_line {
            begins_line = matches!(byte, b' ' | b'\n');
            is_comment = matches!(rest, [b'-', b'-', ..]);
        }
        if !begins_line && !is_comment {
            if let Some((_, [place, ..])) = kept.split_at_mut_checked(count) {
                *place = *byte;
            }
            count += 1;
        }
        if *byte == b'\n' {
            (begins_line, is_comment) = (true, false);
        }
        rest = tail;
    }
    count
}

/// Returns how many of the documented tokens of the redis gateway may run a script.
#[cfg(test)]
pub(crate) fn documented_tokens(script: &str) -> usize {
    use sha1::Digest as _;
    let sha1 = sha1::Sha1::digest(script);
    let sha1: String = sha1.iter().map(|byte| format!("{byte:02x}")).collect();
    include_str!("../../../../docs/redis-gateway-tokens.toml").matches(&sha1).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn bare_script_keeps_its_statements_alone() {
        const SCRIPT: &str = "-- Why.\n\nif a - -b then\n  -- Here.\n  return '--' -- c\nend";
        const BARE: [u8; bare_bytes(SCRIPT)] = bare(SCRIPT);
        assert_eq!(text(&BARE), "if a - -b then\nreturn '--' -- c\nend");
    }
}
