//! The pictures of the documentation, drawn from the measurements that are committed next to them.
//! Each is one SVG for light and dark pages.

mod bill;
mod burst;
mod chart;
mod cpu;
mod distance;
mod outage;
mod session;

use crate::at;
use crate::process::write_atomically;
use anyhow::{Context as _, Result};
use serde_json::Value;
use std::fs;

/// Draws every picture.
pub fn draw() -> Result<()> {
    for (file, svg) in all()? {
        write_atomically(&at(file), &svg)?;
        println!("{file}");
    }
    Ok(())
}

/// Returns each picture with its file.
fn all() -> Result<[(&'static str, String); 6]> {
    let performance = read(PERFORMANCE)?;
    let reliability = read(RELIABILITY)?;
    Ok([
        ("docs/performance.svg", cpu::svg(&performance)?),
        ("docs/bill.svg", bill::svg(&read(BILL)?)?),
        ("docs/distance.svg", distance::svg(&performance)?),
        ("docs/store-outage.svg", outage::svg(&reliability)?),
        ("docs/burst.svg", burst::svg(&reliability)?),
        ("docs/session.svg", session::svg()),
    ])
}

fn read(file: &str) -> Result<Value> {
    let text = fs::read_to_string(at(file)).with_context(|| format!("can't read {file}"))?;
    serde_json::from_str(&text).with_context(|| format!("{file} is malformed"))
}

/// The measurements of `bench edge`.
const PERFORMANCE: &str = "docs/performance.json";
/// The measurements of `bench cost`.
pub const BILL: &str = "docs/bill.json";
/// The measurements of `bench outage`.
pub const RELIABILITY: &str = "docs/reliability.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_pictures_show_the_committed_measurements() {
        for (file, svg) in all().unwrap() {
            let committed = fs::read_to_string(at(file)).unwrap();
            assert!(committed == svg, "{file} is another; run cargo xtask bench pictures");
            assert!(svg.contains("prefers-color-scheme:dark"), "{file}");
        }
    }
}
