//! Refreshes through the edge, before an auth service that accepts each token once and has no grace
//! period. Two tabs, lost responses, slow auth services and dead lease holders must not end a
//! session; a revocation must.

mod cookies;
mod coordination;
mod outages;
mod responses;
mod revocation;
mod scene;
