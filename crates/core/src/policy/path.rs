//! Path patterns, and the one reading of a path that they are compared with.

use crate::refusal::Denial;

/// The paths of a route, by their segments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether paths below it match, too.
    below: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// `{name}`: any one segment.
    Any,
    Literal(String),
}

impl Pattern {
    /// Parses `/x`, which matches with and without a final slash; `/x/*` for `/x` and everything below
    /// it; or `/x/{name}/y` for any one segment in that place. Returns `None` for a `*` elsewhere, or
    /// for a path that no request can have.
    pub fn parse(text: &str) -> Option<Self> {
        let (path, below) = match text.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (text, false),
        };
        if path.contains(['*', '?', '#', '%']) || (below && path.ends_with('/')) {
            return None;
        }
        if !matches!((path, below), ("", true)) {
            NormalizedPath::of(path).ok()?;
        }
        let mut segments = Vec::new();
        for segment in path.split('/').filter(|segment| !segment.is_empty()) {
            let name = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
            segments.push(match name {
                Some(name) if !name.is_empty() && !name.contains(['{', '}']) => Segment::Any,
                None if !segment.contains(['{', '}']) => Segment::Literal(segment.to_owned()),
                Some(_) | None => return None,
            });
        }
        Some(Self { segments, below })
    }

    /// Returns whether the path matches, exactly or case-insensitively.
    pub(crate) fn matches(&self, path: &NormalizedPath, case: Case) -> bool {
        let path = match case {
            Case::Exact => &path.exact,
            Case::Folded => &path.folded,
        };
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for segment in &self.segments {
            let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = match (segment, case) {
                (Segment::Any, _) => !first.is_empty(),
                (Segment::Literal(literal), Case::Exact) => first == literal,
                (Segment::Literal(literal), Case::Folded) => first.eq_ignore_ascii_case(literal),
            };
            if !fits {
                return false;
            }
            rest = after;
        }
        self.below || rest.is_empty()
    }

    /// Returns whether every path of `other` matches this pattern, case-insensitively.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let deeper = other.segments.len() > self.segments.len() || other.below;
        self.segments.len() <= other.segments.len()
            && (self.below || !deeper)
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Any, _) => true,
                (Segment::Literal(own), Segment::Literal(other)) => own.eq_ignore_ascii_case(other),
                (Segment::Literal(_), Segment::Any) => false,
            })
    }
}

/// How a path is compared.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    Exact,
    Folded,
}

/// A path, percent-decoded once (RFC 3986 section 6.2.2.2).
pub(crate) struct NormalizedPath {
    pub(crate) exact: String,
    /// The path as servers read it that ignore case and width.
    pub(crate) folded: String,
}

impl NormalizedPath {
    /// Normalizes a path. Rejects one with more than one reading: dot segments, empty segments, path
    /// parameters, and encoded characters that would change its segments.
    pub(crate) fn of(path: &str) -> Result<Self, Denial> {
        let plain = path.starts_with('/')
            && path.len() <= PATH_BYTES_MAX
            && !path.contains("//")
            && path.bytes().all(|b| b.is_ascii_graphic() && b != b'\\' && b != b';');
        if !plain || path.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(Denial::PathAmbiguous);
        }
        let mut octets = Vec::with_capacity(path.len());
        let mut parts = path.split('%');
        octets.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
        for part in parts {
            let hex = part.get(..2).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
            match hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                None | Some(0..=0x1f | 0x7f | b'.' | b'/' | b';' | b'\\' | b'%') => {
                    return Err(Denial::PathAmbiguous);
                }
                Some(octet) => octets.push(octet),
            }
            octets.extend_from_slice(part.get(2..).unwrap_or_default().as_bytes());
        }
        // Servers read invalid UTF-8 differently, overlong forms of dot and slash above all.
        let exact = String::from_utf8(octets).map_err(|_| Denial::PathAmbiguous)?;
        if exact.contains(LOOKALIKES) {
            return Err(Denial::PathAmbiguous);
        }
        let folded = exact.chars().map(fold).collect();
        Ok(Self { exact, folded })
    }
}

/// Returns the lower-case ASCII letter that some servers read for a character.
fn fold(character: char) -> char {
    let plain = match character {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character)
        }
        other => other,
    };
    plain.to_ascii_lowercase()
}

/// Characters that Unicode's compatibility forms (NFKC) turn into a dot, slash, backslash, semicolon
/// or percent sign.
const LOOKALIKES: [char; 20] = [
    '\u{37e}', '\u{2024}', '\u{2025}', '\u{2026}', '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}',
    '\u{fe14}', '\u{fe19}', '\u{fe30}', '\u{fe52}', '\u{fe54}', '\u{fe68}', '\u{fe6a}', '\u{ff05}',
    '\u{ff0e}', '\u{ff0f}', '\u{ff1b}', '\u{ff3c}',
];

/// Longer than any path that an API uses.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
