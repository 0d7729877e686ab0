//! The prose of a Markdown page: paragraphs, list items and table cells, without code and headings.

use super::{Block, Prose};

/// Reads a page. The width of a line counts unless it is code, a row of a table, or only a link.
pub fn read(text: &str) -> Prose {
    let mut prose = Prose { sentences: true, ..Prose::default() };
    let mut fence = None;
    let mut in_code = false;
    let mut open: Option<Block> = None;
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let trimmed = line.trim();
        let marker = ["```", "~~~"].into_iter().find(|marker| trimmed.starts_with(marker));
        if fence.is_some() || marker.is_some() {
            prose.blocks.extend(open.take());
            if fence.is_none() {
                fence = marker;
            } else if fence == marker {
                fence = None;
            }
            continue;
        }
        // Indented code follows an empty line. A list item may be as deep.
        let indented = line.starts_with("    ") && !is_item(trimmed);
        in_code = indented && (in_code || open.is_none());
        if in_code {
            continue;
        }
        let is_markup = trimmed.starts_with(['<', '#']);
        if trimmed.is_empty() || is_markup {
            prose.blocks.extend(open.take());
            continue;
        }
        if trimmed.starts_with('|') {
            prose.blocks.extend(open.take());
            let cells = trimmed.split('|').filter(|cell| !cell.trim().is_empty());
            prose.blocks.extend(cells.map(|cell| Block { lines: vec![(number, cell.to_owned())] }));
            continue;
        }
        if !is_link(trimmed) {
            prose.widths.push((number, line.chars().count()));
        }
        if is_item(trimmed) {
            prose.blocks.extend(open.take());
        }
        let quote = trimmed.trim_start_matches(['>', ' ']);
        open.get_or_insert(Block { lines: Vec::new() }).lines.push((number, quote.to_owned()));
    }
    prose.blocks.extend(open.take());
    prose
}

/// Whether a line begins an item of a list.
fn is_item(trimmed: &str) -> bool {
    let number = trimmed.trim_start_matches(|c: char| c.is_ascii_digit());
    let numbered = number.len() < trimmed.len() && number.starts_with(". ");
    numbered || ["- ", "* ", "+ "].iter().any(|bullet| trimmed.starts_with(bullet))
}

/// Whether a line is nothing but a link, which can't be broken.
fn is_link(trimmed: &str) -> bool {
    let item =
        if is_item(trimmed) { trimmed.split_once(' ').map_or("", |(_, t)| t) } else { trimmed };
    let item = item.trim_start_matches('!').trim_end_matches(['.', ',', ';']);
    let inline = item.starts_with('[') && item.matches("](").count() == 1 && item.ends_with(')');
    let reference = item.starts_with('[') && item.contains("]: ");
    inline || reference || !item.contains(' ')
}
