//! Latency by distance to the store, next to the peers.

use super::chart::{Anchor, Ink, Picture, spread_labels};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

pub fn svg(performance: &Value) -> Result<String> {
    let measured = performance["distance"].as_array().context("distance was not measured")?;
    let mut series = Vec::new();
    for (name, label, ink, width) in SERIES {
        let points: Vec<(f64, f64)> = measured
            .iter()
            .filter(|one| one[0] == name)
            .filter_map(|one| Some((one[1].as_f64()?, one[2].as_f64()?)))
            .collect();
        // Measurements of an earlier build lack contenders that are newer.
        if points.is_empty() {
            continue;
        }
        ensure!(points.len() > 1, "{name} was measured at one distance alone");
        series.push((label, ink, width, points));
    }
    ensure!(!series.is_empty(), "distance was not measured");
    let points = || series.iter().flat_map(|(.., points)| points);
    let far = points().map(|(distance, _)| *distance).fold(1.0, f64::max);
    let most = (points().map(|(_, p50)| *p50).fold(1.0, f64::max) / STEP).ceil() * STEP;
    let x = |distance: f64| LEFT + distance / far * (RIGHT - LEFT);
    let y = |p50: f64| BOTTOM - p50 / most * (BOTTOM - TOP);

    let mut picture = Picture::new(
        WIDTH,
        BOTTOM + 50.0,
        "Latency by distance to the store: p50 in ms",
        "Lines of the median latency of each contender, with the store 0, 10 and 40 ms away. The table \
         of the same page has the numbers.",
    );
    let mut level = 0.0;
    while level <= most {
        picture.line((LEFT, y(level)), (RIGHT, y(level)), Ink::Faint);
        let label = format!("{level:.0}");
        picture.text(LEFT - 8.0, y(level) + 4.0, Anchor::End, Ink::Muted, &label);
        level += STEP;
    }
    let mut distances: Vec<f64> = points().map(|(distance, _)| *distance).collect();
    distances.sort_by(f64::total_cmp);
    distances.dedup();
    for distance in distances {
        let label = format!("{distance:.0} ms");
        picture.text(x(distance), BOTTOM + 20.0, Anchor::Middle, Ink::Muted, &label);
    }
    let middle = (LEFT + RIGHT) / 2.0;
    let what = "one way and back between the edge and the store";
    picture.text(middle, BOTTOM + 40.0, Anchor::Middle, Ink::Muted, what);
    let ends = series.iter().enumerate();
    let mut labels: Vec<(f64, usize)> =
        ends.filter_map(|(place, (.., points))| Some((y(points.last()?.1), place))).collect();
    spread_labels(&mut labels, 17.0);
    for (_, ink, width, points) in series.iter().rev() {
        let points: Vec<(f64, f64)> = points.iter().map(|(d, p50)| (x(*d), y(*p50))).collect();
        picture.path(&points, *ink, *width);
    }
    for (label_y, place) in labels {
        if let Some((label, ink, _, points)) = series.get(place) {
            let end = points.last().map_or(0.0, |(_, p50)| *p50);
            picture.line((RIGHT + 2.0, y(end)), (RIGHT + 14.0, label_y), *ink);
            let label = format!("{label}: {end:.1}");
            picture.text(RIGHT + 18.0, label_y + 4.0, Anchor::Start, Ink::Text, &label);
        }
    }
    Ok(picture.finish())
}

/// The name in the measurements, the label, the colour, and the line's width.
const SERIES: [(&str, &str, Ink, f64); 8] = [
    ("portcullis, strict", "Portcullis, strict", Ink::Blue, 3.0),
    ("portcullis, leased", "Portcullis, leased (5 s), with a limit", Ink::Blue, 3.0),
    ("portcullis, bounded", "Portcullis, bounded (1 s)", Ink::Blue, 3.0),
    ("ref", "ref: hono, jose, @upstash/*", Ink::Orange, 2.0),
    ("jsopt, strict", "jsopt, strict", Ink::Green, 2.0),
    ("floor", "floor: one trip, no checks", Ink::Purple, 2.0),
    ("one trip to the store", "one trip to the store alone", Ink::Grey, 2.0),
    ("pass", "pass: no trip, no checks", Ink::Grey, 2.0),
];
const STEP: f64 = 20.0;
const WIDTH: f64 = 760.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 520.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 330.0;
