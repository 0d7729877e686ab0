//! Tests of the rules of sessions, on SQLite and on Postgres.

mod issue;
mod login;
mod password;
mod refresh;
mod revoke;
