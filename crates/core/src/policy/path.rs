//! Path patterns, and the normalized form of a path that they are compared with.

use crate::refusal::Denial;

/// The paths of a route, by their segments.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pattern {
    segments: Vec<Segment>,
    /// Whether paths below it match, too.
    below: bool,
    /// Whether `/x.json` and `/x.` also match `/x`, as frameworks with format suffixes read them.
    with_suffixes: bool,
    /// A byte for each of the first eight segments: its highest bit and a hash of a literal, or 0.
    digest: u64,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Segment {
    /// `{name}`: any one segment.
    Any,
    Literal(String),
}

impl Pattern {
    /// Parses `/x`, which matches with and without a final slash; `/x/*` for `/x` and everything
    /// below it; or `/x/{name}/y` for any one segment in that place. Returns `None` for a `*`
    /// elsewhere, or for a path that no request can have.
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
        let digest = digest(&segments);
        Some(Self { segments, below, with_suffixes: false, digest })
    }

    /// Makes the pattern match its paths with format suffixes and trailing dots, too.
    pub(crate) fn add_suffixes(&mut self) {
        self.with_suffixes = true;
    }

    /// Returns whether its paths with suffixes match, too.
    pub(crate) fn has_suffixes(&self) -> bool {
        self.with_suffixes
    }

    /// Returns its segments, with `None` for any.
    pub(crate) fn literals(&self) -> impl Iterator<Item = Option<&str>> {
        self.segments.iter().map(|segment| match segment {
            Segment::Any => None,
            Segment::Literal(literal) => Some(literal.as_str()),
        })
    }

    /// Returns whether paths below it match, too.
    pub(crate) fn is_subtree(&self) -> bool {
        self.below
    }

    /// Returns whether the path matches, exactly or as other servers could read it.
    pub(crate) fn matches(&self, path: &NormalizedPath, case: Case) -> bool {
        let path = match case {
            Case::Exact => &path.exact,
            Case::Folded => &path.folded,
        };
        let mut rest = path.strip_prefix('/').unwrap_or(path);
        for (place, segment) in self.segments.iter().enumerate() {
            let (first, after) = rest.split_once('/').unwrap_or((rest, ""));
            let fits = match (segment, case) {
                (Segment::Any, _) => !first.is_empty(),
                (Segment::Literal(literal), Case::Exact) => first == literal,
                (Segment::Literal(literal), Case::Folded) => reads_as(first, literal),
            };
            let fits = fits || (self.with_suffixes && self.is_suffixed(place, first, case));
            if !fits {
                return false;
            }
            rest = after;
        }
        self.below || rest.is_empty()
    }

    /// Returns whether a path's segment is this pattern's segment at `place` plus a suffix.
    fn is_suffixed(&self, place: usize, segment: &str, case: Case) -> bool {
        let Some(Segment::Literal(literal)) = self.segments.get(place) else {
            return false;
        };
        let is_last = place + 1 == self.segments.len();
        // A literal segment may contain dots itself, so each dot is tried.
        segment.match_indices('.').any(|(dot, _)| {
            let (stem, suffix) = segment.split_at(dot);
            let fits = match case {
                Case::Exact => stem == literal,
                Case::Folded => reads_as(stem, literal),
            };
            fits && (is_last || suffix.bytes().all(|b| matches!(b, b'.' | b' ')))
        })
    }

    /// Returns whether this pattern matches a path of `other` with a suffix that `other` itself
    /// does not match. A literal that spells out the suffix does not count: its route is meant for
    /// that path.
    pub(crate) fn takes_suffixes_of(&self, other: &Self) -> bool {
        let unnamed = |(place, segment): (usize, &Segment)| {
            matches!(segment, Segment::Literal(_))
                && !matches!(self.segments.get(place), Some(Segment::Literal(_)))
        };
        self.overlaps(other) && other.segments.iter().enumerate().any(unnamed)
    }

    /// Returns whether this pattern names a path of `other` with a suffix, as `/v1.1` does for
    /// `/v1`.
    pub(crate) fn spells_a_suffix_of(&self, other: &Self) -> bool {
        let spells = |own: &Segment, theirs: &Segment| match (own, theirs) {
            (Segment::Literal(own), Segment::Literal(theirs)) => {
                let rest = own.get(theirs.len()..).unwrap_or_default();
                let stem = own.get(..theirs.len()).unwrap_or_default();
                rest.starts_with('.') && stem.eq_ignore_ascii_case(theirs)
            }
            (Segment::Any, _) | (_, Segment::Any) => false,
        };
        let fits = |own: &Segment, theirs: &Segment| match (own, theirs) {
            (Segment::Literal(own), Segment::Literal(theirs)) => own.eq_ignore_ascii_case(theirs),
            (Segment::Any, _) | (_, Segment::Any) => true,
        };
        let mut pairs = self.segments.iter().zip(&other.segments);
        let mut found = false;
        pairs.all(|(own, theirs)| {
            let spelt = spells(own, theirs);
            found = found || spelt;
            spelt || fits(own, theirs)
        }) && found
    }

    /// Returns `true` only if both patterns have literals at one place that differ. It is cheap,
    /// since each route of a policy is compared with each other one.
    fn has_other_literals(&self, other: &Self) -> bool {
        let both = (self.digest & other.digest & LITERALS) >> 7;
        (self.digest ^ other.digest) & (both * 0x7f) != 0
    }

    /// Returns whether some path matches both patterns, case-insensitively.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        let (own, others) = (self.segments.len(), other.segments.len());
        !self.has_other_literals(other)
            && (own == others || (self.below && own < others) || (other.below && others < own))
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Literal(own), Segment::Literal(other)) => own.eq_ignore_ascii_case(other),
                (Segment::Any, _) | (_, Segment::Any) => true,
            })
    }

    /// Returns whether every path of `other` matches this pattern, case-insensitively.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        let deeper = other.segments.len() > self.segments.len() || other.below;
        !self.has_other_literals(other)
            && self.segments.len() <= other.segments.len()
            && (self.below || !deeper)
            && self.segments.iter().zip(&other.segments).all(|pair| match pair {
                (Segment::Any, _) => true,
                (Segment::Literal(own), Segment::Literal(other)) => own.eq_ignore_ascii_case(other),
                (Segment::Literal(_), Segment::Any) => false,
            })
    }
}

