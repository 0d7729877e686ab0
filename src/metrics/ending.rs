//! The end of a request, as the log and the metrics tell it.

/// How a request ended.
pub struct Ending<'a> {
    /// `forwarded`, `answered` or `refused`.
    pub outcome: &'a str,
    /// The code of a refusal.
    pub code: Option<&'a str>,
    /// The HTTP status of the response.
    pub status: u16,
    /// From the request's arrival to the head of the response.
    pub ms: u64,
    /// The request's method.
    pub method: &'a str,
    /// The Cloudflare location that served the request.
    pub colo: &'a str,
}
