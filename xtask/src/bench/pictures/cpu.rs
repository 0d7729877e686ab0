//! CPU of workerd a request: a bar for each contender, with the range of its rounds.

use super::chart::{Anchor, Ink, Picture};
use crate::bench::measure::spread;
use anyhow::{Result, ensure};
use serde_json::Value;

pub fn svg(performance: &Value) -> Result<String> {
    let mut bars = Vec::new();
    for (name, ink) in BARS {
        let rounds = performance.pointer(&format!("/speed/{name}")).and_then(Value::as_array);
        // Measurements of an earlier build lack contenders that are newer.
        let Some(rounds) = rounds else {
            continue;
        };
        bars.push((
            name,
            ink,
            spread(rounds.iter().filter_map(|r| r["cpu_us"].as_f64()).collect()),
        ));
    }
    ensure!(!bars.is_empty(), "speed was not measured");
    let most = bars.iter().map(|(_, _, [_, _, high])| *high).fold(1.0, f64::max);
    let x = |us: f64| LEFT + us / most * (WIDTH - LEFT - 60.0);
    let mut picture = Picture::new(
        WIDTH,
        HEAD + bars.len() as f64 * ROW + 20.0,
        "CPU of workerd a request, µs (median; line: all rounds)",
        "A horizontal bar for each contender; the table of the same page has the numbers.",
    );
    for (place, (name, ink, [low, middle, high])) in bars.iter().enumerate() {
        let top = HEAD + place as f64 * ROW;
        let center = top + ROW / 2.0;
        picture.text(LEFT - 8.0, center + 4.0, Anchor::End, Ink::Text, name);
        picture.rect(LEFT, top + 4.0, x(*middle) - LEFT, ROW - 8.0, *ink);
        picture.line((x(*low), center), (x(*high), center), Ink::Text);
        let label = format!("{middle:.0}");
        picture.text(x(*high) + 6.0, center + 4.0, Anchor::Start, Ink::Text, &label);
    }
    Ok(picture.finish())
}

const BARS: [(&str, Ink); 12] = [
    ("strict", Ink::Blue),
    ("ref", Ink::Grey),
    ("jsopt strict", Ink::Grey),
    ("floor", Ink::Grey),
    ("leased", Ink::Blue),
    ("jsopt leased", Ink::Grey),
    ("bounded", Ink::Blue),
    ("jsopt bounded", Ink::Grey),
    ("pass", Ink::Grey),
    ("garbage", Ink::Blue),
    ("forged", Ink::Blue),
    ("bare401", Ink::Grey),
];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const HEAD: f64 = 36.0;
const ROW: f64 = 28.0;
