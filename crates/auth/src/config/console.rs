//! The settings of the operator console.

use super::table::{CONSOLE_LISTEN, CONSOLE_ORIGIN, CONSOLE_SESSION_SECONDS};
use portcullis_server::settings::SettingsReader;
use std::net::SocketAddr;

/// The settings of the operator console.
#[derive(Clone)]
pub struct ConsoleSettings {
    pub listen: SocketAddr,
    /// The origin at which browsers open the console; `None` for that of its listener.
    pub origin: Option<String>,
    /// The life of a session.
    pub session_seconds: u64,
}

/// Returns the settings of the console, or `None` if it is off.
pub(super) fn read_console(reader: &mut SettingsReader<'_>) -> Option<ConsoleSettings> {
    let origin = reader.text(&CONSOLE_ORIGIN);
    let session_seconds = reader.number(&CONSOLE_SESSION_SECONDS).into();
    let listen = match reader.is_set(&CONSOLE_LISTEN) {
        true => reader.address(&CONSOLE_LISTEN)?,
        false => return None,
    };
    // Browsers can't open the address of all interfaces.
    if listen.ip().is_unspecified() && !reader.is_set(&CONSOLE_ORIGIN) {
        let problem = "is not set, and console.listen is an address of all interfaces; give the \
                       origin that browsers open, such as https://console.example";
        reader.add_error(&CONSOLE_ORIGIN, problem);
    }
    Some(ConsoleSettings { listen, origin, session_seconds })
}
