use super::{Phrase, in_file, judge, pending, phrases, read};
use std::path::{Path, PathBuf};

const LIST: &str = "\
# A comment.
whoever = the caller
the one that = the noun
is no = \"is not a\" | there is no; is no longer
";

fn found(file: &str, text: &str) -> Vec<String> {
    let prose = read(Path::new(file), text).unwrap();
    in_file(Path::new(file), &prose, &phrases(LIST))
}

#[test]
fn banned_phrase_is_found_across_lines_and_in_any_case() {
    assert_eq!(
        found("a.rs", "/// It is the\n/// one that fails.\nfn a() {}\n"),
        ["a.rs:1: \"the one that\": write the noun"]
    );
    assert_eq!(found("a.md", "Whoever, in short,\nreads.\n").len(), 1);
    assert_eq!(found("a.rs", "let a = 1; // whoever\n").len(), 1);
    assert_eq!(found("a.rs", "//! one\n\n//! whoever\n").len(), 1);
    assert_eq!(found("a.js", "/**\n * Whoever.\n */\n").len(), 1);
    assert_eq!(found("a.toml", "a = 1 # whoever\n").len(), 1);
    assert_eq!(found("a.lua", "local a = 1 -- whoever\n").len(), 1);
    assert_eq!(found("a.md", "| a | whoever |\n").len(), 1);
}

#[test]
fn code_is_no_prose() {
    for (file, text) in [
        ("a.rs", "let whoever = \"// whoever\";\n"),
        ("a.rs", "let a = r#\"\n// \" whoever\n\"#;\n"),
        ("a.rs", "let a = ('\"', '\\'', 'a'); fn f<'a>() { \"a // whoever\" }\n"),
        ("a.rs", "/// `whoever` and\n/// ```\n/// whoever\n/// ```\n"),
        ("a.js", "const a = 'https://whoever // whoever';\n"),
        ("a.js", "const a = `\n// whoever\n`;\n"),
        ("a.toml", "a = \"\"\"\n# whoever\n\"\"\"\n"),
        ("a.md", "```\nwhoever\n```\n\n    whoever\n\n`whoever`\n"),
    ] {
        assert_eq!(found(file, text), Vec::<String>::new(), "{text}");
    }
    // A comment behind code does not continue the comment above.
    assert_eq!(found("a.rs", "// It is the one\nlet a = 1; // that fails\n").len(), 0);
    // After a string the comment counts again.
    assert_eq!(found("a.rs", "let a = \"\\\"\"; // whoever\n").len(), 1);
    assert_eq!(found("a.rs", "let a = r#\"\n\"\n\"#; // whoever\n").len(), 1);
    assert_eq!(found("a.js", "const a = `\n`; // whoever\n").len(), 1);
}

#[test]
fn longer_phrase_can_be_allowed() {
    assert_eq!(found("a.md", "There is no key. It is no longer valid.\n").len(), 0);
    assert_eq!(found("a.md", "There it is no key.\n").len(), 1);
}

#[test]
fn wide_line_is_a_violation_unless_it_cannot_be_broken() {
    let words = "word ".repeat(20);
    let link = format!("[{}](https://example.com)", "a".repeat(90));
    assert_eq!(found("a.md", &format!("{words}a\n")).len(), 1);
    assert_eq!(found("a.rs", &format!("// {words}\n")).len(), 1);
    assert_eq!(found("a.rs", &format!("    let a = 1; // {words}\n")).len(), 1);
    assert_eq!(found("a.rs", &format!("{}// word word\n", " ".repeat(91))).len(), 1);
    for (file, text) in [
        ("a.md", format!("{}\n", words.trim_end())),
        ("a.md", format!("| {words} | {words} |\n")),
        ("a.md", format!("```\n{words}{words}\n```\n")),
        ("a.md", format!("{link}\n- {link}\n[a]: {}\n", "a".repeat(120))),
        ("a.rs", format!("let a = \"{words}{words}\";\n")),
        ("a.rs", format!("// https://{}\n", "a".repeat(120))),
        ("a.rs", format!("//! ```\n//! {words}{words}\n//! ```\n")),
    ] {
        assert_eq!(found(file, &text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn sentence_of_36_words_is_a_violation_in_a_page() {
    let words = |count: usize| "`some code` ".repeat(count);
    assert_eq!(found("a.md", &format!("{}.\n", words(35).replace("` `", "`\n`"))).len(), 0);
    let long = words(36).replace("` `", "`\n`");
    assert_eq!(
        found("a.md", &format!("A start.\n{long}\n")),
        ["a.md:2: a sentence of 36 words; at most 35"]
    );
    assert_eq!(found("a.md", &format!("- {long}\n")).len(), 1);
    // A full stop, an item and an empty line end a sentence. An abbreviation does not.
    let half = "word ".repeat(20);
    for end in [". W", "! W", "? W", "\n- w", "\n\nw", ".) W", ".** W"] {
        assert_eq!(
            found("a.md", &format!("{}{end} {half}\n", half.trim_end()).replace("d w", "d\nw"))
                .len(),
            0
        );
    }
    for middle in [", e.g. W", ". w", "; w"] {
        let text = format!("{}{middle} {half}\n", half.trim_end()).replace("d w", "d\nw");
        assert_eq!(found("a.md", &text).len(), 1, "{middle}");
    }
    // Comments have their width and their phrases checked alone.
    assert_eq!(found("a.rs", &format!("// {}\n", half.replace(' ', "\n// ").repeat(2))).len(), 0);
}

#[test]
fn history_of_the_changelog_is_not_checked() {
    let text = "# Changelog\n\n## Unreleased\n\nWhoever.\n\n## 0.1.0\n\nWhoever.\n";
    assert_eq!(found("CHANGELOG.md", text).len(), 1);
    assert_eq!(found("docs/CHANGELOG.md", text).len(), 2);
}

#[test]
fn pending_file_must_exist_and_have_a_violation() {
    let files = [
        (PathBuf::from("a.md"), "Whoever.\n".to_owned()),
        (PathBuf::from("b.md"), "Nothing.\n".to_owned()),
        (PathBuf::from("c.bin"), "whoever\n".to_owned()),
    ];
    let check = |list| judge(&files, &phrases(LIST), &pending(list));
    assert_eq!(check(""), ["a.md:1: \"whoever\": write the caller"]);
    assert_eq!(check("# A page.\na.md\n"), Vec::<String>::new());
    assert_eq!(
        check("a.md\nb.md\nd.md"),
        [
            "b.md: no violation; drop it from pending.txt",
            "d.md: no such file; drop it from pending.txt"
        ]
    );
}

#[test]
fn list_of_phrases_is_well_formed() {
    let list = phrases(super::PHRASES);
    let complete = |phrase: &Phrase<'_>| !phrase.words.is_empty() && !phrase.replacement.is_empty();
    assert!(list.len() > 20 && list.iter().all(complete));
    assert_eq!(list.len(), super::entries(super::PHRASES).count());
}
