//! What a million requests cost: a bar for each plan and number of isolates.

use super::chart::{Anchor, Ink, Picture};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub fn svg(bill: &Value) -> Result<String> {
    let measured = bill["rows"].as_array().context("nothing was measured")?;
    let mut groups: Vec<(&str, Ink, Vec<[f64; 3]>)> = Vec::new();
    for (name, label, ink) in PLANS {
        let number = |row: &Value, member: &str| row[member].as_f64();
        let mut bars: Vec<[f64; 3]> = Vec::new();
        for row in measured.iter().filter(|row| row["name"] == name) {
            let bar =
                [number(row, "isolates"), number(row, "million"), number(row, "million_global")];
            let [Some(isolates), Some(one), Some(global)] = bar else {
                anyhow::bail!("{name}: a row lacks a number");
            };
            // A second row of as many isolates has fewer requests, and is in the table alone.
            if bars.iter().all(|[other, ..]| *other != isolates) {
                bars.push([isolates, one, global]);
            }
        }
        ensure!(!bars.is_empty(), "{name} was not measured");
        groups.push((label, ink, bars));
    }
    let bars = || groups.iter().flat_map(|(.., bars)| bars);
    let most = bars().map(|[_, one, global]| one.max(*global)).fold(1.0, f64::max);
    let x = |dollars: f64| LEFT + dollars / most * (RIGHT - LEFT);
    let height = HEAD + bars().count() as f64 * ROW + groups.len() as f64 * GAP + 10.0;
    let mut picture = Picture::new(
        WIDTH,
        height,
        "A million requests, in dollars: the store in one region (bar), and in three (line)",
        "A horizontal bar for each plan and number of isolates; the table of the same page has the numbers.",
    );
    let mut top = HEAD;
    for (label, ink, bars) in &groups {
        let middle = top + bars.len() as f64 * ROW / 2.0;
        picture.text(LEFT - 34.0, middle + 4.0, Anchor::End, Ink::Text, label);
        for [isolates, one, global] in bars {
            let center = top + ROW / 2.0;
            let count = format!("{isolates:.0}");
            picture.text(LEFT - 8.0, center + 4.0, Anchor::End, Ink::Muted, &count);
            picture.rect(LEFT, top + 3.0, x(*one) - LEFT, ROW - 6.0, *ink);
            picture.line((x(*one), center), (x(*global), center), *ink);
            let label = format!("{one:.2}, {global:.2}");
            picture.text(x(*global) + 6.0, center + 4.0, Anchor::Start, Ink::Text, &label);
            top += ROW;
        }
        top += GAP;
    }
    Ok(picture.finish())
}

/// The name in the measurements, the label, and the colour.
const PLANS: [(&str, &str, Ink); 6] = [
    ("portcullis, strict", "strict", Ink::Blue),
    ("portcullis, exact", "exact, 5 s", Ink::Blue),
    ("portcullis, leased", "leased, 5 s", Ink::Blue),
    ("portcullis, leased by default", "leased, 1 s", Ink::Blue),
    ("portcullis, bounded", "bounded, 5 s, no limit", Ink::Blue),
    ("ref", "ref", Ink::Grey),
];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 190.0;
const RIGHT: f64 = 640.0;
const HEAD: f64 = 36.0;
const ROW: f64 = 20.0;
const GAP: f64 = 8.0;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn bill(names: &[&str]) -> Value {
        let row = |isolates: u32, million: f64, name: &&str| json!({ "name": name, "isolates": isolates, "million": million, "million_global": 2.0 * million });
        let rows = names
            .iter()
            .flat_map(|name| [row(1, 8.25, name), row(4, 9.25, name), row(4, 77.25, name)]);
        json!({ "rows": rows.collect::<Vec<_>>() })
    }

    #[test]
    fn bill_has_a_bar_for_each_plan_and_number_of_isolates() {
        let names = PLANS.map(|(name, ..)| name);
        let picture = svg(&bill(&names)).unwrap();
        assert_eq!(picture.matches("8.25, 16.50").count(), PLANS.len());
        assert_eq!(picture.matches("9.25, 18.50").count(), PLANS.len());
        assert!(!picture.contains("77.25"));
        assert!(svg(&bill(&names[1..])).is_err(), "a plan was not measured");
        assert!(svg(&json!({})).is_err());
    }
}
