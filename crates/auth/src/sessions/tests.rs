//! Tests of the rules of sessions, on SQLite and on Postgres.

mod clients;
mod issue;
mod login;
mod password;
mod refresh;
mod revoke;
mod users;
