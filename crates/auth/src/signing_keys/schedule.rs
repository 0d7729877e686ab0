//! The schedule of signing keys: which keys to generate, activate and delete, and when.

use super::algorithm::KeyAlgorithm;
use crate::db::KeyRow;
use crate::token::ACCESS_TOKEN_SECONDS_MAX;
use portcullis_core::{Seal, UnixSeconds};

/// The settings of signing keys.
#[derive(Clone)]
pub struct SigningSettings {
    /// The key that encrypts the signing keys in the database.
    pub master_key: Seal,
    pub algorithm: KeyAlgorithm,
    /// How long a key signs; 0 means until an operator rotates the keys.
    pub key_seconds: u64,
}

/// The role of a key at a given time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeyRole {
    Next,
    Current,
    Previous,
}

impl KeyRole {
    /// Returns the name in responses and in the output of commands.
    pub fn name(self) -> &'static str {
        match self {
            Self::Next => "next",
            Self::Current => "current",
            Self::Previous => "previous",
        }
    }
}

/// The changes that are due.
#[derive(Debug, Default, Eq, PartialEq)]
pub struct KeyPlan {
    /// Generations to delete: their last token has expired, or they have the wrong algorithm.
    pub delete: Vec<u64>,
    /// The key to generate.
    pub create: Option<KeyActivation>,
    /// The key whose activation is moved.
    pub reschedule: Option<Rescheduling>,
}

/// When a key begins to sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeyActivation {
    pub generation: u64,
    pub active_from: u64,
}

/// A change of the time when a key begins to sign.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rescheduling {
    pub generation: u64,
    pub before: u64,
    pub after: u64,
}

impl Rescheduling {
    fn new(row: &KeyRow, after: u64) -> Self {
        Self { generation: row.generation, before: row.active_from, after }
    }
}

/// Returns the role of `key` among `rows`.
pub fn key_role(key: &KeyRow, rows: &[KeyRow], now: UnixSeconds) -> KeyRole {
    if key.active_from > now.0 {
        return KeyRole::Next;
    }
    match current(rows, now).is_some_and(|current| current.generation == key.generation) {
        true => KeyRole::Current,
        false => KeyRole::Previous,
    }
}

/// Returns the changes that are due for the keys in the database.
pub fn plan(rows: &[KeyRow], settings: &SigningSettings, now: UnixSeconds) -> KeyPlan {
    let mut plan = KeyPlan::default();
    let Some(current) = current(rows, now) else {
        // All keys lie in the future only if a clock was set back.
        match rows.iter().min_by_key(|row| row.generation) {
            Some(first) => plan.reschedule = Some(Rescheduling::new(first, now.0)),
            None => plan.create = Some(KeyActivation { generation: 1, active_from: now.0 }),
        }
        return plan;
    };
    for row in rows.iter().filter(|row| row.generation < current.generation) {
        if verifies_until(row, rows).is_some_and(|at| at <= now.0) {
            plan.delete.push(row.generation);
        }
    }
    let scheduled = match settings.key_seconds {
        0 => NEVER,
        seconds => current.active_from.saturating_add(seconds),
    };
    let active_from = scheduled.max(now.0 + PUBLISH_SECONDS);
    match rows.iter().find(|row| row.generation > current.generation) {
        Some(next) if next.algorithm != settings.algorithm.name() => {
            // Another process may be about to sign with one that is nearer.
            if next.active_from > now.0 + SIGNS_SOON_SECONDS {
                plan.delete.push(next.generation);
            }
        }
        Some(next) if active_from < next.active_from => {
            plan.reschedule = Some(Rescheduling::new(next, active_from));
        }
        // `active_from` can't be used here: it moves on with the time if the rotation is overdue.
        Some(next) if scheduled > next.active_from => {
            plan.reschedule = Some(Rescheduling::new(next, scheduled));
        }
        Some(_) => {}
        None => {
            let generation = current.generation + 1;
            plan.create = Some(KeyActivation { generation, active_from });
        }
    }
    plan
}

/// Returns when the last token of `key` has expired; `None` if no later key is there.
pub fn verifies_until(key: &KeyRow, rows: &[KeyRow]) -> Option<u64> {
    let successors = rows.iter().filter(|other| other.generation > key.generation);
    let retired_at = successors.map(|other| other.active_from).min()?;
    Some(retired_at.saturating_add(ACCESS_TOKEN_SECONDS_MAX + LEEWAY_SECONDS))
}

