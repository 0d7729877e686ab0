//! Draws the speed: a bar for each cell with the CPU of workerd per request, and the range of its
//! rounds.

use super::cells::cells;
use super::found::Found;
use crate::bench::measure::spread;
use std::fmt::Write as _;

pub fn svg(found: &Found) -> String {
    let bars: Vec<(&str, [f64; 3])> = cells(false)
        .iter()
        .filter(|cell| cell.name != "pass again")
        .filter_map(|cell| {
            let samples = found.speed.get(cell.name)?;
            Some((cell.name, spread(samples.iter().map(|sample| sample.cpu_us).collect())))
        })
        .collect();
    let most = bars.iter().map(|(_, [_, _, high])| *high).fold(1.0, f64::max);
    let height = HEAD + bars.len() * ROW + 20;
    let x = |us: f64| LEFT + us / most * (WIDTH - LEFT - 60.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"12\" y=\"22\" font-size=\"15\">CPU of workerd a request, µs (median; line: all rounds)</text>\n"
    );
    for (place, (name, [low, middle, high])) in bars.iter().enumerate() {
        let own = ["strict", "bounded", "garbage", "forged"].contains(name);
        let (top, fill) = (HEAD + place * ROW, if own { "#2563a8" } else { "#a8b2bd" });
        let (middle_y, end) = (top + ROW / 2, x(*middle));
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{name}</text>\n\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{:.1}\" height=\"{}\" fill=\"{fill}\"/>\n\
             <line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle_y}\" y2=\"{middle_y}\" stroke=\"#222\"/>\n\
             <text x=\"{:.1}\" y=\"{}\">{middle:.0}</text>",
            LEFT - 8.0,
            middle_y + 4,
            top + 4,
            end - LEFT,
            ROW - 8,
            x(*low),
            x(*high),
            x(*high) + 6.0,
            middle_y + 4,
        );
    }
    svg.push_str("</svg>\n");
    svg
}

const WIDTH: f64 = 760.0;
const LEFT: f64 = 130.0;
const HEAD: usize = 36;
const ROW: usize = 28;
