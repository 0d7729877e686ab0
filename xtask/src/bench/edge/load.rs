//! Load by wrk. Each request has one of many tokens.

use crate::bench::measure::output;
use crate::process::write_private;
use crate::stack::loopback;
use crate::tools::Tools;
use anyhow::{Context as _, Result, bail, ensure};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The tokens that are sent, and the expected status.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Traffic {
    /// Valid tokens. The upstream answers each.
    Good,
    /// Malformed tokens. Each response is 401.
    Garbage,
    /// Well-formed tokens with an invalid signature. Each response is 401.
    Forged,
}

/// One measurement.
#[derive(Clone, Copy, Serialize)]
pub struct Load {
    pub count: f64,
    pub requests_per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

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
}

impl Wrk<'_> {
    /// Sends requests to a port for some seconds. Every response must have the expected status.
    pub fn send(&self, port: u16, seconds: u32) -> Result<Load> {
        let script = self.folder.join("edge.lua");
        write_private(&script, SCRIPT)?;
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
                .arg((self.skip % self.tokens).to_string()),
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
        let expected = if self.traffic == Traffic::Good { 0.0 } else { *count };
        ensure!(*broken == 0.0, "{broken} connections broke");
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
            Traffic::Good => "tokens.txt",
            Traffic::Garbage => "garbage.txt",
            Traffic::Forged => "forged.txt",
        })
    }
}

/// A browser's request behind Cloudflare. The script does not check each response, which would
/// double wrk's cost; wrk itself counts the errors.
const SCRIPT: &str = r#"
local tokens, place = {}, 0
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
end
function request()
  place = place % #tokens + 1
  return head .. tokens[place] .. '\r\n\r\n'
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('RESULT %d %d %d %d %d %d\n', summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"#;