fn current(rows: &[KeyRow], now: UnixSeconds) -> Option<&KeyRow> {
    rows.iter().filter(|row| row.active_from <= now.0).max_by_key(|row| row.generation)
}

/// How long a key is published before it signs: longer than verifiers cache key sets.
pub const PUBLISH_SECONDS: u64 = 900;
/// The largest leeway that an edge may grant, plus a minute.
const LEEWAY_SECONDS: u64 = 360;
/// Within which time another process may sign with a key: above the pause between two readings of
/// the keys, by clocks that differ.
const SIGNS_SOON_SECONDS: u64 = 60;
/// The end of the year 9999.
const NEVER: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(algorithm: KeyAlgorithm, key_seconds: u64) -> SigningSettings {
        let master_key = Seal::new(&format!("m:{}", "A".repeat(43)), None).unwrap();
        SigningSettings { master_key, algorithm, key_seconds }
    }

    fn row(generation: u64, active_from: u64) -> KeyRow {
        let text = String::new;
        KeyRow {
            generation,
            kid: generation.to_string(),
            algorithm: "EdDSA".into(),
            public_jwk: text(),
            sealed: text(),
            created_at: 0,
            active_from,
        }
    }

    fn activation(generation: u64, active_from: u64) -> Option<KeyActivation> {
        Some(KeyActivation { generation, active_from })
    }

    #[test]
    fn plan_keeps_a_next_key_and_deletes_expired_ones() {
        let settings_eddsa = settings(KeyAlgorithm::EdDsa, 10_000);
        let check = |rows: &[KeyRow], now: u64, expect: KeyPlan| {
            assert_eq!(plan(rows, &settings_eddsa, UnixSeconds(now)), expect, "{rows:?} at {now}");
        };
        let none = KeyPlan::default;
        check(&[], 50, KeyPlan { create: activation(1, 50), ..none() });
        check(&[row(1, 50)], 50, KeyPlan { create: activation(2, 10_050), ..none() });
        // While no service ran, the rotation became due. The next key is still published before it
        // signs.
        check(&[row(1, 50)], 20_000, KeyPlan { create: activation(2, 20_900), ..none() });
        let two = [row(1, 50), row(2, 10_050)];
        check(&two, 60, none());
        check(&two, 10_050, KeyPlan { create: activation(3, 20_050), ..none() });
        let three = [row(1, 50), row(2, 10_050), row(3, 200_000)];
        let end = 10_050 + ACCESS_TOKEN_SECONDS_MAX + LEEWAY_SECONDS;
        let move_to = |generation, before, after| Some(Rescheduling { generation, before, after });
        let reschedule = move_to(3, 200_000, end - 1 + PUBLISH_SECONDS);
        check(&three, end - 1, KeyPlan { reschedule, ..none() });
        let reschedule = move_to(3, 200_000, end + PUBLISH_SECONDS);
        check(&three, end, KeyPlan { delete: vec![1], reschedule, create: None });
        let reschedule = move_to(2, 10_050, 60);
        check(&[row(2, 10_050)], 60, KeyPlan { reschedule, ..none() });
        let manual = settings(KeyAlgorithm::EdDsa, 0);
        let created = plan(&[row(1, 50)], &manual, UnixSeconds(u64::from(u32::MAX)));
        assert_eq!(created.create, activation(2, NEVER));
        let other = settings(KeyAlgorithm::Es256, 10_000);
        assert_eq!(plan(&two, &other, UnixSeconds(60)).delete, [2]);
        assert_eq!(plan(&two, &other, UnixSeconds(9989)).delete, [2]);
        assert_eq!(plan(&two, &other, UnixSeconds(9990)), none(), "may sign soon");
        assert_eq!(key_role(&two[0], &two, UnixSeconds(10_049)), KeyRole::Current);
        assert_eq!(key_role(&two[0], &two, UnixSeconds(10_050)), KeyRole::Previous);
        assert_eq!(key_role(&two[1], &two, UnixSeconds(10_049)), KeyRole::Next);
    }
}
