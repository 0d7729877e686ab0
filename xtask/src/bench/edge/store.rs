//! What the store is asked for: POSTs, and commands as they are billed.

use anyhow::{Context as _, Result};
use serde::Serialize;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::ops::Sub;

/// The commands that Redis ran. Those that a script calls are among them.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Commands {
    pub reads: u64,
    /// Scripts, and all other commands that may write.
    pub writes: u64,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// The requests to the redis gateway.
    pub posts: u64,
    /// The requests to the upstream.
    pub upstream: u64,
    pub commands: Commands,
}

impl Commands {
    pub fn all(self) -> u64 {
        self.reads + self.writes
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let (commands, before) = (self.commands, earlier.commands);
        Self {
            posts: self.posts - earlier.posts,
            upstream: self.upstream - earlier.upstream,
            commands: Commands {
                reads: commands.reads - before.reads,
                writes: commands.writes - before.writes,
            },
        }
    }
}

/// Returns the commands that Redis has run, without those that only concern the connection.
pub fn commands(redis: SocketAddr) -> Result<Commands> {
    let mut stream = TcpStream::connect(redis)?;
    stream.write_all(b"*2\r\n$4\r\nINFO\r\n$12\r\ncommandstats\r\n*1\r\n$4\r\nQUIT\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    count(&text)
}

fn count(commandstats: &str) -> Result<Commands> {
    let mut counted = Commands::default();
    for line in commandstats.lines() {
        let Some((name, values)) =
            line.strip_prefix("cmdstat_").and_then(|line| line.split_once(":calls="))
        else {
            continue;
        };
        let calls: u64 = values.split(',').next().context("calls")?.parse()?;
        // A container command has the name of its subcommand after a bar.
        let name = name.split('|').next().unwrap_or_default();
        if READS.contains(&name) {
            counted.reads += calls;
        } else if !UNBILLED.contains(&name) {
            counted.writes += calls;
        }
    }
    Ok(counted)
}

/// The commands that only read, of those that the Worker and its peers send.
const READS: [&str; 12] = [
    "exists",
    "get",
    "hget",
    "hgetall",
    "hmget",
    "mget",
    "pexpiretime",
    "pttl",
    "strlen",
    "time",
    "ttl",
    "zscore",
];
/// The commands of the redis gateway and of the measurement itself.
const UNBILLED: [&str; 10] =
    ["auth", "client", "command", "config", "hello", "info", "ping", "quit", "script", "select"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_as_reads_and_writes() {
        let text = "$99\r\n# Commandstats\r\ncmdstat_mget:calls=7,usec=9,usec_per_call=1.29\r\n\
            cmdstat_evalsha:calls=3,usec=40,usec_per_call=13.33,rejected_calls=0,failed_calls=1\r\n\
            cmdstat_pttl:calls=2,usec=1\r\ncmdstat_set:calls=2,usec=1\r\n\
            cmdstat_config|get:calls=50,usec=1\r\ncmdstat_ping:calls=60,usec=1\r\n\
            cmdstat_quit:calls=9,usec=1\r\ncmdstat_made_up:calls=1,usec=1\r\n\r\n+OK\r\n";
        assert_eq!(count(text).unwrap(), Commands { reads: 9, writes: 6 });
    }
}
