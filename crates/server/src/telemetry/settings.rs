//! The settings of telemetry. Their variables are those of OpenTelemetry's specification.

use super::sampler::SpanSampler;
use crate::settings::{Format, Kind, Setting, SettingsReader};
use hyper::Uri;
use hyper::header::{HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

/// Where to send spans. Nothing is sent if it is not set.
pub const OTLP_ENDPOINT: Setting =
    Setting::new("telemetry", "otlp_endpoint", "OTEL_EXPORTER_OTLP_ENDPOINT", Kind::Text(ENDPOINT))
        .flag("otlp-endpoint")
        .otherwise("no traces")
        .help("Where traces go by OTLP over HTTP, such as http://127.0.0.1:4318");

/// The header fields that the collector requires, which may have a secret.
pub const OTLP_HEADERS: Setting = Setting::new(
    "telemetry",
    "otlp_headers",
    "OTEL_EXPORTER_OTLP_HEADERS",
    Kind::Secret { file: "otlp_headers_file", format: HEADERS },
)
.help("Header fields for the collector: name=value, separated by commas, values percent-encoded");

/// The name of the service in its traces. Each server adds its own default.
pub const SERVICE_NAME: Setting =
    Setting::new("telemetry", "service_name", "OTEL_SERVICE_NAME", Kind::Text(Format::ANY))
        .flag("otel-service-name")
        .help("The name of the service in its traces");

/// Which traces are recorded.
pub const TRACES_SAMPLER: Setting =
    Setting::new("telemetry", "traces_sampler", "OTEL_TRACES_SAMPLER", Kind::OneOf(SAMPLERS))
        .flag("otel-traces-sampler")
        .default("always_on")
        .help("Which traces are recorded");

/// The share that is recorded, with the samplers that have one.
pub const TRACES_SAMPLER_ARG: Setting =
    Setting::new("telemetry", "traces_sampler_arg", "OTEL_TRACES_SAMPLER_ARG", Kind::Text(SHARE))
        .flag("otel-traces-sampler-arg")
        .default("1")
        .help("The share of traces that traceidratio and parentbased_traceidratio record, 0 to 1");

/// The settings of telemetry, validated.
#[derive(Default)]
pub struct TelemetrySettings {
    /// The URL that spans are posted to; `None` if nothing is sent.
    pub(super) endpoint: Option<String>,
    /// The header fields for the collector, which may have a secret.
    pub(super) headers: Vec<(String, String)>,
    pub(super) service_name: String,
    pub(super) sampler: SpanSampler,
}

impl TelemetrySettings {
    /// Reads the settings. `service_name` is [`SERVICE_NAME`] with the server's own default.
    pub fn read(reader: &mut SettingsReader<'_>, service_name: &Setting) -> Self {
        // Collectors name their base URL. The path of traces follows it.
        let base = reader.text(&OTLP_ENDPOINT);
        let endpoint = base.map(|base| format!("{}/v1/traces", base.trim_end_matches('/')));
        let headers = reader.secret(&OTLP_HEADERS);
        let headers = headers.and_then(|text| parse_headers(&text)).unwrap_or_default();
        let service_name = reader.text(service_name).unwrap_or_default();
        let sampler = reader.text(&TRACES_SAMPLER).unwrap_or_default();
        let share = reader.text(&TRACES_SAMPLER_ARG).and_then(|text| parse_share(&text));
        let sampler = SpanSampler::new(&sampler, share.unwrap_or(1.0));
        Self { endpoint, headers, service_name, sampler }
    }

    /// Returns the settings in words, the secret among them, for the tests of the servers.
    #[cfg(feature = "testing")]
    pub fn shown(&self, variable: &str) -> String {
        match variable {
            "OTEL_EXPORTER_OTLP_ENDPOINT" => self.endpoint.clone().unwrap_or_default(),
            "OTEL_EXPORTER_OTLP_HEADERS" => {
                let fields = self.headers.iter().map(|(name, value)| format!("{name}={value}"));
                fields.collect::<Vec<_>>().join(",")
            }
            "OTEL_SERVICE_NAME" => self.service_name.clone(),
            "OTEL_TRACES_SAMPLER_ARG" => self.sampler.share().to_string(),
            _ => self.sampler.name().to_owned(),
        }
    }
}

const ENDPOINT: Format = Format {
    accepts: is_endpoint,
    expected: "must be http:// or https:// with a host, without user or query, such as \
               http://127.0.0.1:4318; credentials go in OTEL_EXPORTER_OTLP_HEADERS",
};

const HEADERS: Format = Format {
    accepts: |text| parse_headers(text).is_some(),
    expected: "must be name=value, separated by commas, values percent-encoded",
};

const SHARE: Format = Format {
    accepts: |text| parse_share(text).is_some(),
    expected: "must be a number from 0 to 1",
};

/// Returns whether a text is a base URL. Errors and logs may show it, so it has no credentials.
fn is_endpoint(text: &str) -> bool {
    let Ok(uri) = text.parse::<Uri>() else { return false };
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
    let has_host = uri.host().is_some_and(|host| !host.is_empty());
    is_http && has_host && !authority.contains('@') && uri.query().is_none() && !text.contains('#')
}

/// Returns the header fields; `None` if one of them is malformed.
fn parse_headers(text: &str) -> Option<Vec<(String, String)>> {
    let fields = text.split(',').map(str::trim).filter(|field| !field.is_empty());
    let fields = fields.map(|field| {
        let (name, value) = field.split_once('=')?;
        let name = name.trim();
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let is_valid = HeaderName::try_from(name).is_ok() && HeaderValue::from_str(&value).is_ok();
        is_valid.then(|| (name.to_owned(), value.into_owned()))
    });
    fields.collect()
}

fn parse_share(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share))
}

const SAMPLERS: &[&str] = &[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
];
