//! Prose: line width, sentence length, and phrases that make a reader start a sentence again.
//!
//! Pages and comments in `prose/pending.txt` are not checked yet. A file without a violation must
//! not be in that list.

mod comments;
mod markdown;

use std::path::{Path, PathBuf};

/// The widest line of prose, in characters: rustfmt's width for code.
const COLUMNS_MAX: usize = 100;

/// The longest sentence of a page. A longer one needs a second reading.
const SENTENCE_WORDS_MAX: usize = 35;

const PHRASES: &str = include_str!("../prose/phrases.txt");
const PENDING: &str = include_str!("../prose/pending.txt");

/// Consecutive lines that are read as one text: a comment, a paragraph, a list item or a table
/// cell.
struct Block {
    /// The number of each line, with its text.
    lines: Vec<(usize, String)>,
}

/// What the two readers find in one file.
#[derive(Default)]
struct Prose {
    blocks: Vec<Block>,
    /// The lines whose width counts: their numbers and widths.
    widths: Vec<(usize, usize)>,
    /// Whether the length of sentences counts.
    sentences: bool,
}

/// A banned phrase, with a better one.
struct Phrase<'a> {
    words: Vec<&'a str>,
    replacement: &'a str,
    /// Longer phrases that contain this one and are plain English.
    allowed: Vec<Vec<&'a str>>,
}

/// Returns every violation in pages and comments.
pub fn violations(files: &[(PathBuf, String)]) -> Vec<String> {
    judge(files, &phrases(PHRASES), &pending(PENDING))
}

fn judge(files: &[(PathBuf, String)], phrases: &[Phrase<'_>], pending: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for (file, text) in files {
        let of_file = read(file, text).map(|prose| in_file(file, &prose, phrases));
        let waits = pending.iter().any(|name| Path::new(name) == file);
        match of_file {
            Some(of_file) if waits && of_file.is_empty() => {
                found.push(format!("{}: no violation; drop it from pending.txt", file.display()));
            }
            Some(of_file) if !waits => found.extend(of_file),
            _ => {}
        }
    }
    for name in pending.iter().filter(|name| !files.iter().any(|(file, _)| Path::new(name) == file))
    {
        found.push(format!("{name}: no such file; drop it from pending.txt"));
    }
    found
}

/// Returns the prose of a file; `None` if its kind is not checked.
fn read(file: &Path, text: &str) -> Option<Prose> {
    let released = |text: &str| text.match_indices("\n## ").nth(1).map(|(at, _)| at);
    match file.extension()?.to_str()? {
        // The entries of released versions are history.
        "md" if file == Path::new("CHANGELOG.md") => {
            Some(markdown::read(text.get(..released(text).unwrap_or(text.len()))?))
        }
        "md" => Some(markdown::read(text)),
        "rs" => Some(comments::read(text, &comments::RUST)),
        "js" | "mjs" => Some(comments::read(text, &comments::JAVASCRIPT)),
        "toml" => Some(comments::read(text, &comments::TOML)),
        "lua" => Some(comments::read(text, &comments::LUA)),
        _ => None,
    }
}

