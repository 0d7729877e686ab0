//! Memory, file descriptors and CPU time of every process, sampled during a run.

use super::record::Topic;
use super::world::World;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The largest ratio of a process's memory at the end to that after a third.
const RATIO_MAX: f64 = 1.1;

/// The memory that a process may gain in addition, in KiB. In two minutes at 300 requests a second,
/// a leak of 1 KB per request is five times as much; garbage collection and Redis's records are
/// less.
const MEMORY_SLACK_KIB: f64 = 4096.0;

/// The file descriptors that a process may gain in addition. An idle process has 10 to 30. A tenth
/// of these is less than the connections by which the parts monitor each other.
const DESCRIPTORS_SLACK: f64 = 8.0;

/// The memory of one argon2id hash, in KiB. The auth service computes as many at once as there are
/// cores, and its allocator keeps that memory.
const HASH_KIB: f64 = 19.0 * 1024.0;

/// The memory of a process is not compared if it was restarted later than this before the end,
/// because it has not been under full load for long.
const LIFE_MIN: Duration = Duration::from_secs(60);

/// A process at one moment of the run.
#[derive(Clone, Copy)]
pub struct Sample {
    at: Duration,
    calm: bool,
    start: usize,
    memory_kib: f64,
    cpu_seconds: f64,
}

pub type Samples = BTreeMap<&'static str, Vec<Sample>>;

/// The file descriptors of each process.
pub type Descriptors = BTreeMap<&'static str, f64>;

/// The measurements of a run.
pub struct Measured {
    begun: Instant,
    interval: Duration,
    samples: Samples,
    /// The descriptors while no request is in progress. Under load, there are as many connections
    /// as requests that waited at once in the last fault, which shows nothing about a leak.
    pub rest_after_third: Descriptors,
    pub rest_at_end: Descriptors,
}

impl Measured {
    pub fn new(length: Duration) -> Self {
        Self {
            begun: Instant::now(),
            interval: (length / 120).clamp(Duration::from_secs(1), Duration::from_secs(5)),
            samples: Samples::new(),
            rest_after_third: Descriptors::new(),
            rest_at_end: Descriptors::new(),
        }
    }

    /// Samples every process until `end`.
    pub async fn sample(&mut self, world: &World, end: Instant) {
        while Instant::now() < end {
            let (at, calm) = (self.begun.elapsed(), world.history.is_calm(Instant::now()));
            for process in world.system.running() {
                // A process may have been killed meanwhile.
                let Some(usage) = read(process.pid) else { continue };
                let Usage { memory_kib, cpu_seconds } = usage;
                let start = process.starts;
                let sample = Sample { at, calm, start, memory_kib, cpu_seconds };
                self.samples.entry(process.name).or_default().push(sample);
            }
            // The requests recorded so far are no longer needed.
            world.system.sockets.take();
            tokio::time::sleep(self.interval).await;
        }
    }
}

/// Counts the file descriptors of every process.
pub fn descriptors(world: &World) -> Descriptors {
    let count = |pid: u32| Some(std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count() as f64);
    let running = world.system.running().into_iter();
    running.filter_map(|process| Some((process.name, count(process.pid)?))).collect()
}

struct Usage {
    memory_kib: f64,
    cpu_seconds: f64,
}

fn read(pid: u32) -> Option<Usage> {
    let file = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}")).ok();
    let status = file("status")?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let stat = file("stat")?;
    let ticks = stat.rsplit_once(") ")?.1.split(' ').skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|field| field.parse::<f64>().ok()).sum();
    Some(Usage {
        memory_kib: memory.trim().trim_end_matches(" kB").parse().ok()?,
        cpu_seconds: ticks / 100.0,
    })
}

/// A quantity after a third of a run and at its end.
#[derive(Clone, Copy)]
pub struct Growth {
    pub third: f64,
    pub end: f64,
}

impl Growth {
    fn is_too_much(self, slack: f64) -> bool {
        self.end > self.third * RATIO_MAX + slack
    }
}

/// The values of a process after a third of the run and at its end.
pub struct Comparison {
    pub name: &'static str,
    pub memory_kib: Growth,
    pub descriptors: Growth,
    pub cpu_seconds: f64,
    /// How long the process ran whose memory is compared.
    pub life: Duration,
}

impl Comparison {
    pub fn is_too_short(&self) -> bool {
        self.life < LIFE_MIN
    }
}

/// Compares the memory of each process at the end of the run with that after a third of its life,
/// and its descriptors with those after a third of the run.
pub fn comparisons(measured: &Measured) -> Vec<Comparison> {
    measured.samples.iter().filter_map(|(name, all)| compare_one(name, all, measured)).collect()
}

fn compare_one(name: &'static str, all: &[Sample], measured: &Measured) -> Option<Comparison> {
    let last = all.last()?;
    let own: Vec<Sample> = all.iter().filter(|one| one.start == last.start).copied().collect();
    let (from, life) = (own.first()?.at, last.at - own.first()?.at);
    let third = from + life / 3;
    let near = |sample: &&Sample| {
        (sample.at.as_secs_f64() - third.as_secs_f64()).abs() <= life.as_secs_f64() * 0.1
    };
    let late = |sample: &&Sample| sample.at >= last.at - life / 10;
    let (thirds, ends) = (calm(own.iter().filter(near)), calm(own.iter().filter(late)));
    let growth = |value: fn(&Sample) -> f64| Growth {
        third: median(thirds.iter().map(value)),
        end: median(ends.iter().map(value)),
    };
    let mut cpu = BTreeMap::new();
    for sample in all {
        cpu.insert(sample.start, sample.cpu_seconds);
    }
    Some(Comparison {
        name,
        memory_kib: growth(|sample| sample.memory_kib),
        descriptors: Growth {
            third: measured.rest_after_third.get(name).copied().unwrap_or(0.0),
            // A process that is gone has failed.
            end: measured.rest_at_end.get(name).copied().unwrap_or(f64::INFINITY),
        },
        cpu_seconds: cpu.values().sum(),
        life,
    })
}

/// Returns the samples outside of faults, or all if there are none.
fn calm<'a>(samples: impl Iterator<Item = &'a Sample>) -> Vec<Sample> {
    let all: Vec<Sample> = samples.copied().collect();
    let calm: Vec<Sample> = all.iter().filter(|sample| sample.calm).copied().collect();
    if calm.is_empty() { all } else { calm }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn memory_slack_kib(process: &str) -> f64 {
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    MEMORY_SLACK_KIB + if process == "auth" { HASH_KIB * cores as f64 } else { 0.0 }
}

/// Reports processes that have grown.
pub fn compare(world: &World, measured: &Measured) {
    for one in comparisons(measured) {
        let Growth { third, end } = one.memory_kib;
        if !one.is_too_short() && one.memory_kib.is_too_much(memory_slack_kib(one.name)) {
            let text = format!("{}: {third} KiB after a third, {end} KiB at the end", one.name);
            world.record.find(Topic::Memory, text);
        }
        let Growth { third, end } = one.descriptors;
        if one.descriptors.is_too_much(DESCRIPTORS_SLACK) {
            let text = format!("{}: {third} after a third, {end} at the end", one.name);
            world.record.find(Topic::Descriptors, text);
        }
    }
}
