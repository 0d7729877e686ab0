//! The policy for cross-origin requests (the Fetch standard, section 3.3).

/// Which pages may call, and what they may send and read, by the CORS protocol of the Fetch
/// standard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Cors {
    /// Origins as browsers send them, or `*` alone.
    pub origins: Vec<String>,
    /// Methods that pages may use.
    pub methods: Vec<String>,
    /// Header fields that pages may send.
    pub headers: Vec<String>,
    /// Header fields of the response that pages may read.
    pub expose: Vec<String>,
    /// Whether browsers may send cookies.
    pub credentials: bool,
    /// How long a browser may cache the response to a preflight, 0 to 86,400 s.
    pub max_age_seconds: u32,
}

impl Default for Cors {
    /// Returns the defaults of each member, for no origin.
    fn default() -> Self {
        Self {
            origins: Vec::new(),
            methods: owned(&METHODS),
            headers: owned(&HEADERS),
            expose: owned(&EXPOSE),
            credentials: false,
            max_age_seconds: MAX_AGE_SECONDS,
        }
    }
}

impl Cors {
    /// Returns whether `origin` itself is listed; `*` lists no origin.
    pub(crate) fn lists(&self, origin: &str) -> bool {
        origin != "*" && self.origins.iter().any(|listed| listed == origin)
    }

    /// Returns whether every origin is allowed.
    pub(crate) fn allows_all(&self) -> bool {
        self.origins.iter().any(|listed| listed == "*")
    }
}

const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
const HEADERS: [&str; 2] = ["Authorization", "Content-Type"];
const EXPOSE: [&str; 3] = ["WWW-Authenticate", "Retry-After", "X-Request-Id"];
const MAX_AGE_SECONDS: u32 = 600;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
