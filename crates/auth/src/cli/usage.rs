//! The command `usage`.

use clap::Args;

/// The options of `usage`.
#[derive(Args)]
pub struct UsageOptions {
    /// What to add up by: client, day, hour, issuer, key, route or subject, several separated by
    /// commas. Without it there is one sum.
    #[arg(long, default_value = "")]
    pub by: String,
    /// The beginning: Unix seconds, or a date such as 2026-11-30. By default, 30 days before the
    /// end.
    #[arg(long)]
    pub from: Option<String>,
    /// The end, which is not included: Unix seconds, or a date. By default, now.
    #[arg(long)]
    pub to: Option<String>,
    /// Only tokens of this issuer.
    #[arg(id = "token_issuer", long = "token-issuer", value_name = "ISSUER")]
    pub issuer: Option<String>,
    /// Only this subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Only this client.
    #[arg(long)]
    pub client: Option<String>,
    /// Only the API key with this id.
    #[arg(long)]
    pub key: Option<String>,
    /// Only this route.
    #[arg(long)]
    pub route: Option<String>,
    /// Print CSV, instead of one JSON object a line.
    #[arg(long)]
    pub csv: bool,
}

impl UsageOptions {
    /// Returns the parameters of the question.
    pub fn parameters(&self) -> Vec<(&'static str, &str)> {
        let optional = [
            ("from", &self.from),
            ("to", &self.to),
            ("issuer", &self.issuer),
            ("subject", &self.subject),
            ("client", &self.client),
            ("key", &self.key),
            ("route", &self.route),
        ];
        let given =
            optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)));
        given.chain([("by", self.by.as_str())]).collect()
    }
}
