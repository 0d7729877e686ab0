//! Tests of the console over its router and a database.

pub mod harness;

mod assets;
mod domain;
mod guard;
mod logins;
mod series;
mod sessions;
