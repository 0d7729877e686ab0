//! The paths whose requests are compared: one of each kind that the routes of both policies tell
//! apart.

use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// A path that is compared, by all methods.
pub(super) struct Path {
    pub(super) path: String,
    pub(super) kind: Kind,
}

/// What a path is an example of. A request of a later kind says more than one of an earlier kind
/// only if it goes elsewhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// The paths of one route.
    Own,
    /// The paths that two routes match, and neither of them alone stands for.
    Shared,
    /// The paths of a route and a suffix, `/x.json`.
    Suffixed,
}

/// Returns the paths that are compared, by their kinds in order. Returns `None` if over 100,000
/// pairs of routes overlap.
pub(super) fn paths(policies: [&Map<String, Value>; 2]) -> Option<Vec<Path>> {
    let routes = policies.into_iter().filter_map(|sections| sections.get("routes")?.as_array());
    let texts = routes.flatten().filter_map(|route| route.get("path")?.as_str());
    let patterns: Vec<Pattern> =
        texts.map(Pattern::parse).collect::<BTreeSet<_>>().into_iter().collect();
    let examples = Examples::of(&patterns);
    let (mut own, mut shared, mut suffixed) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let (mut rest, mut overlaps) = (patterns.as_slice(), 0);
    while let Some((pattern, others)) = rest.split_first() {
        own.extend(examples.paths(pattern));
        suffixed.extend(examples.suffixed(pattern, pattern.segments.len()));
        for other in others {
            // Which of two routes is first decides on these paths, and no third route takes such a
            // path unless it takes all of them.
            if let Some(both) = pattern.overlap(other) {
                overlaps += 1;
                if overlaps > OVERLAPS_MAX {
                    return None;
                }
                shared.extend(examples.paths(&both));
                for pattern in [pattern, other] {
                    suffixed.extend(examples.suffixed(&both, pattern.segments.len()));
                }
            }
        }
        rest = others;
    }
    let kinds = [(own, Kind::Own), (shared, Kind::Shared), (suffixed, Kind::Suffixed)];
    let of = |(paths, kind): (BTreeSet<String>, Kind)| {
        paths.into_iter().map(move |path| Path { path, kind })
    };
    Some(kinds.into_iter().flat_map(of).collect())
}

/// A route's path, by its segments.
#[derive(Eq, Ord, PartialEq, PartialOrd)]
struct Pattern {
    /// `None` for any segment.
    segments: Vec<Option<String>>,
    /// Whether paths below it match, too.
    is_subtree: bool,
}

impl Pattern {
    fn parse(text: &str) -> Self {
        let path = text.strip_suffix("/*");
        let segments = path.unwrap_or(text).split('/').filter(|segment| !segment.is_empty());
        let literal = |segment: &str| (!segment.starts_with('{')).then(|| segment.to_owned());
        Self { segments: segments.map(literal).collect(), is_subtree: path.is_some() }
    }

    /// Returns what both patterns match. Returns `None` if that is nothing, or all that one of them
    /// matches.
    fn overlap(&self, other: &Self) -> Option<Self> {
        let (short, long) = match self.segments.len() <= other.segments.len() {
            true => (self, other),
            false => (other, self),
        };
        let (fewer, more) = (&short.segments, &long.segments);
        let fits = |(one, other): (&Option<String>, &Option<String>)| match (one, other) {
            (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
            (None, _) | (_, None) => true,
        };
        let reaches = fewer.len() == more.len() || short.is_subtree;
        if !reaches || !fewer.iter().zip(more).all(fits) {
            return None;
        }
        let literals = fewer.iter().zip(more).map(|(one, other)| one.as_ref().or(other.as_ref()));
        let tail = more.iter().skip(fewer.len()).map(Option::as_ref);
        let both = Self {
            segments: literals.chain(tail).map(Option::<&String>::cloned).collect(),
            is_subtree: short.is_subtree && long.is_subtree,
        };
        (both != *self && both != *other).then_some(both)
    }
}

/// Makes examples of paths that no pattern matches by chance.
struct Examples<'p> {
    /// A segment that no pattern names.
    segment: String,
    /// A suffix that no segment of a pattern ends with.
    suffix: String,
    /// The patterns that match such a segment at their end, and nothing below it.
    ending: Vec<&'p Pattern>,
}

impl<'p> Examples<'p> {
    fn of(patterns: &'p [Pattern]) -> Self {
        let literals: Vec<String> = patterns
            .iter()
            .flat_map(|pattern| pattern.segments.iter().flatten())
            .map(|literal| literal.to_ascii_lowercase())
            .collect();
        let unlike = |text: &str, is_like: fn(&str, &str) -> bool| {
            let mut text = text.to_owned();
            while literals.iter().any(|literal| is_like(literal, &text)) {
                text.push('x');
            }
            text
        };
        let is_ending =
            |pattern: &&Pattern| !pattern.is_subtree && pattern.segments.last() == Some(&None);
        Self {
            segment: unlike("x", |literal, text| literal == text),
            suffix: unlike(".json", |literal, text| literal.ends_with(text)),
            ending: patterns.iter().filter(is_ending).collect(),
        }
    }

    /// Returns an example of the pattern's own path. For a subtree, also one below it, and one that
    /// is so deep that no pattern for a single depth takes it.
    fn paths(&self, pattern: &Pattern) -> BTreeSet<String> {
        let depth = pattern.segments.len();
        let mut depths = vec![depth];
        if pattern.is_subtree {
            let is_taken =
                |depth: &usize| self.ending.iter().any(|own| takes(own, pattern, *depth));
            depths.push(depth + 1);
            depths.extend((depth + 1..).find(|depth| !is_taken(depth)));
        }
        depths.into_iter().map(|depth| self.path(pattern, depth, None)).collect()
    }

    /// Returns an example of the pattern's own path with a suffix after so many segments. Returns
    /// `None` for the root.
    fn suffixed(&self, pattern: &Pattern, after: usize) -> Option<String> {
        (after > 0).then(|| self.path(pattern, pattern.segments.len(), Some(after)))
    }

    /// Returns a path of so many segments, which are those of the pattern first.
    fn path(&self, pattern: &Pattern, depth: usize, suffix_after: Option<usize>) -> String {
        let mut path = String::new();
        for place in 0..depth {
            let literal = pattern.segments.get(place).and_then(Option::as_deref);
            path.push('/');
            path.push_str(literal.unwrap_or(&self.segment));
            if suffix_after == Some(place + 1) {
                path.push_str(&self.suffix);
            }
        }
        if path.is_empty() { "/".to_owned() } else { path }
    }
}

/// Returns whether a pattern without a subtree takes the example of another one at this depth.
fn takes(own: &Pattern, other: &Pattern, depth: usize) -> bool {
    let fits = |(place, segment): (usize, &Option<String>)| match segment {
        None => true,
        Some(literal) => other.segments.get(place).and_then(Option::as_ref) == Some(literal),
    };
    own.segments.len() == depth && own.segments.iter().enumerate().all(fits)
}

/// A bound on the work, since a policy has none on its routes and each may overlap each other one.
/// 632 routes that overlap in 99,856 pairs take about 2 s.
const OVERLAPS_MAX: u32 = 100_000;
