//! Usage: how many requests each caller made, counted by the edge and added up by the auth service.

pub(crate) mod batch;
pub(crate) mod counts;
