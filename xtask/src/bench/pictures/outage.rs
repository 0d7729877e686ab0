//! Statuses over time while the store dies and returns: a strip for each kind of request.

use super::chart::{Anchor, Ink, Picture};
use anyhow::{Context as _, Result};
use serde_json::Value;

pub fn svg(reliability: &Value) -> Result<String> {
    let outage = &reliability["outage"];
    let number = |name: &str| outage[name].as_f64().with_context(|| format!("no {name}"));
    let (bin_ms, dead, back) = (number("bin_ms")?, number("dead_ms")?, number("back_ms")?);
    let kinds = outage["kinds"].as_array().context("no kinds")?;
    let bins = |status: &Value| status.as_array().map_or(0, Vec::len);
    let count = kinds.iter().filter_map(|kind| kind["statuses"].as_object());
    let count = count.flat_map(|statuses| statuses.values().map(bins)).max().unwrap_or(1);
    let total_ms = count as f64 * bin_ms;
    let x = |ms: f64| LEFT + ms / total_ms * (RIGHT - LEFT);
    let bottom = TOP + kinds.len() as f64 * ROW;

    let mut picture = Picture::new(
        WIDTH,
        bottom + 56.0,
        "Statuses over time while the store dies and returns",
        "A strip for each kind of request. Its colours are the share of each status in each quarter of a \
         second. While the store is dead, a route answers as its on_store_outage says.",
    );
    picture.rect(x(dead), TOP - 8.0, x(back) - x(dead), bottom - TOP + 8.0, Ink::Faint);
    let during = "the store is dead";
    picture.text((x(dead) + x(back)) / 2.0, TOP - 12.0, Anchor::Middle, Ink::Muted, during);
    for (place, kind) in kinds.iter().enumerate() {
        let top = TOP + place as f64 * ROW;
        let name = kind["name"].as_str().unwrap_or_default();
        picture.text(LEFT - 8.0, top + ROW / 2.0 + 4.0, Anchor::End, Ink::Text, name);
        for bin in 0..count {
            let of = |status: &str| {
                let count = kind.pointer(&format!("/statuses/{status}/{bin}"));
                count.and_then(Value::as_f64).unwrap_or(0.0)
            };
            let total: f64 = STATUSES.iter().map(|(status, ..)| of(status)).sum();
            let (mut y, height) = (top + 4.0, ROW - 8.0);
            for (status, ink, _) in STATUSES.iter().filter(|(status, ..)| of(status) > 0.0) {
                let part = of(status) / total * height;
                let left = x(bin as f64 * bin_ms);
                // A little wider, so that no seam shows.
                let width = x((bin as f64 + 1.0) * bin_ms) - left + 0.5;
                picture.rect(left, y, width, part, *ink);
                y += part;
            }
        }
    }
    let mut second = 0.0;
    while second * 1000.0 <= total_ms {
        let label = format!("{second:.0} s");
        picture.text(x(second * 1000.0), bottom + 18.0, Anchor::Middle, Ink::Muted, &label);
        second += 5.0;
    }
    let mut left = LEFT;
    for (_, ink, label) in STATUSES {
        picture.rect(left, bottom + 32.0, 12.0, 12.0, ink);
        picture.text(left + 18.0, bottom + 42.0, Anchor::Start, Ink::Text, label);
        left += 170.0;
    }
    Ok(picture.finish())
}

const STATUSES: [(&str, Ink, &str); 3] = [
    ("200", Ink::Blue, "200: accepted"),
    ("401", Ink::Grey, "401: token revoked"),
    ("503", Ink::Orange, "503: store unavailable"),
];
const WIDTH: f64 = 760.0;
const LEFT: f64 = 160.0;
const RIGHT: f64 = 740.0;
const TOP: f64 = 60.0;
const ROW: f64 = 30.0;
