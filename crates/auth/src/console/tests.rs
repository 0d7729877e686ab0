//! Tests of the console over a real router and database.
