//! A public key as a PEM text (RFC 7468 section 13): a SubjectPublicKeyInfo (RFC 5280 section 4.1)
//! of RSA, of ECDSA on P-256, P-384 or P-521, or of Ed25519.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

/// Returns the key of a PEM text as a JWK (RFC 7517). Returns `None` if the text is not a public
/// key, or of another type.
pub(crate) fn jwk_of_pem(text: &str) -> Option<Map<String, Value>> {
    let body = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    let body: String = body.split_ascii_whitespace().collect();
    jwk_of_der(&STANDARD.decode(body).ok()?)
}

/// Reads the SubjectPublicKeyInfo. What precedes the key of a curve is always the same.
fn jwk_of_der(der: &[u8]) -> Option<Map<String, Value>> {
    if let Some(x) = der.strip_prefix(ED25519).filter(|x| x.len() == 32) {
        return Some(jwk("OKP", Some("Ed25519"), &[("x", x)]));
    }
    for (prefix, curve, bytes) in CURVES {
        if let Some(point) = der.strip_prefix(prefix).filter(|point| point.len() == bytes * 2) {
            let (x, y) = point.split_at_checked(bytes)?;
            return Some(jwk("EC", Some(curve), &[("x", x), ("y", y)]));
        }
    }
    let bits = last_element(last_element(der, SEQUENCE)?.strip_prefix(RSA)?, BIT_STRING)?;
    // The first byte is the number of unused bits at the end.
    let key = last_element(bits.strip_prefix(&[0])?, SEQUENCE)?;
    let (n, e) = element(key, INTEGER)?;
    let (n, e) = (unsigned(n)?, unsigned(last_element(e, INTEGER)?)?);
    Some(jwk("RSA", None, &[("n", n), ("e", e)]))
}

/// Returns the content of an element that nothing follows.
fn last_element(der: &[u8], tag: u8) -> Option<&[u8]> {
    element(der, tag).filter(|(_, rest)| rest.is_empty()).map(|(content, _)| content)
}

/// Returns the content of the element of DER at the start (X.690 section 8.1), and what follows it.
/// Rejects another tag, and a length that is not in its shortest form (section 10.1).
fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.strip_prefix(&[tag])?.split_first()?;
    let (length, rest) = match *first {
        short @ ..=0x7f => (usize::from(short), rest),
        0x81 => {
            let (length, rest) = rest.split_first()?;
            (usize::from(*length), rest)
        }
        0x82 => {
            let (length, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*length)), rest)
        }
        _ => return None,
    };
    let is_shortest = match length {
        ..=0x7f => *first < 0x80,
        0x80..=0xff => *first == 0x81,
        _ => true,
    };
    rest.split_at_checked(length).filter(|_| is_shortest)
}

/// Returns a positive number of DER (X.690 section 8.3) without the zero before its highest bit.
fn unsigned(number: &[u8]) -> Option<&[u8]> {
    match number {
        [0, second, ..] if *second >= 0x80 => number.get(1..),
        [1..=0x7f, ..] => Some(number),
        _ => None,
    }
}

fn jwk(kty: &str, crv: Option<&str>, members: &[(&str, &[u8])]) -> Map<String, Value> {
    let mut jwk = Map::new();
    jwk.insert("kty".to_owned(), kty.into());
    if let Some(crv) = crv {
        jwk.insert("crv".to_owned(), crv.into());
    }
    for (name, bytes) in members {
        jwk.insert((*name).to_owned(), URL_SAFE_NO_PAD.encode(bytes).into());
    }
    jwk
}

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;

/// The algorithm `rsaEncryption` without parameters (RFC 8017 appendix A.1).
const RSA: &[u8] = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00";
/// All that precedes a key of Ed25519 (RFC 8410 section 4).
const ED25519: &[u8] = b"\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00";
/// All that precedes the coordinates of a point, uncompressed (RFC 5480 section 2), with the curve
/// and the length of a coordinate.
const CURVES: [(&[u8], &str, usize); 3] = [
    (
        b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\
          \x07\x03\x42\x00\x04",
        "P-256",
        32,
    ),
    (
        b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\
          \x00\x04",
        "P-384",
        48,
    ),
    (
        b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\
          \x81\x86\x00\x04",
        "P-521",
        66,
    ),
];

#[cfg(test)]
mod tests;
