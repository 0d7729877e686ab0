//! The comments of a source file, found without parsing the language.

use super::{Block, Prose};

/// How a language writes comments and strings.
pub struct Syntax {
    /// What begins a comment that ends with its line.
    line: &'static str,
    /// What begins and ends a comment of several lines.
    block: Option<(&'static str, &'static str)>,
    quotes: &'static [&'static str],
    /// The quotes whose strings may contain line breaks.
    long_quotes: &'static [&'static str],
    /// Whether strings such as `r#"..."#` exist.
    raw: bool,
}

pub const RUST: Syntax = Syntax {
    line: "//",
    block: Some(("/*", "*/")),
    quotes: &["\""],
    long_quotes: &["\""],
    raw: true,
};
pub const JAVASCRIPT: Syntax = Syntax {
    line: "//",
    block: Some(("/*", "*/")),
    quotes: &["\"", "'", "`"],
    long_quotes: &["`"],
    raw: false,
};
pub const TOML: Syntax = Syntax {
    line: "#",
    block: None,
    quotes: &["\"\"\"", "'''", "\"", "'"],
    long_quotes: &["\"\"\"", "'''"],
    raw: false,
};
pub const LUA: Syntax =
    Syntax { line: "--", block: None, quotes: &["\"", "'"], long_quotes: &[], raw: false };

/// Where a line begins: in code, or within something that an earlier line began.
enum State {
    Code,
    Comment,
    /// A string with what ends it, and whether a backslash escapes.
    String(String, bool),
}

/// Reads the comments of a file. A comment of several lines is one block.
pub fn read(text: &str, syntax: &Syntax) -> Prose {
    let mut prose = Prose::default();
    let mut state = State::Code;
    let mut fenced = false;
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let (comment, next) = split(line, state, syntax);
        state = next;
        let Some((at, comment)) = comment else {
            fenced = false;
            continue;
        };
        let body = comment.trim_start_matches(['/', '!', '*', '#', '-']).trim();
        let body = body.trim_end_matches("*/").trim_end();
        let marker = body.starts_with("```");
        let is_text = !fenced && !marker && !body.is_empty();
        fenced ^= marker;
        // A single word, such as a link, can't be broken.
        if is_text && body.contains(' ') {
            prose.widths.push((number, line.chars().count()));
        }
        let whole_line = line.get(..at).is_some_and(|code| code.trim().is_empty());
        let follows = |block: &Block| {
            whole_line && block.lines.last().is_some_and(|(last, _)| last + 1 == number)
        };
        match prose.blocks.last_mut().filter(|block| follows(block)) {
            Some(block) if is_text => block.lines.push((number, body.to_owned())),
            _ if is_text => prose.blocks.push(Block { lines: vec![(number, body.to_owned())] }),
            _ => {}
        }
    }
    prose
}

/// Returns the comment of a line, with its place, and the state in which the next line begins.
fn split<'a>(line: &'a str, state: State, syntax: &Syntax) -> (Option<(usize, &'a str)>, State) {
    let mut state = state;
    let mut found: Option<usize> = matches!(state, State::Comment).then_some(0);
    let mut at = 0;
    while let Some(rest) = line.get(at..).filter(|rest| !rest.is_empty()) {
        let width = rest.chars().next().map_or(1, char::len_utf8);
        match &state {
            State::Comment => match syntax.block {
                Some((_, end)) if rest.starts_with(end) => {
                    state = State::Code;
                    at += end.len();
                }
                _ => at += width,
            },
            State::String(end, escapes) => {
                if rest.starts_with(end.as_str()) {
                    at += end.len();
                    state = State::Code;
                } else if *escapes && rest.starts_with('\\') {
                    at += width + rest.chars().nth(1).map_or(0, char::len_utf8);
                } else {
                    at += width;
                }
            }
            State::Code => {
                let before = line.get(..at).and_then(|text| text.chars().next_back());
                let spaced = before.is_none_or(|c| c.is_whitespace() || ",;{}()[]".contains(c));
                if rest.starts_with(syntax.line) && spaced {
                    return (Some((at, rest)), State::Code);
                }
                if let Some((begin, _)) = syntax.block
                    && rest.starts_with(begin)
                    && spaced
                {
                    found = found.or(Some(at));
                    state = State::Comment;
                    at += begin.len();
                } else if let Some((length, end, escapes)) = string(rest, before, syntax) {
                    state = State::String(end, escapes);
                    at += length;
                } else if syntax.raw && rest.starts_with('\'') {
                    at += character(rest);
                } else {
                    at += width;
                }
            }
        }
    }
    let ends = |end: &String| !syntax.raw && !syntax.long_quotes.contains(&end.as_str());
    if matches!(&state, State::String(end, _) if ends(end)) {
        state = State::Code;
    }
    (found.and_then(|at| Some((at, line.get(at..)?))), state)
}

/// Returns the length of a string's beginning, its end, and whether a backslash escapes in it.
fn string(rest: &str, before: Option<char>, syntax: &Syntax) -> Option<(usize, String, bool)> {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if syntax.raw && !in_word {
        let prefix = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'));
        if let Some(tail) = prefix {
            let hashes = tail.len() - tail.trim_start_matches('#').len();
            if tail.get(hashes..).is_some_and(|tail| tail.starts_with('"')) {
                let end = format!("\"{}", "#".repeat(hashes));
                return Some((rest.len() - tail.len() + hashes + 1, end, false));
            }
        }
    }
    let quote = syntax.quotes.iter().find(|quote| rest.starts_with(**quote))?;
    Some((quote.len(), (*quote).to_owned(), *quote != "'''"))
}

/// Returns the length of a character literal of Rust; 1 if the quote begins a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        // An escape is at least two characters long.
        (Some((_, '\\')), Some((second, c))) => {
            let from = second + c.len_utf8();
            let tail = rest.get(from..).unwrap_or_default();
            tail.find('\'').map_or(1, |end| from + end + 1)
        }
        (Some(_), Some((end, '\''))) => end + 1,
        _ => 1,
    }
}