fn in_file(file: &Path, prose: &Prose, phrases: &[Phrase<'_>]) -> Vec<String> {
    let mut found = Vec::new();
    for (line, width) in prose.widths.iter().filter(|(_, width)| *width > COLUMNS_MAX) {
        found.push((*line, format!("{width} columns; at most {COLUMNS_MAX}")));
    }
    for block in &prose.blocks {
        let words = block.words();
        for phrase in phrases {
            for line in phrase.places(&words) {
                let banned = phrase.words.join(" ");
                found.push((line, format!("\"{banned}\": write {}", phrase.replacement)));
            }
        }
        if prose.sentences {
            for (line, count) in sentences(&words) {
                if count > SENTENCE_WORDS_MAX {
                    let most = format!("at most {SENTENCE_WORDS_MAX}");
                    found.push((line, format!("a sentence of {count} words; {most}")));
                }
            }
        }
    }
    found.sort();
    let place = |(line, what)| format!("{}:{line}: {what}", file.display());
    found.into_iter().map(place).collect()
}

impl Block {
    /// Returns the words with their lines. A code span is the word `` ` ``, whatever it contains,
    /// and a link is its text.
    fn words(&self) -> Vec<(usize, String)> {
        let mut words = Vec::new();
        let mut in_code = false;
        for (line, text) in &self.lines {
            let mut plain = String::new();
            let mut rest = text.as_str();
            while let Some(c) = rest.chars().next() {
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
                match c {
                    '`' => {
                        in_code = !in_code;
                        if in_code {
                            plain.push('`');
                        }
                    }
                    _ if in_code => {}
                    ']' if rest.starts_with('(') => {
                        rest = rest.split_once(')').map_or("", |(_, rest)| rest);
                    }
                    '[' | '*' => {}
                    _ => plain.push(c),
                }
            }
            words.extend(plain.split_whitespace().map(|word| (*line, word.to_owned())));
        }
        words
    }
}

/// Returns the line on which each sentence begins, with the number of its words.
fn sentences(words: &[(usize, String)]) -> Vec<(usize, usize)> {
    let mut found = Vec::new();
    let mut begin = None;
    let mut count = 0;
    for (place, (line, word)) in words.iter().enumerate() {
        begin = begin.or(Some(*line));
        count += usize::from(word.contains(|c: char| c.is_alphanumeric() || c == '`'));
        let next = words.get(place + 1);
        if next.is_none_or(|(_, next)| ends_sentence(word, next)) {
            found.extend(begin.take().map(|line| (line, count)));
            count = 0;
        }
    }
    found
}

/// Whether a sentence ends with `word`, if `next` follows it.
fn ends_sentence(word: &str, next: &str) -> bool {
    let word = word.trim_end_matches(['"', '\'', ')', '_']);
    let short = ["e.g.", "i.e.", "cf.", "vs."].contains(&word.trim_start_matches('('));
    let lower = next.chars().next().is_some_and(char::is_lowercase);
    word.ends_with(['.', '!', '?']) && !short && !lower
}

impl Phrase<'_> {
    /// Returns the line of each place where the phrase occurs, unless an allowed one is there.
    fn places(&self, words: &[(usize, String)]) -> Vec<usize> {
        let bare: Vec<String> = words.iter().map(|(_, word)| bare(word)).collect();
        let is_at = |phrase: &[&str], at: usize| {
            bare.get(at..at + phrase.len()).is_some_and(|part| part == phrase)
        };
        let mut found = Vec::new();
        for (at, (line, _)) in words.iter().enumerate() {
            let is_allowed = |allowed: &Vec<&str>| {
                let first = at.saturating_sub(allowed.len());
                (first..=at).any(|from| {
                    from + allowed.len() >= at + self.words.len() && is_at(allowed, from)
                })
            };
            if is_at(&self.words, at) && !self.allowed.iter().any(is_allowed) {
                found.push(*line);
            }
        }
        found
    }
}

/// Returns a word in lower case, without the punctuation around it.
fn bare(word: &str) -> String {
    let inner = |c: char| c.is_alphanumeric() || c == '`';
    word.trim_matches(|c| !inner(c)).to_lowercase()
}

/// Reads lines of the form `phrase = replacement`, or `phrase = replacement | allowed; allowed`.
fn phrases(text: &str) -> Vec<Phrase<'_>> {
    let lines = entries(text).filter_map(|line| line.split_once('='));
    lines
        .map(|(phrase, rest)| {
            let (replacement, allowed) = rest.split_once('|').unwrap_or((rest, ""));
            let allowed = allowed.split(';').filter(|phrase| !phrase.trim().is_empty());
            Phrase {
                words: phrase.split_whitespace().collect(),
                replacement: replacement.trim(),
                allowed: allowed.map(|phrase| phrase.split_whitespace().collect()).collect(),
            }
        })
        .collect()
}

fn pending(text: &str) -> Vec<&str> {
    entries(text).collect()
}

/// Returns the lines that are neither empty nor a comment.
fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests;
