use super::*;
use crate::backend::cluster::dispatch::overtaken;
use crate::backend::cluster::plan::split;
use crate::backend::cluster::slot_map::SlotMap;
use proptest::prelude::*;
use redis_rest::{Command, Reply};
use std::collections::HashSet;

fn parts(texts: &[String]) -> Vec<Part> {
    let node = Reply::Array(vec![Reply::text("h"), Reply::Integer(1), Reply::text("id")]);
    let range = Reply::Array(vec![Reply::Integer(0), Reply::Integer(16383), node]);
    let from = crate::redis_url::Address { host: "h".to_owned(), port: 1 };
    let map = SlotMap::parse(&Reply::Array(vec![range]), &Reply::Null, &from).unwrap();
    let mut parts = Vec::new();
    for text in texts {
        let mut words = text.split(' ');
        let name = Command::new(words.next().unwrap());
        split(words.fold(name, Command::arg), &map, 0, &mut parts);
    }
    assert_eq!(parts.len(), texts.len());
    parts
}

/// Runs all parts without a rejection. Returns how many were sent in each round.
fn rounds(texts: &[String], goes_ahead: impl Fn(usize) -> bool) -> Vec<usize> {
    let mut order = Order::new(&parts(texts));
    let mut rounds = Vec::new();
    while !order.is_complete() {
        let round =
            order.next_round(|part| Some(Placement { node: 0, goes_ahead: goes_ahead(part) }));
        round.iter().for_each(|(part, _)| order.finish(*part));
        rounds.push(round.len());
    }
    rounds
}

#[test]
fn parts_that_follow_each_other_go_to_one_node_together() {
    let moves = vec!["LMOVE {u}a {u}b LEFT RIGHT".to_owned(); 3000];
    assert_eq!(rounds(&moves, |_| false), [3000]);
    assert_eq!(rounds(&moves, |part| part == 0), [1, 2999]);
    let texts = ["SET a 1", "GET a", "GET a", "GET b", "SET a 2", "GET a"].map(str::to_owned);
    assert_eq!(rounds(&texts, |_| false), [6]);
    // What reads the same key, or uses another one, does not wait.
    assert_eq!(rounds(&texts, |_| true), [2, 2, 1, 1]);
}

#[test]
fn part_waits_while_one_that_it_follows_goes_to_another_node() {
    let mut order = Order::new(&parts(&["SET k 1", "SET k 2", "SET x 1"].map(str::to_owned)));
    let node = |part: usize| Some(Placement { node: usize::from(part == 0), goes_ahead: false });
    assert_eq!(order.next_round(node), [(0, 1), (2, 0)]);
    order.finish(2);
    assert_eq!(order.next_round(node), [(0, 1)], "rejected");
    order.finish(0);
    assert_eq!(order.next_round(node), [(1, 0)]);
    // A part that no node serves is not waited for.
    let mut order = Order::new(&parts(&["SET k 1", "SET k 2"].map(str::to_owned)));
    let second = |part: usize| (part > 0).then_some(Placement { node: 0, goes_ahead: false });
    assert_eq!(order.next_round(second), [(1, 0)]);
}

/// Scheduling in rounds takes a time that grows with the parts, and not with their square.
#[test]
fn rounds_of_one_part_cost_no_more_with_many_parts() {
    let moves = vec!["LMOVE {u}a {u}b LEFT RIGHT".to_owned(); 10_000];
    let mut order = Order::new(&parts(&moves));
    let mut placed = 0;
    while !order.is_complete() {
        let round = order.next_round(|_| {
            placed += 1;
            Some(Placement { node: 0, goes_ahead: true })
        });
        round.iter().for_each(|(part, _)| order.finish(*part));
    }
    assert_eq!(placed, 10_000);
}

/// What becomes of a part that a node was sent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It is rejected, and never sent again.
    Dropped,
    Rejected,
    Runs,
}

/// Runs parts over two nodes by chance. Returns for each part the round and the node that ran it.
fn run(parts: &[Part], mut chance: impl FnMut(u32) -> u32) -> Vec<Option<(usize, usize)>> {
    let mut order = Order::new(parts);
    let mut ran = vec![None; parts.len()];
    for number in 0.. {
        if order.is_complete() {
            break;
        }
        // In the end every part runs.
        let is_late = number > 3 * parts.len();
        let round = order.next_round(|_| {
            let node = if is_late { 0 } else { usize::from(chance(4) == 0) };
            let is_served = is_late || chance(16) > 0;
            is_served.then(|| Placement { node, goes_ahead: chance(4) == 0 })
        });
        assert!(round.is_sorted() && round.iter().all(|(part, _)| !order.is_finished(*part)));
        for node in 0..2 {
            let members = round.iter().filter(|(_, own)| *own == node).map(|(part, _)| *part);
            let fates: Vec<(usize, Fate)> = members
                .map(|part| match chance(4) {
                    0 if !is_late => (part, Fate::Dropped),
                    1 | 2 if !is_late => (part, Fate::Rejected),
                    _ => (part, Fate::Runs),
                })
                .collect();
            let answers: Vec<(usize, bool)> =
                fates.iter().map(|(part, fate)| (*part, *fate != Fate::Runs)).collect();
            let overtaken: HashSet<usize> = overtaken(&answers, parts);
            for (part, fate) in fates {
                if fate == Fate::Runs {
                    assert_eq!(ran[part].replace((number, node)), None, "it runs once");
                }
                if fate != Fate::Rejected || overtaken.contains(&part) {
                    order.finish(part);
                }
            }
        }
    }
    ran
}

fn conflicts(one: &Part, other: &Part) -> bool {
    (one.writes || other.writes)
        && keys(&one.command).iter().any(|key| keys(&other.command).contains(key))
}

proptest! {
    #[test]
    fn no_part_runs_before_one_that_it_follows(
        texts in prop::collection::vec(prop::sample::select(&COMMANDS[..]), 1..12),
        seed: u64,
    ) {
        let parts = parts(&texts.into_iter().map(str::to_owned).collect::<Vec<_>>());
        let mut state = seed;
        let ran = run(&parts, |sides| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            u32::try_from(state >> 33).unwrap() % sides
        });
        for (later, part) in parts.iter().enumerate() {
            let Some((round, node)) = ran[later] else { continue };
            for earlier in (0..later).filter(|earlier| conflicts(&parts[*earlier], part)) {
                let Some((before, there)) = ran[earlier] else { continue };
                prop_assert!(before < round || (before, there) == (round, node), "{ran:?}");
            }
        }
    }
}

const COMMANDS: [&str; 8] = [
    "GET {t}a",
    "GET {t}b",
    "LMOVE {t}a {t}b LEFT RIGHT",
    "LMOVE {t}b {t}c LEFT RIGHT",
    "LMOVE {t}c {t}c LEFT RIGHT",
    "SET {t}a 1",
    "SET {t}b 1",
    "SINTER {t}a {t}c",
];
