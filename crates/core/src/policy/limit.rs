//! Rate limits, as routes have them.

/// A rate limit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Limit {
    /// The name in the store's keys, in logs and in the `RateLimit` fields.
    pub name: String,
    /// How requests are counted over time.
    pub algorithm: Algorithm,
    /// Requests per window or period, 1 to 1,000,000; 0 for credits without a refill.
    pub quota: u32,
    /// The window, 1 to 86,400 seconds; of a period, the length of the longest one.
    pub window_seconds: u32,
    /// The period by the calendar, instead of a window; `None` for credits without a refill, too.
    pub period: Option<Period>,
    /// Whether the store may have another quota for one caller.
    pub overrides: bool,
    /// The most requests at once, 1 to 1,000,000, if the algorithm has a burst; `None` for the
    /// quota.
    pub burst: Option<u32>,
    /// The parts of the key that is counted.
    pub by: Vec<LimitBy>,
    /// Other quotas, by the value of a claim.
    pub plans: Option<Plans>,
    /// Whether the limit counts and logs, but refuses no request.
    pub shadow: bool,
    /// Whether responses to admitted requests carry the `RateLimit` fields
    /// (draft-ietf-httpapi-ratelimit-headers-11), too.
    pub headers: bool,
    /// What applies while the store can't count.
    pub on_store_outage: LimitOutage,
    /// The quota of one isolate while the store can't count; `None` for the quota.
    pub local_quota: Option<u32>,
    /// When the store counts.
    pub timing: LimitTiming,
}

/// How requests are counted over time.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Algorithm {
    /// A window begins with its first request, and has the whole quota.
    FixedWindow,
    /// The generic cell rate algorithm: one request each `window / quota` on average, `burst` at
    /// once.
    #[default]
    Gcra,
    /// The count of this window, plus the share of the previous one within a window's length.
    SlidingWindow,
    /// At most `burst` tokens, with `quota` new ones per window. It is the same as GCRA.
    TokenBucket,
    /// The quota of a day or a month, by the calendar.
    Period,
    /// A balance that requests spend, after the quota of a period, if there is one.
    Credits,
}

impl Algorithm {
    pub(crate) const NAMES: [(&str, Self); 5] = [
        ("credits", Self::Credits),
        ("fixed_window", Self::FixedWindow),
        ("gcra", Self::Gcra),
        ("sliding_window", Self::SlidingWindow),
        ("token_bucket", Self::TokenBucket),
    ];

    /// Returns the name in settings and in the script's arguments.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, own)| *own == self).map_or("period", |(name, _)| name)
    }

    /// Returns whether it counts by the calendar, or credits.
    pub fn is_calendar(self) -> bool {
        matches!(self, Self::Period | Self::Credits)
    }

    /// Returns whether it has a burst other than its quota.
    pub(crate) fn has_burst(self) -> bool {
        matches!(self, Self::Gcra | Self::TokenBucket)
    }
}

/// A period of the UTC calendar.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Period {
    /// From midnight to midnight.
    Day,
    /// From the first of a month to the first of the next one.
    Month,
}

impl Period {
    pub(crate) const NAMES: [(&str, Self); 2] = [("day", Self::Day), ("month", Self::Month)];

    /// Returns the length of the longest one.
    pub(crate) fn seconds_max(self) -> u32 {
        match self {
            Self::Day => 86_400,
            Self::Month => 31 * 86_400,
        }
    }
}

/// One part of the key that a limit counts. Each combination of parts is counted separately.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum LimitBy {
    /// The client's IPv4 address or IPv6 /64.
    Address,
    /// The verified subject.
    Subject,
    /// The OAuth client that the token was issued to.
    Client,
    /// The session.
    Session,
    /// The API key.
    Key,
    /// The country of the client's address.
    Country,
    /// The autonomous system of the client's address.
    Asn,
    /// The route.
    Route,
    /// The claim of the verified token at this place.
    Claim(String),
    /// A header field of the request.
    Header(String),
}

impl LimitBy {
    pub(crate) const NAMES: &str =
        "address, subject, client, session, key, country, asn, route, claim:NAME, header:NAME";

    /// Parses a name, such as `address` or `claim:plan`. Returns `None` for any other text.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match (text, text.split_once(':')) {
            ("address", _) => Self::Address,
            ("subject", _) => Self::Subject,
            ("client", _) => Self::Client,
            ("session", _) => Self::Session,
            ("key", _) => Self::Key,
            ("country", _) => Self::Country,
            ("asn", _) => Self::Asn,
            ("route", _) => Self::Route,
            (_, Some(("claim", name))) if !name.is_empty() => Self::Claim(name.to_owned()),
            (_, Some(("header", name))) if !name.is_empty() => {
                Self::Header(name.to_ascii_lowercase())
            }
            _ => return None,
        })
    }

    /// Returns whether the part needs a verified token.
    pub(crate) fn needs_token(&self) -> bool {
        matches!(self, Self::Subject | Self::Client | Self::Session | Self::Key | Self::Claim(_))
    }
}

