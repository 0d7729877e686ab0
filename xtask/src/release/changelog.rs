//! The changelog, by Keep a Changelog: the section of the next release.

use super::context::{folder, shown};
use crate::workspace::at;
use anyhow::{Result, bail};
use std::fs;

/// A section of the changelog.
#[derive(Debug, Eq, PartialEq)]
pub struct Section<'t> {
    /// `Unreleased`, or the version and the day: `0.1.0 - 2026-11-29`.
    pub name: String,
    /// The text below the heading.
    pub body: &'t str,
}

impl Section<'_> {
    fn version(&self) -> &str {
        self.name.split(' ').next().unwrap_or_default()
    }

    fn is_dated(&self) -> bool {
        let day = self.name.split_once(" - ").map_or("", |(_, day)| day);
        let parts: Vec<&str> = day.split('-').collect();
        let is_number = |part: &&str| part.chars().all(|digit| digit.is_ascii_digit());
        parts.iter().map(|part| part.len()).eq([4, 2, 2]) && parts.iter().all(is_number)
    }
}

/// Returns CHANGELOG.md.
pub fn text() -> Result<String> {
    Ok(fs::read_to_string(at("CHANGELOG.md"))?)
}

/// Writes the section of the next release to build/release/notes.md.
pub fn extract(version: &str, is_tagged: bool) -> Result<String> {
    let text = text()?;
    let section = next(&text, version, is_tagged)?;
    let notes = folder().join("notes.md");
    fs::write(&notes, format!("{}\n", section.body))?;
    let lines = section.body.lines().count();
    Ok(format!("{lines} lines of {} in {}", section.name, shown(&notes)))
}

/// Returns the section of the next release, which is `version`: what is unreleased, or the newest
/// section if nothing is. For a tag, the section must have the version and a day as its name.
pub fn next<'t>(text: &'t str, version: &str, is_tagged: bool) -> Result<Section<'t>> {
    let sections = sections(text);
    let mut filled = sections.into_iter().filter(|section| !section.body.is_empty());
    let Some(newest) = filled.next() else {
        bail!("CHANGELOG.md has no section with entries");
    };
    if newest.name == UNRELEASED {
        if is_tagged {
            bail!(
                "CHANGELOG.md: the entries are under {UNRELEASED}; name their section `## {version} \
                 - YEAR-MONTH-DAY`, and tag that commit"
            );
        }
        if filled.any(|section| section.version() == version) {
            bail!(
                "CHANGELOG.md: {version} is released, and {UNRELEASED} has entries; raise the \
                 version in all files"
            );
        }
        return Ok(newest);
    }
    if newest.version() != version {
        bail!("CHANGELOG.md: the newest section is {}, and not {version}", newest.name);
    }
    if !newest.is_dated() {
        bail!("CHANGELOG.md: {} lacks its day; write `{version} - YEAR-MONTH-DAY`", newest.name);
    }
    Ok(newest)
}

/// Returns the sections in their order. A name loses its brackets.
fn sections(text: &str) -> Vec<Section<'_>> {
    let mut rest = text.split("\n## ");
    rest.next();
    let sections = rest.map(|section| {
        let (name, body) = section.split_once('\n').unwrap_or((section, ""));
        let name = name.trim().replace(['[', ']'], "");
        Section { name, body: body.trim() }
    });
    sections.collect()
}

const UNRELEASED: &str = "Unreleased";
