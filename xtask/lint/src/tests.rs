//! Tests that each check fails where it should.

use crate::imports::{cycles, read};
use crate::layers::Layers;
use crate::{documented, lengths, links, names};
use std::fs;
use std::path::{Path, PathBuf};

/// A crate in a temporary folder, which is deleted on drop.
struct Sources(PathBuf);

impl Sources {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder =
            std::env::temp_dir().join(format!("portcullis-lint-{}-{name}", std::process::id()));
        for (file, text) in files {
            let path = folder.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn ties(&self) -> Vec<(String, String)> {
        let imports = read(&self.0, &["lib.rs"]).unwrap();
        let text = |path: &Path| path.display().to_string();
        let ties = cycles(&imports).into_iter().flatten();
        ties.map(|(from, to, _)| (text(&from), text(&to))).collect()
    }
}

impl Drop for Sources {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn pair(from: &str, to: &str) -> (String, String) {
    (from.to_owned(), to.to_owned())
}

#[test]
fn import_cycle_is_found_through_every_form_of_path() {
    let both = [pair("a.rs", "b.rs"), pair("b.rs", "a.rs")];
    for (name, back) in [
        ("direct", "use crate::a::A; pub struct B;"),
        ("inline", "pub struct B; fn f() -> usize { crate::a::f() }"),
        ("super", "pub struct B; fn f() -> usize { super::a::f() }"),
        ("reexport", "use crate::A; pub struct B;"),
        ("glob", "use crate::*; pub struct B; fn f(_: A) {}  fn g() { A::new() }"),
        ("group", "use crate::{a::{self, A}}; pub struct B;"),
        ("macro", "pub struct B; fn f() { println!(\"{}\", crate::a::f()) }"),
    ] {
        let sources = Sources::new(
            name,
            &[
                ("lib.rs", "mod a; mod b; pub use a::A;"),
                ("a.rs", "use crate::b::B; pub struct A; pub fn f() -> usize { 1 }"),
                ("b.rs", back),
            ],
        );
        // A glob also ties the root file.
        let ties = sources.ties();
        assert!(both.iter().all(|tie| ties.contains(tie)), "{name}: {ties:?}");
    }
}

#[test]
fn parent_and_child_that_import_each_other_are_a_cycle() {
    let sources = Sources::new(
        "parent",
        &[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod b; pub struct A; fn f() { b::g() }"),
            ("a/b.rs", "use super::A; pub fn g() {}"),
        ],
    );
    assert_eq!(sources.ties(), [pair("a/b.rs", "a.rs"), pair("a.rs", "a/b.rs")]);
}

#[test]
fn tests_and_other_crates_make_no_cycle() {
    let sources = Sources::new(
        "none",
        &[
            ("lib.rs", "mod a; mod b;"),
            ("a.rs", "use crate::b::B; use std::fmt; pub struct A;"),
            ("b.rs", "pub struct B; #[cfg(test)] mod tests { use crate::a::A; }"),
        ],
    );
    assert_eq!(sources.ties(), []);
}

#[test]
fn upward_and_sideways_imports_are_violations() {
    let sources = Sources::new(
        "layers",
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use crate::c::C;"),
            ("b.rs", "use crate::c::C;"),
            ("c.rs", "use crate::d::D; pub struct C;"),
            ("d.rs", "pub struct D;"),
        ],
    );
    let imports = read(&sources.0, &["lib.rs"]).unwrap();
    let broken = |layers: &str| Layers::parse(layers).violations(&imports).unwrap().len();
    assert_eq!(broken("d.rs\nc.rs\na.rs | b.rs\nlib.rs"), 0);
    assert_eq!(broken("d.rs\nc.rs | b.rs\na.rs\nlib.rs"), 1, "a sibling");
    assert_eq!(broken("d.rs\nc.rs b.rs\na.rs\nlib.rs"), 0, "one group");
    assert_eq!(broken("d.rs\na.rs\nc.rs\nb.rs\nlib.rs"), 1, "upward");
    assert_eq!(broken("d.rs\nc.rs\na.rs\nlib.rs"), 1, "no layer");
}

#[test]
fn long_source_file_is_a_violation_and_long_test_is_not() {
    let file = |name: &str, lines| (PathBuf::from(name), "x\n".repeat(lines));
    assert_eq!(lengths::violations(&[file("src/a.rs", 400)]).len(), 0);
    assert_eq!(lengths::violations(&[file("src/a.rs", 401), file("src/js/a.js", 401)]).len(), 2);
    let exempt = [file("src/a/tests.rs", 900), file("tests/e2e/it/a.rs", 900)];
    assert_eq!(lengths::violations(&exempt).len(), 0);
    assert_eq!(lengths::violations(&[file("docs/a.md", 900)]).len(), 0);
}

#[test]
fn retired_name_is_found_only_as_a_whole_word() {
    let found = |text: &str| names::violations(&[(PathBuf::from("a.md"), text.to_owned())]).len();
    assert_eq!(found("set ORIGIN_URL"), 1);
    assert_eq!(found("`store_outage` and \"token_unknown\""), 2);
    assert_eq!(found("on_store_outage MY_ORIGIN_URL"), 0);
    assert_eq!(found("portcullis_gateway_requests_total"), 1);
}

#[test]
fn link_to_a_missing_file_or_heading_is_found() {
    let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
    let found = |text: &str| {
        let files = [file("docs/a.md", text), file("docs/b/c.md", "# The *edge's* key: `x`\n")];
        links::violations(&files, |path| path == Path::new("src")).len()
    };
    assert_eq!(
        found("[a](b/c.md#the-edges-key-x) [b](b/c.md) [c](../src) [d](https://x.example/y)"),
        0
    );
    assert_eq!(found("[a](b/c.md#the-key)"), 1);
    assert_eq!(found("[a](c.md) [b](../lib) [c](../../x.md)"), 3);
    assert_eq!(found("## Own\n[a](#own) [b](#other)"), 1);
    assert_eq!(found("    [a](code.md)\n```sh\n[b](code.md)\n```\n"), 0);
}

#[test]
fn reference_page_and_code_must_have_the_same_names() {
    let file = |name: &str, text: &str| (PathBuf::from(name), text.to_owned());
    let found = |source: &str, page: &str| {
        let files = [
            file("src/response/access_log.rs", source),
            file("docs/reference/access-log.md", page),
        ];
        let is_member = |line: &String| line.contains("log member");
        documented::violations(&files).into_iter().filter(is_member).collect::<Vec<_>>()
    };
    let common = "| `time`, `level`, `program`, `event` | always |\n";
    let page = format!("{common}| `path` | the path |\n");
    assert_eq!(found("line.text(\"path\", x);", &page), Vec::<String>::new());
    assert_eq!(found("line.text(\"path\", x);", common).len(), 1);
    assert_eq!(found("line.text(\"route\", x);", &page).len(), 2);
}