/// Quotas by the value of a claim.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plans {
    /// The place of the claim.
    pub claim: String,
    /// Its values, each with a quota of 1 to 1,000,000 requests per window.
    pub quotas: Vec<(String, u32)>,
}

/// What applies to a limit while the store can't count.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LimitOutage {
    /// All requests are admitted.
    Allow,
    /// All requests are refused.
    Deny,
    /// Each isolate counts on its own.
    #[default]
    Local,
}

impl LimitOutage {
    pub(crate) const NAMES: [(&str, Self); 3] =
        [("allow", Self::Allow), ("deny", Self::Deny), ("local", Self::Local)];
}

/// When the store counts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LimitTiming {
    /// Before the verdict, in the same round trip.
    #[default]
    Exact,
    /// In advance: an isolate takes several requests' quota at once, and spends it without the
    /// store.
    Leased {
        /// How long a lease lasts, 1 to 60 seconds.
        seconds: u32,
    },
}

impl Limit {
    /// Returns whether this limit admits more requests in the long run than `other`.
    pub fn has_higher_rate_than(&self, other: &Self) -> bool {
        let per = |own: &Self, other: &Self| u64::from(own.quota) * u64::from(other.window_seconds);
        per(self, other) > per(other, self)
    }

    /// Returns the smallest number of requests that any plan or isolate admits at once.
    pub(crate) fn smallest_burst(&self) -> u32 {
        if self.algorithm == Algorithm::Credits {
            return self.local_quota.unwrap_or(u32::MAX);
        }
        let plans = self.plans.iter().flat_map(|plans| &plans.quotas).map(|(_, quota)| *quota);
        let reserve = |quota| self.lease_terms(quota).map_or(0, |terms| terms.reserve);
        let at_once = |quota| self.burst_of(quota).saturating_sub(reserve(quota));
        let bursts = plans.chain([self.quota]).map(at_once);
        bursts.chain(self.local_quota).min().unwrap_or(0)
    }

    /// Returns the kind of its state, for the store's keys. Days and months are counted apart, so
    /// that gates with either do not end each other's period. What was spent of credits is the same
    /// with every period.
    pub(crate) fn state_name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::FixedWindow => "fixed",
            Algorithm::Gcra | Algorithm::TokenBucket => "bucket",
            Algorithm::SlidingWindow => "sliding",
            Algorithm::Period => self.period_name(),
            Algorithm::Credits => "credits",
        }
    }

    /// Returns the name of its period in the script's arguments.
    pub(crate) fn period_name(&self) -> &'static str {
        match self.period {
            Some(Period::Day) => "day",
            Some(Period::Month) => "month",
            None => "none",
        }
    }

    /// Returns whether a caller that was refused may be admitted before its wait has passed,
    /// because another program changes its quota or its credits.
    pub fn is_adjustable(&self) -> bool {
        self.overrides || self.algorithm.is_calendar()
    }

    /// Returns the quota of one isolate while the store can't count, and its window in seconds. By
    /// the calendar, the window is a day, and a month's quota is divided by its days.
    pub fn local_rate(&self, quota: u32) -> (u32, u32) {
        let (share, seconds) = match self.period {
            Some(Period::Month) => (quota.div_ceil(31), 86_400),
            _ => (quota, self.window_seconds),
        };
        (self.local_quota.unwrap_or(share), seconds)
    }

    /// Returns the burst for a quota, which may be a plan's.
    pub(crate) fn burst_of(&self, quota: u32) -> u32 {
        match self.burst {
            // A plan's burst scales with its quota.
            Some(burst) if self.quota != quota => {
                let scaled = u64::from(burst) * u64::from(quota) / u64::from(self.quota.max(1));
                u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
            }
            Some(burst) => burst,
            None => quota,
        }
    }
}

/// The limit of invalid tokens that one isolate accepts from an address. Above it, tokens that are
/// not known to be valid are refused without verification.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InvalidTokenLimit {
    /// Invalid tokens per window, 1 to 1,000,000.
    pub quota: u32,
    /// The window, 1 to 86,400 s.
    pub window_seconds: u32,
    /// Whether the limit only logs the requests that it would refuse.
    pub shadow: bool,
}
