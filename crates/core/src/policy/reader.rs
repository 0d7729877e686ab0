//! Reads settings of each kind, and collects what is wrong with them.

use super::error::{ConfigError, ConfigErrorKind};
use super::members::ObjectReader;
use super::{LogPolicy, is_safe_name};
use crate::secret::Secret;
use crate::store::address::StoreAddress;
use crate::store::seal::Seal;
use crate::url::BaseUrl;
use crate::json;
use crate::store::keys::StoreKeys;
use serde_json::Value;

pub(crate) struct SettingsReader<'l> {
    lookup: &'l dyn Fn(&str) -> Option<String>,
    pub(crate) errors: Vec<ConfigError>,
}

impl<'l> SettingsReader<'l> {
    pub(crate) fn new(lookup: &'l dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, errors: Vec::new() }
    }

    pub(crate) fn report(&mut self, name: impl Into<String>, kind: ConfigErrorKind) {
        self.errors.push(ConfigError { name: name.into(), kind });
    }

    /// Whether something is wrong with a setting, or within it.
    pub(crate) fn has_error(&self, name: &str) -> bool {
        self.errors.iter().any(|error| error.name.starts_with(name))
    }

    pub(crate) fn optional(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|text| !text.trim().is_empty())
    }

    pub(crate) fn required(&mut self, name: &str) -> Option<String> {
        let text = self.optional(name);
        if text.is_none() {
            self.report(name, ConfigErrorKind::Missing);
        }
        text
    }

    pub(crate) fn url(&mut self, name: &str) -> Option<BaseUrl> {
        let text = self.required(name)?;
        let url = BaseUrl::parse(&text);
        if url.is_none() {
            self.report(name, ConfigErrorKind::NotAUrl);
        }
        url
    }

    /// Where the store is. One that is a memcached needs no token.
    pub(crate) fn store(&mut self) -> Option<StoreAddress> {
        if !self.has_scripts() {
            let address = memcached::Address::parse(&self.required("STORE_URL")?);
            if address.is_none() {
                self.report("STORE_URL", ConfigErrorKind::NotAMemcached);
            }
            return address.map(StoreAddress::Memcached);
        }
        let (url, token) = (self.url("STORE_URL"), self.required("STORE_TOKEN"));
        // A secret that comes from a file has its line's end.
        let token = token.map(|token| token.trim().to_owned());
        if token.as_ref().is_some_and(|token| !token.bytes().all(|b| b.is_ascii_graphic())) {
            self.report("STORE_TOKEN", ConfigErrorKind::NotAToken);
        }
        Some(StoreAddress::Rest { url: url?, token: Secret::new(token?) })
    }

    /// Whether the store can run scripts and keep more than values.
    pub(crate) fn has_scripts(&self) -> bool {
        !self.optional("STORE_URL").is_some_and(|text| text.trim().starts_with("memcached"))
    }

    pub(crate) fn number(&mut self, name: &str, default: u32, least: u32, most: u32) -> u32 {
        let Some(text) = self.optional(name) else {
            return default;
        };
        match text.trim().parse() {
            Ok(number) if (least..=most).contains(&number) => number,
            _ => {
                self.report(name, ConfigErrorKind::NotInRange(least, most));
                default
            }
        }
    }

    pub(crate) fn flag(&mut self, name: &str) -> bool {
        match self.optional(name).as_deref() {
            None | Some("false") => false,
            Some("true") => true,
            Some(_) => {
                self.report(name, ConfigErrorKind::NotOneOf("true, false".to_owned()));
                false
            }
        }
    }

    pub(crate) fn prefix(&mut self) -> StoreKeys {
        let prefix = self.optional("KEY_PREFIX");
        let prefix = prefix.as_deref().unwrap_or(StoreKeys::PREFIX);
        if !is_safe_name(prefix) {
            self.report("KEY_PREFIX", ConfigErrorKind::UnsafeName);
        }
        StoreKeys::new(prefix)
    }

    pub(crate) fn log(&mut self) -> LogPolicy {
        match self.optional("LOG").as_deref() {
            None | Some("all") => LogPolicy::All,
            Some("refused") => LogPolicy::Refused,
            Some(_) => {
                self.report("LOG", ConfigErrorKind::NotOneOf("all, refused".to_owned()));
                LogPolicy::All
            }
        }
    }

    /// A JSON value, if the setting is there.
    fn json(&mut self, name: &str) -> Option<Value> {
        let text = self.optional(name)?;
        match json::value(text.as_bytes()) {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(name, ConfigErrorKind::Shape(error.to_string()));
                None
            }
        }
    }

    /// A JSON object, if the setting is there.
    pub(crate) fn object(&mut self, name: &str) -> Option<ObjectReader<'_, 'l>> {
        let value = self.json(name)?;
        ObjectReader::of(self, name.to_owned(), value)
    }

    /// The entries of a JSON list, each with its place.
    pub(crate) fn list(&mut self, name: &str) -> Vec<(String, Value)> {
        let Some(value) = self.json(name) else {
            return Vec::new();
        };
        let Value::Array(values) = value else {
            self.report(name, ConfigErrorKind::NotA("a list"));
            return Vec::new();
        };
        if values.is_empty() {
            self.report(name, ConfigErrorKind::Empty);
        }
        let place = |(place, value)| (format!("{name}[{place}]"), value);
        values.into_iter().enumerate().map(place).collect()
    }

    /// The same of a list that must be there.
    pub(crate) fn required_list(&mut self, name: &str) -> Vec<(String, Value)> {
        if self.required(name).is_none() {
            return Vec::new();
        }
        self.list(name)
    }

    /// An object in such a list.
    pub(crate) fn entry(
        &mut self,
        (place, value): (String, Value),
    ) -> Option<ObjectReader<'_, 'l>> {
        ObjectReader::of(self, place, value)
    }

    /// `RECORD_ENCRYPTION_KEY` and `RECORD_ENCRYPTION_KEY_PREVIOUS`.
    pub(crate) fn seal(&mut self) -> Option<Seal> {
        let (current, previous) = (
            self.optional("RECORD_ENCRYPTION_KEY"),
            self.optional("RECORD_ENCRYPTION_KEY_PREVIOUS"),
        );
        let Some(current) = current else {
            if previous.is_some() {
                self.report("RECORD_ENCRYPTION_KEY", ConfigErrorKind::Missing);
            }
            return None;
        };
        let mut good = true;
        for (name, text) in [
            ("RECORD_ENCRYPTION_KEY", Some(&current)),
            ("RECORD_ENCRYPTION_KEY_PREVIOUS", previous.as_ref()),
        ] {
            if text.is_some_and(|text| !Seal::is_key(text)) {
                self.report(name, ConfigErrorKind::NotARecordEncryptionKey);
                good = false;
            }
        }
        if !good {
            return None;
        }
        let seal = Seal::new(&current, previous.as_deref());
        if seal.is_none() {
            self.report("RECORD_ENCRYPTION_KEY_PREVIOUS", ConfigErrorKind::Duplicate);
        }
        seal
    }
}
