//! W3C Trace Context.

/// Returns whether `text` is a `traceparent` (W3C Trace Context section 3.2) of version 00 or
/// later.
pub(super) fn is_traceparent(text: &str) -> bool {
    let hex = |part: Option<&str>, length: usize| {
        part.is_some_and(|part| {
            part.len() == length && part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        })
    };
    let nonzero = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|b| b != b'0'));
    let mut parts = text.split('-');
    let (version, trace, parent, flags) = (parts.next(), parts.next(), parts.next(), parts.next());
    hex(version, 2)
        && version != Some("ff")
        && (hex(trace, 32) && nonzero(trace))
        && (hex(parent, 16) && nonzero(parent))
        && hex(flags, 2)
        && (version != Some("00") || parts.next().is_none())
        && text.len() <= 256
}

/// Returns the `traceparent` of a trace that begins here. Its id is the request's id, so that each
/// can be found from the other.
pub(super) fn traceparent(request_id: &str) -> String {
    let trace: String = request_id.chars().filter(char::is_ascii_hexdigit).take(32).collect();
    let parent = trace.get(16..).unwrap_or_default();
    format!("00-{trace:0>32}-{parent:0>16}-00")
}