/// Returns the digest of a pattern's segments.
fn digest(segments: &[Segment]) -> u64 {
    segments.iter().take(8).rev().fold(0, |digest, segment| match segment {
        Segment::Any => digest << 8,
        Segment::Literal(literal) => {
            let add = |hash: u64, letter: u8| {
                hash.wrapping_mul(31).wrapping_add(letter.to_ascii_lowercase().into())
            };
            (digest << 8) | 0x80 | (literal.bytes().fold(0, add) & 0x7f)
        }
    })
}

/// The highest bit of each byte.
const LITERALS: u64 = 0x8080_8080_8080_8080;

/// How a path is compared.
#[derive(Clone, Copy)]
pub(crate) enum Case {
    Exact,
    /// As servers compare that ignore case and normalize by Unicode's NFKC.
    Folded,
}

/// A path, percent-decoded once (RFC 3986 section 6.2.2.2).
pub(crate) struct NormalizedPath {
    pub(crate) exact: String,
    /// The path for [`Case::Folded`], with [`ANY`] in place of each character that may become
    /// several.
    pub(crate) folded: String,
}

impl NormalizedPath {
    /// Normalizes a path. Rejects an ambiguous one: dot segments, empty segments, path parameters,
    /// and encoded characters that would change its segments.
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
        // Servers read invalid UTF-8 differently, in particular overlong forms of dot and slash.
        let exact = String::from_utf8(octets).map_err(|_| Denial::PathAmbiguous)?;
        if exact.contains(LOOKALIKES) || exact.split('/').any(has_blank_reading) {
            return Err(Denial::PathAmbiguous);
        }
        let folded = exact.chars().map(fold).collect();
        Ok(Self { exact, folded })
    }
}

/// Returns whether a segment becomes empty or a dot segment if the characters that servers may drop
/// are removed. Returns `false` for a segment without such characters.
fn has_blank_reading(segment: &str) -> bool {
    let is_dropped = |character: char| character.is_whitespace() || is_ignorable(character);
    segment.contains(is_dropped)
        && segment.chars().filter(|character| !is_dropped(*character)).all(|kept| kept == '.')
}

