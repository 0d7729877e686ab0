//! The migrations, embedded in the program.
//!
//! `sqlx::migrate!` would embed them as well. But its crate of macros compiles both database drivers
//! a second time, for the machine that builds.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// Returns the migrations of SQLite.
pub fn sqlite() -> Migrator {
    migrator([
        include_str!("../../migrations/sqlite/0001_start.sql"),
        include_str!("../../migrations/sqlite/0002_access_hash.sql"),
        include_str!("../../migrations/sqlite/0003_sessions_end_to_end.sql"),
    ])
}

/// Returns the migrations of Postgres.
pub fn postgres() -> Migrator {
    migrator([
        include_str!("../../migrations/postgres/0001_start.sql"),
        include_str!("../../migrations/postgres/0002_access_hash.sql"),
        include_str!("../../migrations/postgres/0003_sessions_end_to_end.sql"),
    ])
}

fn migrator(texts: [&'static str; DESCRIPTIONS.len()]) -> Migrator {
    let migrations = (1..).zip(DESCRIPTIONS).zip(texts).map(|((version, description), text)| {
        let text = SqlStr::from_static(text);
        Migration::new(version, description.into(), MigrationType::Simple, text, false)
    });
    Migrator::with_migrations(migrations.collect())
}

/// The descriptions by version, as the files are named. Databases keep them, so they never change.
const DESCRIPTIONS: [&str; 3] = ["start", "access hash", "sessions end to end"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[tokio::test]
    async fn embedded_migrations_are_those_of_the_folders() {
        for (folder, embedded) in [("sqlite", sqlite()), ("postgres", postgres())] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let read = Migrator::new(folder).await.unwrap();
            let facts = |migrator: &Migrator| -> Vec<_> {
                let facts =
                    |one: &Migration| (one.version, one.description.clone(), one.checksum.clone());
                migrator.iter().map(facts).collect()
            };
            assert_eq!(facts(&embedded), facts(&read));
        }
    }
}
