//! Forms (`application/x-www-form-urlencoded`).

/// Returns the value of a form's parameter; `None` if it is missing, empty, duplicate or malformed.
pub(crate) fn parameter(body: &str, wanted: &str) -> Option<String> {
    let mut found = None;
    for pair in body.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if form_decoded(name).as_deref() == Some(wanted) {
            if found.is_some() {
                return None;
            }
            found = Some(form_decoded(value)?);
        }
    }
    found.filter(|value| !value.is_empty())
}

fn form_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}
