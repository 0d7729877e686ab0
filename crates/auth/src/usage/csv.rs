//! Writes CSV (RFC 4180).

/// Adds a line.
pub fn write_line<'a>(cells: impl IntoIterator<Item = &'a str>, text: &mut String) {
    for (place, cell) in cells.into_iter().enumerate() {
        if place > 0 {
            text.push(',');
        }
        write_cell(cell, text);
    }
    text.push_str("\r\n");
}

/// Adds a cell. A spreadsheet would run one that begins like a formula, so an apostrophe is put
/// before it.
fn write_cell(cell: &str, text: &mut String) {
    let guard = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
    if cell.contains([',', '"', '\r', '\n']) {
        text.push('"');
        text.push_str(guard);
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(guard);
        text.push_str(cell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_are_no_formulas() {
        for (cell, expect) in [
            ("alice", "alice"),
            ("", ""),
            ("a b", "a b"),
            ("a,b", "\"a,b\""),
            ("say \"x\"", "\"say \"\"x\"\"\""),
            ("a\r\nb", "\"a\r\nb\""),
            ("=1+1", "'=1+1"),
            ("+49", "'+49"),
            ("-1", "'-1"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("\tx", "'\tx"),
            ("\rx", "\"'\rx\""),
            ("=HYPERLINK(\"x\",\"y\")", "\"'=HYPERLINK(\"\"x\"\",\"\"y\"\")\""),
            ("a=1", "a=1"),
        ] {
            let mut text = String::new();
            write_line([cell, "7"], &mut text);
            assert_eq!(text, format!("{expect},7\r\n"), "{cell:?}");
        }
    }
}
