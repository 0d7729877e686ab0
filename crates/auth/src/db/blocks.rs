//! Blocks of subjects, clients, API keys, addresses and networks.

pub mod change;

use super::copied::sample_statement;
use super::pool::{Db, Purpose, Tx, to_i64};
use crate::token::token_hash;
use portcullis_core::UnixSeconds;
use sqlx::Row as _;
use sqlx::any::AnyRow;

/// What a block refuses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum BlockKind {
    /// An IPv4 address or the /64 of an IPv6 address.
    Address,
    /// An OAuth client.
    Client,
    /// An API key, by its id.
    Key,
    /// A network, which is only in the list of networks.
    Network,
    /// A subject.
    Subject,
}

impl BlockKind {
    const ALL: [Self; 5] = [Self::Address, Self::Client, Self::Key, Self::Network, Self::Subject];

    /// Returns the name in the database and in the store's keys.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Client => "client",
            Self::Key => "key",
            Self::Network => "network",
            Self::Subject => "subject",
        }
    }

    /// Returns whether the list of blocked networks has blocks of this kind.
    pub fn is_in_list(self) -> bool {
        matches!(self, Self::Address | Self::Network)
    }
}

/// The caller, or the network, that a block refuses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockTarget {
    pub kind: BlockKind,
    /// The issuer of a subject, a client or a key; empty for addresses.
    pub issuer: String,
    pub name: String,
}

impl BlockTarget {
    /// Returns the id of the block's row.
    pub fn id(&self) -> String {
        format!("{}:{}", self.kind.name(), self.hash())
    }

    pub(super) fn hash(&self) -> String {
        token_hash(&format!("{}\n{}", self.issuer, self.name))
    }
}

/// A block, which may be over.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Block {
    pub target: BlockTarget,
    pub reason: String,
    /// The end, in Unix seconds.
    pub ends_at: u64,
    pub created_at: u64,
    pub changed_at: u64,
    /// When it was cleared, or its end was processed.
    pub cleared_at: Option<u64>,
    /// Who set or cleared it last.
    pub actor: String,
}

impl Block {
    /// Returns whether it applies at `now`.
    pub fn is_live(&self, now: UnixSeconds) -> bool {
        self.cleared_at.is_none() && self.ends_at > now.0
    }

    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let number = |name| row.try_get::<i64, _>(name).map(i64::unsigned_abs);
        let name: String = row.try_get("kind")?;
        let kind = BlockKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or_else(|| sqlx::Error::Decode("unknown kind of block".into()))?;
        let (issuer, name) = (row.try_get("issuer")?, row.try_get("name")?);
        Ok(Self {
            target: BlockTarget { kind, issuer, name },
            reason: row.try_get("reason")?,
            ends_at: number("ends_at")?,
            created_at: number("created_at")?,
            changed_at: number("changed_at")?,
            cleared_at: row.try_get::<Option<i64>, _>("cleared_at")?.map(i64::unsigned_abs),
            actor: row.try_get("actor")?,
        })
    }
}

/// An entry of the list of blocked networks: an address or a network.
pub struct BlockedNetwork {
    pub name: String,
    /// The end, in Unix seconds.
    pub ends_at: u64,
}

impl BlockedNetwork {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        let ends_at: i64 = row.try_get("ends_at")?;
        Ok(Self { name: row.try_get("name")?, ends_at: ends_at.unsigned_abs() })
    }
}

impl Db {
    /// Returns at most `limit` blocks that apply at `now`, those with ids after `after`.
    pub async fn blocks(
        &self,
        after: &str,
        limit: u32,
        now: UnixSeconds,
    ) -> Result<Vec<Block>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(
            "SELECT kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at, actor
             FROM blocks WHERE id > $1 AND cleared_at IS NULL AND ends_at > $2
             AND kind IN ('address', 'client', 'key', 'network', 'subject') ORDER BY id LIMIT $3",
        )
        .bind(after)
        .bind(to_i64(now.0))
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Block::read).collect()
    }

    /// Returns the block with an id, which may be over.
    pub async fn block(&self, id: &str) -> Result<Option<Block>, sqlx::Error> {
        self.count(Purpose::Request);
        let row = sqlx::query(
            "SELECT kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at, actor
             FROM blocks WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(&self.readers)
        .await?;
        row.as_ref().map(Block::read).transpose()
    }

    /// Returns the list of blocked networks.
    pub async fn blocked_networks(&self) -> Result<Vec<BlockedNetwork>, sqlx::Error> {
        self.count(Purpose::Outbox);
        let rows = sqlx::query(NETWORKS).fetch_all(&self.readers).await?;
        rows.iter().map(BlockedNetwork::read).collect()
    }

    /// Returns the list of blocked networks, as a transaction sees it.
    async fn networks_in(&self, tx: &mut Tx) -> Result<Vec<BlockedNetwork>, sqlx::Error> {
        self.count(Purpose::Request);
        let rows = sqlx::query(NETWORKS).fetch_all(&mut **tx).await?;
        rows.iter().map(BlockedNetwork::read).collect()
    }

    /// Returns at most `limit` blocks, also those that are over, which were changed after `place`:
    /// a time and an id.
    pub async fn changed_blocks(
        &self,
        place: (u64, &str),
        limit: u32,
    ) -> Result<Vec<Block>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(
            "SELECT kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at, actor
             FROM blocks WHERE (changed_at > $1 OR (changed_at = $1 AND id > $2))
             AND kind IN ('address', 'client', 'key', 'network', 'subject')
             ORDER BY changed_at, id LIMIT $3",
        )
        .bind(to_i64(place.0))
        .bind(place.1)
        .bind(i64::from(limit))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Block::read).collect()
    }

    /// Returns some blocks that the store should have, which were not changed after
    /// `changed_before` and do not end before `ends_after`: the first ones after a random hash, and
    /// then the first of all.
    pub async fn sample_blocks(
        &self,
        hash: &str,
        changed_before: u64,
        ends_after: u64,
    ) -> Result<Vec<Block>, sqlx::Error> {
        self.count(Purpose::Maintenance);
        let rows = sqlx::query(sample_statement(
            "kind, issuer, name, reason, ends_at, created_at, changed_at, cleared_at, actor",
            "blocks",
            "cleared_at IS NULL AND changed_at < $2 AND ends_at > $3
             AND kind IN ('address', 'client', 'key', 'network', 'subject')",
        ))
        .bind(hash)
        .bind(to_i64(changed_before))
        .bind(to_i64(ends_after))
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(Block::read).collect()
    }
}

/// The blocks of the list, in a fixed order. Blocks whose end was not yet processed are among them,
/// but give way to others.
const NETWORKS: &str = "SELECT name, ends_at FROM blocks
    WHERE cleared_at IS NULL AND kind IN ('address', 'network')
    ORDER BY ends_at DESC, id LIMIT 1000";
/// The most live blocks of addresses and networks.
pub const NETWORKS_MAX: i64 = 1000;
