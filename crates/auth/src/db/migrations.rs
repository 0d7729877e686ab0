//! The migrations of both databases.
//!
//! `sqlx::migrate!` could embed them, too. But its macro crate would compile both database drivers
//! a second time, for the build machine.

use sqlx::SqlStr;
use sqlx::migrate::{Migration, MigrationType, Migrator};

/// One migration: version, description, and the text for one database.
macro_rules! migration {
    ($folder:literal, $version:literal, $description:literal, $file:literal) => {
        Migration::new(
            $version,
            $description.into(),
            MigrationType::Simple,
            SqlStr::from_static(include_str!(concat!("../../migrations/", $folder, "/", $file))),
            false,
        )
    };
}

macro_rules! migrations {
    ($folder:literal) => {
        Migrator::with_migrations(vec![
            migration!($folder, 1, "start", "0001_start.sql"),
            migration!($folder, 2, "access hash", "0002_access_hash.sql"),
            migration!($folder, 3, "sessions end to end", "0003_sessions_end_to_end.sql"),
            migration!($folder, 4, "api keys", "0004_api_keys.sql"),
            migration!($folder, 5, "clients and claims", "0005_clients_and_claims.sql"),
            migration!($folder, 6, "blocks and quotas", "0006_blocks_and_quotas.sql"),
            migration!($folder, 7, "usage", "0007_usage.sql"),
            migration!($folder, 8, "series", "0008_series.sql"),
            migration!($folder, 9, "console", "0009_console.sql"),
            migration!($folder, 10, "console lists", "0010_console_lists.sql"),
            migration!($folder, 11, "revoked tokens", "0011_revoked_tokens.sql"),
        ])
    };
}

/// Returns the migrations of SQLite.
pub(super) fn sqlite() -> Migrator {
    migrations!("sqlite")
}

/// Returns the migrations of Postgres.
pub(super) fn postgres() -> Migrator {
    migrations!("postgres")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_file_of_the_folder_is_embedded_in_order() {
        for (folder, migrator) in [("sqlite", sqlite()), ("postgres", postgres())] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations").join(folder);
            let mut names: Vec<String> = fs::read_dir(path)
                .unwrap()
                .map(|file| file.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            let embedded = migrator.iter().map(|migration| {
                format!("{:04}_{}.sql", migration.version, migration.description.replace(' ', "_"))
            });
            assert_eq!(names, embedded.collect::<Vec<_>>(), "{folder}");
        }
    }
}
