//! Load by wrk. Each request has one of many tokens.

use crate::bench::measure::output;
use crate::process::write_atomically;
use crate::stack::loopback;
use crate::tools::Tools;
use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The tokens that are sent, and the expected status.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Traffic {
    /// Valid tokens. The upstream answers each.
    Good,
    /// Malformed tokens. Each response is 401.
    Garbage,
    /// Well-formed tokens with an invalid signature. Each response is 401.
    Forged,
    /// Valid tokens, of callers who may be over their limit.
    OverLimit,
}

/// The order in which tokens are sent.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Order {
    /// One after the other.
    InTurn,
    /// By the file of [`zipf`], which a few tokens dominate.
    Zipf,
}

/// One measurement.
#[derive(Clone, Copy, Deserialize, Serialize)]
pub struct Load {
    pub count: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

static WRITING: Mutex<()> = Mutex::new(());

/// The settings of a load.
pub struct Wrk<'a> {
    pub tools: &'a Tools,
    pub folder: &'a Path,
    pub connections: u32,
    pub traffic: Traffic,
    /// The number of different tokens.
    pub tokens: u32,
    /// The number of tokens that were used before.
    pub skip: u32,
    pub order: Order,
    /// How long each connection waits between two requests, on average.
    pub pause_ms: u32,
}

impl Wrk<'_> {
    /// Sends requests to a port for some seconds. Every response must have the expected status.
    pub fn send(&self, port: u16, seconds: u32) -> Result<Load> {
        let script = self.folder.join("edge.lua");
        {
            // Several may run at once. None must find an empty script, or the draft of another.
            let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
            write_atomically(&script, SCRIPT)?;
        }
        let (order, round) = match self.order {
            Order::InTurn => (NO_FILE.into(), self.tokens),
            Order::Zipf => (self.folder.join(ZIPF_FILE), ZIPF_COUNT),
        };
        let text = output(
            self.tools
                .command("wrk")
                .args(["-t1", "-c", &self.connections.to_string(), "-d", &format!("{seconds}s")])
                .arg("-s")
                .arg(&script)
                .arg(format!("http://{}", loopback(port)))
                .arg("--")
                .arg(self.file())
                .arg(self.tokens.to_string())
                .arg((self.skip % round).to_string())
                .arg(order)
                .arg(self.pause_ms.to_string()),
        )?;
        let line = text.lines().find_map(|line| line.strip_prefix("RESULT "));
        let numbers: Vec<f64> = line
            .with_context(|| format!("wrk: no result:\n{text}"))?
            .split(' ')
            .filter_map(|number| number.parse().ok())
            .collect();
        let [count, micros, p50, p99, refused, broken] = numbers.as_slice() else {
            bail!("wrk: {text}");
        };
        ensure!(*broken == 0.0, "{broken} connections broke");
        let expected = match self.traffic {
            Traffic::Good => 0.0,
            Traffic::Garbage | Traffic::Forged => *count,
            Traffic::OverLimit => *refused,
        };
        ensure!(*refused == expected, "{refused} of {count} answers were errors, not {expected}");
        Ok(Load {
            count: *count,
            requests_per_second: count / micros * 1e6,
            p50_ms: p50 / 1e3,
            p99_ms: p99 / 1e3,
        })
    }

    fn file(&self) -> PathBuf {
        self.folder.join(match self.traffic {
            Traffic::Good | Traffic::OverLimit => "tokens.txt",
            Traffic::Garbage => "garbage.txt",
            Traffic::Forged => "forged.txt",
        })
    }
}

/// Writes the order of [`Order::Zipf`]: the number of one of `tokens` in each line. Token n occurs
/// in proportion to 1 / n^[`ZIPF_EXPONENT`]. The order is the same in each run.
pub fn write_zipf(folder: &Path, tokens: u32) -> Result<()> {
    let mut lines = String::new();
    for number in zipf(tokens, ZIPF_COUNT) {
        let _ = writeln!(lines, "{number}");
    }
    write_atomically(&folder.join(ZIPF_FILE), &lines)
}

fn zipf(tokens: u32, count: u32) -> Vec<usize> {
    let mut sum = 0.0;
    let sums: Vec<f64> = (1..=tokens)
        .map(|number| {
            sum += f64::from(number).powf(-ZIPF_EXPONENT);
            sum
        })
        .collect();
    // SplitMix64.
    let mut state: u64 = 1;
    let mut draw = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64 * sum
    };
    (0..count)
        .map(|_| {
            let drawn = draw();
            sums.partition_point(|until| *until <= drawn) + 1
        })
        .collect()
}

/// How unevenly tokens are used: 0 is evenly, and 1 is usual for the popularity of pages.
pub const ZIPF_EXPONENT: f64 = 1.0;
/// More than any measurement sends.
pub const ZIPF_COUNT: u32 = 200_000;
const ZIPF_FILE: &str = "zipf.txt";
const NO_FILE: &str = "-";

/// A browser's request behind Cloudflare. The script does not check each response, which would
/// double wrk's cost; wrk itself counts the errors.
const SCRIPT: &str = r#"
local tokens, order, place = {}, nil, 0
local head = table.concat({
  'GET /api/things?page=2 HTTP/1.1',
  'Host: api.example',
  'Accept: application/json',
  'Accept-Encoding: gzip, br',
  'Accept-Language: en-GB,en;q=0.9',
  'User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36',
  'CF-Connecting-IP: 203.0.113.7',
  'CF-IPCountry: CH',
  'CF-Ray: 9a1b2c3d4e5f6789-ZRH',
  'CF-Visitor: {"scheme":"https"}',
  'X-Forwarded-For: 203.0.113.7',
  'X-Forwarded-Proto: https',
  'Authorization: Bearer ',
}, '\r\n')
function init(arguments)
  for line in io.lines(arguments[1]) do
    tokens[#tokens + 1] = line
    if #tokens == tonumber(arguments[2]) then break end
  end
  place = tonumber(arguments[3])
  if arguments[4] ~= '-' then
    order = {}
    for line in io.lines(arguments[4]) do order[#order + 1] = tonumber(line) end
  end
  local pause = tonumber(arguments[5])
  if pause > 0 then
    function delay() return math.random(0, 2 * pause) end
  end
end
function request()
  if order then
    place = place % #order + 1
    return head .. tokens[order[place]] .. '\r\n\r\n'
  end
  place = place % #tokens + 1
  return head .. tokens[place] .. '\r\n\r\n'
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('RESULT %d %d %d %d %d %d\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_gives_each_token_its_share() {
        let drawn = zipf(1000, 100_000);
        let share = |number| drawn.iter().filter(|one| **one == number).count() as f64 / 1e5;
        // 1 / (1 + 1/2 + ... + 1/1000) is 0.1336.
        assert!((share(1) - 0.1336).abs() < 0.005, "{}", share(1));
        assert!((share(2) - 0.0668).abs() < 0.005, "{}", share(2));
        assert!((share(10) - 0.0134).abs() < 0.002, "{}", share(10));
        assert!(drawn.iter().all(|number| (1..=1000).contains(number)));
    }
}
