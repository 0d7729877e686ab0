//! The tables of a run, in the format of docs/reliability.md.

use super::processes::{Growth, Measured, comparisons};
use super::record::Topic;
use super::world::World;

/// The description of a run in its tables.
pub struct Title {
    pub seconds: u64,
    pub per_second: u64,
    pub seed: u64,
}

pub fn print(world: &World, measured: &Measured, title: &Title) {
    let Title { seconds, per_second, seed } = title;
    println!("{seconds} s at {per_second} requests a second, seed {seed}:\n");
    print_kinds(world);
    print_faults(world);
    print_processes(world, measured);
    print_promises(world);
}

fn print_kinds(world: &World) {
    println!(
        "| requests | sent | as expected | failed during faults | failed otherwise | p50 ms | p99 ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (name, counts) in world.record.kinds() {
        let other: Vec<String> = counts
            .unexplained
            .iter()
            .map(|(status, count)| format!("{status} × {count}"))
            .collect();
        let other = if other.is_empty() { "0".to_owned() } else { other.join(", ") };
        let (p50, p99) = (counts.quantile(0.5), counts.quantile(0.99));
        let (total, right, explained) = (counts.total(), counts.right, counts.explained);
        println!("| {name} | {total} | {right} | {explained} | {other} | {p50} | {p99} |");
    }
    println!("\nNot sent, since 1000 were in progress: {}.\n", world.record.skipped());
}

fn print_faults(world: &World) {
    println!("| fault | lasted s | requests failed | back after ms |");
    println!("|---|---|---|---|");
    for window in world.history.windows() {
        let lasted = window.ended.map(|end| end - window.begun).unwrap_or_default();
        let back = window.back.map(|back| back.as_millis().to_string());
        let back = back.unwrap_or_else(|| "never".to_owned());
        let (name, failed) = (&window.name, window.failed);
        println!("| {name} | {:.1} | {failed} | {back} |", lasted.as_secs_f64());
    }
    println!();
}

fn print_processes(world: &World, measured: &Measured) {
    println!(
        "| process | MB at a third | MB at the end | descriptors at rest after a third | at the end | restarts | CPU s |"
    );
    println!("|---|---|---|---|---|---|---|");
    let restarts = world.system.restarts();
    for one in comparisons(measured) {
        let restarts = restarts.get(one.name).copied().unwrap_or(0);
        let mut name = one.name.to_owned();
        if one.is_too_short() {
            name.push_str(&format!(
                " (memory not compared: started {} s before the end)",
                one.life.as_secs()
            ));
        }
        let megabytes = |kib: f64| format!("{:.1}", kib / 1024.0);
        let Growth { third, end } = one.memory_kib;
        let Growth { third: few, end: many } = one.descriptors;
        let (third, end, cpu) = (megabytes(third), megabytes(end), one.cpu_seconds);
        println!("| {name} | {third} | {end} | {few} | {many} | {restarts} | {cpu:.0} |");
    }
    println!();
}

fn print_promises(world: &World) {
    println!("| checked at the end | found |");
    println!("|---|---|");
    let rows = [
        (Topic::WrongAccept, "wrong accepts: forged, expired or revoked tokens that passed"),
        (Topic::WrongReject, "valid tokens and passwords rejected"),
        (Topic::Identity, "requests forwarded with another identity than their token's"),
        (Topic::Limit, "callers above their limit, quota or credits, or refused below them"),
        (Topic::LostSession, "sessions lost"),
        (Topic::Reuse, "used refresh tokens accepted"),
        (Topic::Unanswered, "requests without a response"),
        (Topic::Recovery, "faults without a recovery"),
        (Topic::Database, "differences between database, Redis, outbox and edge"),
        (Topic::Panic, "panics in the logs"),
        (Topic::Memory, "processes with more than 1.1 times the memory"),
        (Topic::Descriptors, "processes with more than 1.1 times the descriptors"),
    ];
    for (topic, text) in rows {
        println!("| {text} | {} |", world.record.found(topic));
    }
    let late = world.record.lateness();
    let (count, worst) = (late.count, late.worst.as_millis());
    println!(
        "| revoked tokens that passed, each within one of the bounds above | {count}; the longest \
         {worst} ms after its revocation, which was before the fault that the bound counts from |"
    );
}
