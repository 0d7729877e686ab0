//! The database: all SQL of the service. One text serves SQLite and Postgres.
//!
//! Each change is one transaction: its rows, its commands for the store in the outbox, and its
//! events in the audit.

mod api_keys;
mod audit;
mod blocks;
mod clients;
mod console_sessions;
mod copied;
mod filter;
mod limits;
mod list_place;
mod maintenance;
mod migrations;
mod outbox;
mod pool;
mod revocations;
mod series;
mod sessions;
mod signing_keys;
mod usage;
mod users;

pub use api_keys::change::{KeyChange, RolledSecret};
pub use api_keys::create::NewApiKey;
pub use api_keys::queries::KeySelector;
pub use api_keys::usage::EACH_SECONDS;
pub use api_keys::{
    ApiKey, KEY_RECORD_SECONDS, KeySecret, KeySpec, KeyState, Owner, OwnerKind, OwnerState,
};
pub use audit::AuditedChange;
pub use audit::search::{AuditEntry, AuditSearch};
pub use blocks::change::{ABOUT_BLOCK, ABOUT_NETWORKS, BlockCommands, BlockSet, about_block};
pub use blocks::{Block, BlockKind, BlockTarget, BlockedNetwork};
pub use clients::tokens::{ClientGrant, NewClientToken, UsedCredential};
pub use clients::{Changed, ClientChange, NewSecret};
pub use console_sessions::NewConsoleSession;
pub use copied::Copied;
pub use limits::LimitCaller;
pub use limits::credits::{ABOUT_CREDITS, CreditBalance, CreditGrant, Granted, about_credits};
pub use limits::quotas::{ABOUT_QUOTA, QuotaOverride, about_quota};
pub use list_place::ListPlace;
pub use outbox::OutboxRow;
pub use pool::{Db, Migrate};
pub use revocations::{Revocation, RevocationKind};
pub use series::{Counters, EdgeCounts, SeriesState, add_counters};
pub use sessions::Session;
pub use sessions::begin::NewSession;
pub use sessions::end::{EndedSession, RevokedToken, SessionSelector};
pub use sessions::issued::{IssuedTokens, TokenHolder};
pub use sessions::rotate::{RefreshRequest, Rotation};
pub use sessions::search::{ListedSession, SessionSearch};
pub use signing_keys::KeyRow;
pub use usage::{
    QuotaUsage, UsageColumn, UsageFilter, UsagePage, UsageQuery, UsageTotals, UsageValue, key_uses,
};
pub use users::edit::UserChange;
pub use users::search::{ListedUser, NamePlace, UserSearch};
pub use users::{PasswordChange, User};

#[cfg(test)]
mod tests;
