//! A verified token: the part that a host may cache.

use super::claims::Claims;
use super::received::bounded;
use super::record::TokenRecord;
use super::revocation::{self, RevocationMarker};
use crate::policy::observability::LogSubject;
use crate::refusal::Outage;
use crate::store::keys::StoreKeys;
use crate::store::seal::Seal;
use crate::token_hash::TokenHash;
use redis_rest::{Command, Reply};
use std::cell::RefCell;
use std::rc::Rc;

/// A token whose signature or record was verified, with its claims.
#[derive(Debug)]
pub struct VerifiedToken {
    hash: TokenHash,
    issuer: usize,
    claims: Claims,
    /// The store's command for the markers that could refuse it.
    markers: Command,
    /// The store's key of its record.
    record_key: String,
    /// The last opened record with its stored text, which need not be opened again.
    opened: RefCell<Option<(String, Rc<TokenRecord>)>>,
    /// The record that an API key's claims were read from; `None` for other tokens.
    known: Option<Rc<TokenRecord>>,
}

impl VerifiedToken {
    /// Creates a verified token. The caller must have verified it.
    pub(crate) fn new(keys: &StoreKeys, hash: TokenHash, issuer: usize, claims: Claims) -> Self {
        let (markers, record_key) = (revocation::query(keys, &claims), keys.token(&hash));
        let opened = RefCell::default();
        Self { hash, issuer, claims, markers, record_key, opened, known: None }
    }

    /// Creates a verified API key from its record. `text` is how the store has the record; empty if
    /// its issuer returned it.
    pub(crate) fn of_key(
        keys: &StoreKeys,
        hash: TokenHash,
        issuer: usize,
        claims: Claims,
        (text, record): (String, Rc<TokenRecord>),
    ) -> Self {
        let known = Some(Rc::clone(&record));
        let opened = RefCell::new(Some((text, record)));
        Self { opened, known, ..Self::new(keys, hash, issuer, claims) }
    }

    /// Returns whether it is an API key.
    pub fn is_api_key(&self) -> bool {
        self.known.is_some()
    }

    /// Returns the record that an API key's claims were read from.
    pub(crate) fn known(&self) -> Option<&Rc<TokenRecord>> {
        self.known.as_ref()
    }

    /// Returns an opened record with its stored text, which is empty if the store had none.
    pub(crate) fn with_text(&self, record: &Rc<TokenRecord>) -> (String, Rc<TokenRecord>) {
        let opened = self.opened.borrow();
        let same = opened.as_ref().filter(|(_, own)| Rc::ptr_eq(own, record));
        same.cloned().unwrap_or_else(|| (String::new(), Rc::clone(record)))
    }

    /// Returns the token's hash.
    pub fn hash(&self) -> TokenHash {
        self.hash
    }

    /// Returns the place of its issuer in the policy.
    pub fn issuer(&self) -> usize {
        self.issuer
    }

    /// Returns its approximate size in memory, in bytes.
    pub fn bytes(&self) -> usize {
        let words = self.markers.words().iter();
        let markers: usize = words.map(|word| size_of::<Vec<u8>>() + word.len()).sum();
        // The record of an API key is kept whole.
        let opened = self.opened.borrow();
        let text = opened.as_ref().filter(|_| self.is_api_key()).map_or(0, |(text, _)| text.len());
        self.claims.bytes() + markers + self.record_key.len() + OPENED_BYTES_MAX + text * 3
    }

    /// Returns the store's command that fetches the markers which could refuse the token.
    pub fn marker_query(&self) -> Command {
        self.markers.clone()
    }

    /// Returns the marker in the store's reply to [`VerifiedToken::marker_query`] that refuses it,
    /// if there is one.
    ///
    /// # Errors
    ///
    /// [`Outage::StoreBadResponse`] if the reply does not fit the query.
    pub fn refusing_marker(&self, reply: &Reply) -> Result<Option<RevocationMarker>, Outage> {
        revocation::find(&self.claims, reply)
    }

    /// Returns its subject for the log, at most 200 bytes; `None` if the policy logs none.
    pub fn logged_subject(&self, subject: LogSubject) -> Option<String> {
        match subject {
            LogSubject::None => None,
            LogSubject::Plain => Some(bounded(&self.claims.sub)),
            LogSubject::Hash => {
                // The same hash as in the key of the subject's marker, so that an operator can find
                // the marker.
                let hash = self.markers.text(1)?.rsplit(':').next()?;
                Some(hash.to_owned())
            }
        }
    }

    /// Returns the claims.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Returns the store's keys of its markers.
    pub(crate) fn marker_keys(&self) -> impl Iterator<Item = &[u8]> {
        self.markers.words().iter().skip(1).map(Vec::as_slice)
    }

    /// Returns the store's key of its record.
    pub(crate) fn record_key(&self) -> &str {
        &self.record_key
    }

    /// Opens the record that the store has under `key`. Returns `None` if it can't be read. A
    /// response of an API key's issuer has no text, and stands for none in the store.
    pub(crate) fn open(
        &self,
        text: &str,
        key: &str,
        seal: Option<&Seal>,
    ) -> Option<Rc<TokenRecord>> {
        let opened = self.opened.borrow();
        if let Some((_, record)) =
            opened.as_ref().filter(|(sealed, _)| sealed == text && !text.is_empty())
        {
            return Some(Rc::clone(record));
        }
        drop(opened);
        let is_own = |record: &TokenRecord| !self.is_api_key() || record.is_of_key();
        let record = Rc::new(TokenRecord::decode(text, key, seal).filter(is_own)?);
        if text.len() <= OPENED_BYTES_MAX / 2 || self.is_api_key() {
            self.opened.replace(Some((text.to_owned(), Rc::clone(&record))));
        }
        Some(record)
    }
}

/// The memory that is reserved for a token's record, encrypted and decrypted.
const OPENED_BYTES_MAX: usize = 1024;
