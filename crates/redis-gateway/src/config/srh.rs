//! The configuration of serverless-redis-http, which is accepted in place of this program's own.

mod entry;
mod file;

pub use entry::SrhEntry;

use super::table::{GATEWAY_REDIS_CONNECTIONS, GATEWAY_TOKENS, GATEWAY_TOKENS_FILE, REDIS_URL};
use portcullis_server::settings::{Kind, Place, Setting, SettingError, SettingsReader};
use setting_names::nearest;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// Where serverless-redis-http has its file: in its folder, which is /app in its image.
pub const FILES: [&str; 2] = ["srh-config/tokens.json", "/app/srh-config/tokens.json"];

/// Where tokens and servers come from.
#[derive(Clone)]
pub enum SrhSource {
    /// The variables, as they are given.
    Environment {
        token: Option<String>,
        connection_string: Option<String>,
        max_connections: Option<String>,
    },
    File(PathBuf),
    /// The mode is invalid, which is an error already.
    Unknown,
}

impl SrhSource {
    /// Returns the source if serverless-redis-http's configuration is given: by one of its
    /// variables, or by its file alone. Each setting of the own form next to it is an error.
    pub fn detect(reader: &mut SettingsReader<'_>, files: &[&str]) -> Option<Self> {
        let given = OWN_VARIABLES.iter().find(|name| reader.variable(name).is_some());
        let file = files.iter().map(PathBuf::from).find(|path| path.is_file());
        let ours: Vec<&(Setting, &str)> =
            COUNTERPARTS.iter().filter(|(setting, _)| is_given(reader, setting)).collect();
        let Some(given) = given else {
            // A mounted file is enough for serverless-redis-http.
            let path = file.filter(|_| ours.is_empty())?;
            return Some(Self::File(path));
        };
        for (setting, theirs) in ours {
            let variable = setting.variable;
            let problem = format!(
                "is given, and so is {given} of serverless-redis-http; keep one of the two forms: \
                 {theirs} is to it what {variable} is here"
            );
            reader.add_error(setting, problem);
        }
        misspelt(reader.names()).into_iter().for_each(|error| reader.add(error));
        Some(Self::read(reader, file))
    }

    fn read(reader: &mut SettingsReader<'_>, file: Option<PathBuf>) -> Self {
        let problem = match (reader.variable(MODE).as_deref(), file) {
            (Some("env"), _) => {
                return Self::Environment {
                    token: reader.variable(TOKEN),
                    connection_string: reader.variable(CONNECTION_STRING),
                    max_connections: reader.variable(MAX_CONNECTIONS),
                };
            }
            (None | Some("file"), Some(path)) => return Self::File(path),
            (Some("file"), None) => {
                "needs /app/srh-config/tokens.json, which is no file; mount it there"
            }
            (None, None) => {
                "is not set, and there is no /app/srh-config/tokens.json; set it to env, or mount \
                 that file"
            }
            (Some(_), _) => "must be env or file",
        };
        reader.add(Place::named(MODE).error(problem));
        Self::Unknown
    }

    /// Returns the tokens with their servers, and all errors in them. If there is an error, no
    /// entry may be used.
    pub fn entries(&self) -> (Vec<SrhEntry>, Vec<SettingError>) {
        match self {
            Self::Environment { token, connection_string, max_connections } => {
                let parts = [token, connection_string, max_connections].map(Option::as_deref);
                let (entry, errors) = entry::of_variables(parts);
                (entry.into_iter().collect(), errors)
            }
            Self::File(path) => file::read(path),
            Self::Unknown => (Vec::new(), Vec::new()),
        }
    }

    /// Warns of variables that have no effect in this mode.
    pub fn warn_of_unused(&self, reader: &SettingsReader<'_>) {
        let unused = [TOKEN, CONNECTION_STRING, MAX_CONNECTIONS].into_iter();
        let unused: Vec<&str> = unused.filter(|name| reader.variable(name).is_some()).collect();
        if matches!(self, Self::File(_)) && !unused.is_empty() {
            let settings = unused.join(",");
            let advice = "a file of tokens is read; set SRH_MODE=env to use the variables";
            tracing::warn!(event = "srh_settings_unused", settings, advice);
        }
    }
}

/// Returns whether a setting is given, and not only the file that may have it: that is a setting of
/// its own.
fn is_given(reader: &SettingsReader<'_>, setting: &Setting) -> bool {
    match setting.kind {
        Kind::Secret { .. } => reader.variable(setting.variable).is_some(),
        _ => reader.is_set(setting),
    }
}

/// Returns the address to listen on, or `None` if the port is invalid.
pub fn listen(reader: &mut SettingsReader<'_>) -> Option<SocketAddr> {
    let ip: IpAddr = match reader.variable(IPV6).as_deref() {
        Some("true") => Ipv6Addr::UNSPECIFIED.into(),
        _ => Ipv4Addr::UNSPECIFIED.into(),
    };
    let port = reader.variable(PORT).unwrap_or_else(|| "80".to_owned());
    let number = port.parse().ok().filter(|port| *port > 0);
    if number.is_none() {
        let problem = match port.starts_with("tcp://") {
            // The reader of this error has not set the variable.
            true => {
                "must be a port, 1 to 65535; Kubernetes sets it for a Service called srh, so give \
                 the pod enableServiceLinks: false, or set it"
            }
            false => "must be a port, 1 to 65535, such as 80",
        };
        reader.add(Place::named(PORT).error(problem));
    }
    Some(SocketAddr::new(ip, number?))
}

/// Returns an error for each name that is near one of serverless-redis-http's.
fn misspelt(names: &[String]) -> Vec<SettingError> {
    let known = [MODE, TOKEN, CONNECTION_STRING, MAX_CONNECTIONS, PORT, IPV6];
    let own = names.iter().filter(|name| name.starts_with("SRH_"));
    own.filter(|name| !known.contains(&name.as_str()))
        .filter_map(|name| {
            let meant = nearest(name, &known)?;
            let problem = format!("unknown setting; rename it to {meant}, or unset it");
            Some(Place::named(name).error(problem))
        })
        .collect()
}

const MODE: &str = "SRH_MODE";
const TOKEN: &str = "SRH_TOKEN";
const CONNECTION_STRING: &str = "SRH_CONNECTION_STRING";
const MAX_CONNECTIONS: &str = "SRH_MAX_CONNECTIONS";
const PORT: &str = "SRH_PORT";
const IPV6: &str = "SRH_IPV6";
/// The variables that nothing but serverless-redis-http has. Kubernetes sets `SRH_PORT` for a
/// Service called srh.
const OWN_VARIABLES: [&str; 4] = [MODE, TOKEN, CONNECTION_STRING, MAX_CONNECTIONS];
/// The settings that have a counterpart in serverless-redis-http, except `GATEWAY_LISTEN`. The
/// image sets that one, and `SRH_PORT` and `SRH_IPV6` take its place.
const COUNTERPARTS: [(Setting, &str); 4] = [
    (GATEWAY_TOKENS, TOKEN),
    (GATEWAY_TOKENS_FILE, "tokens.json"),
    (REDIS_URL, CONNECTION_STRING),
    (GATEWAY_REDIS_CONNECTIONS, MAX_CONNECTIONS),
];