/// Returns whether a server could read a folded segment as `literal`. [`ANY`] matches any text, and
/// servers may drop spaces at either end.
fn reads_as(folded: &str, literal: &str) -> bool {
    let (folded, literal) = (folded.as_bytes(), literal.as_bytes());
    let (mut place, mut at) = (0, 0);
    // After the last ANY: the place behind it, and where the text that follows it begins in
    // `literal`.
    let mut retry = None;
    while let Some(byte) = literal.get(at) {
        match (folded.get(place), retry) {
            (Some(0), _) => {
                place += 1;
                retry = Some((place, at));
            }
            (Some(b' '), _) if at == 0 => place += 1,
            (Some(own), _) if own.eq_ignore_ascii_case(byte) => {
                place += 1;
                at += 1;
            }
            (_, Some((after, from))) => {
                place = after;
                at = from + 1;
                retry = Some((after, at));
            }
            (_, None) => return false,
        }
    }
    folded.iter().skip(place).all(|byte| matches!(byte, 0 | b' '))
}

/// Returns the lower-case ASCII letter that some servers read for a character. Returns [`ANY`] if
/// that may be several letters or none, and otherwise the character itself.
fn fold(character: char) -> char {
    let plain = match character {
        '\u{130}' | '\u{131}' => 'i',
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        '\u{ff01}'..='\u{ff5e}' => {
            char::from_u32(u32::from(character) - 0xff01 + 0x21).unwrap_or(character)
        }
        other if other.is_whitespace() => ' ',
        other if is_compatible(other) || is_ignorable(other) => ANY,
        other => other,
    };
    plain.to_ascii_lowercase()
}

/// Returns whether NFKC case folding drops a character (Default_Ignorable_Code_Point).
fn is_ignorable(character: char) -> bool {
    matches!(
        character,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}'
            | '\u{ffa0}' | '\u{fff0}'..='\u{fff8}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Returns whether NFKC case folding may turn a character beyond ASCII into ASCII. Returns `true`
/// also for some others in the same blocks: an exact table would be as large as the rest of the
/// policy.
fn is_compatible(character: char) -> bool {
    matches!(
        character,
        '\u{aa}' | '\u{b2}'..='\u{b3}' | '\u{b9}'..='\u{be}' | '\u{df}'
            | '\u{132}'..='\u{133}' | '\u{13f}'..='\u{140}' | '\u{149}' | '\u{1c4}'..='\u{1cc}'
            | '\u{1f1}'..='\u{1f3}' | '\u{2b0}'..='\u{2b8}' | '\u{2e1}'..='\u{2e3}'
            | '\u{1d2c}'..='\u{1dbf}' | '\u{1e9a}'..='\u{1e9e}'
            | '\u{1fef}' | '\u{2000}'..='\u{218f}' | '\u{2460}'..='\u{24ff}'
            | '\u{2a74}'..='\u{2a76}' | '\u{2c7c}'..='\u{2c7d}'
            | '\u{3200}'..='\u{33ff}' | '\u{a7f1}'..='\u{a7f4}' | '\u{fb00}'..='\u{fb06}'
            | '\u{fb29}' | '\u{fe10}'..='\u{fe6b}' | '\u{10780}'..='\u{107ba}'
            | '\u{1ccd6}'..='\u{1ccf9}' | '\u{1d400}'..='\u{1d7ff}'
            | '\u{1f100}'..='\u{1f190}' | '\u{1fbf0}'..='\u{1fbf9}'
    )
}

/// Represents any characters in a folded path. A request's path can't contain it.
const ANY: char = '\0';

/// Characters that Unicode's compatibility forms (NFKC) turn into a dot, slash, backslash,
/// semicolon or percent sign.
const LOOKALIKES: [char; 20] = [
    '\u{37e}', '\u{2024}', '\u{2025}', '\u{2026}', '\u{2100}', '\u{2101}', '\u{2105}', '\u{2106}',
    '\u{fe14}', '\u{fe19}', '\u{fe30}', '\u{fe52}', '\u{fe54}', '\u{fe68}', '\u{fe6a}', '\u{ff05}',
    '\u{ff0e}', '\u{ff0f}', '\u{ff1b}', '\u{ff3c}',
];

/// A length above that of the paths that APIs use.
const PATH_BYTES_MAX: usize = 4096;

#[cfg(test)]
mod tests;
