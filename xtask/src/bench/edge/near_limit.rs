//! One caller that requests as much as it can, with a quota far below that.

use super::cells::Contender;
use super::found::NearLimit;
use super::load::Traffic;
use super::scene::{Running, Scene};
use super::variables::with_limit;
use crate::bench::measure;
use crate::process;
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Measures how much of the quota is used, and what the store is asked for. All isolates have the
/// same demand.
pub fn measure(
    scene: &Scene<'_>,
    contender: Contender,
    isolates: usize,
    seconds: u32,
) -> Result<NearLimit> {
    process::check_stop()?;
    let Contender::Portcullis(plan) = contender else {
        anyhow::bail!("{} has no quota of its own", contender.name());
    };
    let vars = Value::Object(with_limit(plan.limit(QUOTA, WINDOW_SECONDS))?);
    let running: Vec<Running> = (0..isolates)
        .map(|_| scene.start(contender, scene.gateway, &vars))
        .collect::<Result<_>>()?;
    let wrk = scene.wrk(AT_ONCE, Traffic::OverLimit, 1);
    let all_seconds = seconds + DRAIN_SECONDS + 1;
    std::thread::scope(|scope| {
        let loads: Vec<_> = running
            .iter()
            .map(|one| {
                let (wrk, port) = (&wrk, one.port);
                scope.spawn(move || wrk.send(port, all_seconds))
            })
            .collect();
        // The burst is used up first.
        std::thread::sleep(Duration::from_secs(DRAIN_SECONDS.into()));
        let (before, first) = (scene.counts()?, Admitted::read(scene)?);
        std::thread::sleep(Duration::from_secs(seconds.into()));
        let (last, counted) = (Admitted::read(scene)?, scene.counts()? - before);
        let mut requests_per_second = 0.0;
        for load in loads {
            requests_per_second += measure::joined(load)?.requests_per_second;
        }
        let elapsed = (last.at - first.at).as_secs_f64();
        let admitted_per_second = (last.count - first.count) as f64 / elapsed;
        let admitted = counted.upstream as f64;
        let supplied_per_second = f64::from(QUOTA) / f64::from(WINDOW_SECONDS);
        Ok(NearLimit {
            name: contender.name(),
            isolates,
            requests_per_second,
            admitted_per_second,
            unspent: 1.0 - admitted_per_second / supplied_per_second,
            posts: counted.posts as f64 / admitted,
            reads: counted.commands.reads as f64 / admitted,
            writes: counted.commands.writes as f64 / admitted,
        })
    })
}

/// What was admitted until a moment.
struct Admitted {
    at: Instant,
    count: u64,
}

impl Admitted {
    /// Reads the upstream's count alone, with its time. The redis gateway is busy and answers late,
    /// while more requests are admitted.
    fn read(scene: &Scene<'_>) -> Result<Self> {
        let asked = Instant::now();
        let count = scene.upstream_count()?;
        Ok(Self { at: asked + asked.elapsed() / 2, count })
    }
}

pub const QUOTA: u32 = 6000;
pub const WINDOW_SECONDS: u32 = 60;
/// The time in which the burst is used up, a window's quota, at 400 requests a second.
const DRAIN_SECONDS: u32 = 20;
/// The connections to each isolate.
const AT_ONCE: u32 = 4;
