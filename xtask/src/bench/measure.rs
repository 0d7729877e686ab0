//! Helpers of all measurements: the output of programs, CPU and memory of a process, medians, and
//! tables in documents.

pub use crate::process::output;

use crate::at;
use anyhow::{Context as _, Result, anyhow};
use std::fs;
use std::thread::ScopedJoinHandle;

/// Replaces the text between two marks of a document.
pub fn put(document: &str, name: &str, text: &str) -> Result<()> {
    let file = at(document);
    let old = fs::read_to_string(&file)?;
    let (begin, end) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let (before, rest) = old.split_once(&begin).with_context(|| format!("no mark {name}"))?;
    let (_, after) = rest.split_once(&end).with_context(|| format!("no end of {name}"))?;
    fs::write(&file, format!("{before}{begin}\n{}\n{end}{after}", wrapped(text)))?;
    Ok(())
}

/// Breaks lines of prose at 100 columns. A table's row stays one line.
fn wrapped(text: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for line in text.split('\n') {
        if line.starts_with('|') {
            lines.push(line.to_owned());
            continue;
        }
        let mut current = String::new();
        for word in line.split(' ') {
            if !current.is_empty() && current.chars().count() + 1 + word.chars().count() > 100 {
                lines.push(std::mem::take(&mut current));
            } else if !current.is_empty() {
                current.push(' ');
            }
            current.push_str(word);
        }
        lines.push(current);
    }
    lines.join("\n")
}

/// Returns the lowest value, the median and the highest value.
pub fn spread(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    [at(0), at(values.len() / 2), at(values.len().saturating_sub(1))]
}

/// Returns the outcome of a thread.
pub fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

/// Returns the user and system time of a process in microseconds. Linux counts it in hundredths of
/// a second.
pub fn cpu_us(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(") ").context("/proc/stat")?.1;
    let ticks: Vec<f64> =
        fields.split(' ').skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    Ok(ticks.iter().sum::<f64>() * 10_000.0)
}

/// Returns the resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    line.trim().trim_end_matches(" kB").parse().context("VmRSS")
}
