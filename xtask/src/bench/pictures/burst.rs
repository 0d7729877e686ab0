//! A limiter under a burst: how many requests each algorithm has admitted by then.

use super::chart::{Anchor, Ink, Picture, spread_labels};
use anyhow::{Context as _, Result};
use serde_json::Value;

pub fn svg(reliability: &Value) -> Result<String> {
    let burst = &reliability["burst"];
    let number = |name: &str| burst[name].as_f64().with_context(|| format!("no {name}"));
    let (quota, window_ms) = (number("quota")?, number("window_ms")?);
    let (per_second, seconds) = (number("per_second")?, number("seconds")?);
    let end_ms = seconds * 1000.0;
    let mut series = vec![];
    for (name, ink) in ALGORITHMS {
        let times = burst.pointer(&format!("/admitted_ms/{name}")).and_then(Value::as_array);
        let times = times.with_context(|| format!("no {name}"))?;
        series.push((name, ink, times.iter().filter_map(Value::as_f64).collect::<Vec<_>>()));
    }
    let most = series.iter().map(|(.., times)| times.len()).max().unwrap_or(1) as f64;
    let most = (most / STEP).ceil() * STEP;
    let x = |ms: f64| LEFT + ms / end_ms * (RIGHT - LEFT);
    let y = |count: f64| BOTTOM - count.min(most) / most * (BOTTOM - TOP);
    let title = format!(
        "{per_second:.0} requests a second against {quota:.0} in {:.0} s: admitted so far",
        window_ms / 1000.0
    );
    let mut picture = Picture::new(
        WIDTH,
        BOTTOM + 34.0,
        &title,
        "A stepped line for each algorithm. All admit the quota at once. Then gcra and token_bucket admit \
         evenly, fixed_window admits the whole quota at the start of each window, and sliding_window \
         admits as the earlier window leaves.",
    );
    let mut level = 0.0;
    while level <= most {
        picture.line((LEFT, y(level)), (RIGHT, y(level)), Ink::Faint);
        picture.text(LEFT - 8.0, y(level) + 4.0, Anchor::End, Ink::Muted, &format!("{level:.0}"));
        level += STEP;
    }
    let mut second = 0.0;
    while second <= seconds {
        let label = format!("{second:.0} s");
        picture.text(x(second * 1000.0), BOTTOM + 20.0, Anchor::Middle, Ink::Muted, &label);
        second += 2.0;
    }
    // What is offered leaves the picture at the top.
    let full_ms = most / per_second * 1000.0;
    picture.path(&[(x(0.0), y(0.0)), (x(full_ms), y(most))], Ink::Grey, 2.0);
    picture.text(x(full_ms) + 8.0, y(most) + 12.0, Anchor::Start, Ink::Muted, "offered");
    let mut labels = Vec::new();
    for (place, (_, ink, times)) in series.iter().enumerate() {
        let mut points = vec![(x(0.0), y(0.0))];
        for (count, ms) in times.iter().enumerate() {
            points.push((x(*ms), y(count as f64)));
            points.push((x(*ms), y(count as f64 + 1.0)));
        }
        points.push((x(end_ms), y(times.len() as f64)));
        picture.path(&points, *ink, 2.5);
        labels.push((y(times.len() as f64), place));
    }
    spread_labels(&mut labels, 17.0);
    for (label_y, place) in labels {
        if let Some((name, ink, times)) = series.get(place) {
            picture.line((RIGHT + 2.0, y(times.len() as f64)), (RIGHT + 14.0, label_y), *ink);
            let label = format!("{name}: {}", times.len());
            picture.text(RIGHT + 18.0, label_y + 4.0, Anchor::Start, Ink::Text, &label);
        }
    }
    Ok(picture.finish())
}

/// `token_bucket` is `gcra` by another name.
const ALGORITHMS: [(&str, Ink); 3] =
    [("gcra", Ink::Blue), ("sliding_window", Ink::Purple), ("fixed_window", Ink::Orange)];
const STEP: f64 = 20.0;
const WIDTH: f64 = 760.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 590.0;
const TOP: f64 = 46.0;
const BOTTOM: f64 = 300.0;
