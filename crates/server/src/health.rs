//! The health check of a server, as a command for containers: one request to its own listener.

mod stream;
mod trust;

use clap::Args;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};
use stream::DeadlineStream;

/// The flags of the command `health`.
#[derive(Args, Clone, Copy, Debug)]
pub struct HealthOptions {
    /// Check also whether the server can serve: ask /readyz on the admin listener, not /healthz.
    #[arg(long)]
    pub ready: bool,
    /// How long the check may take, in milliseconds (1 to 60000).
    #[arg(
        long,
        value_name = "NUMBER",
        default_value_t = 3000,
        value_parser = clap::value_parser!(u32).range(1..=60_000)
    )]
    pub timeout_ms: u32,
}

/// A health check of a server that runs on this machine.
#[derive(Clone, Copy, Debug)]
pub struct HealthCheck {
    /// The address on which the server listens.
    listen: SocketAddr,
    has_tls: bool,
    path: &'static str,
    /// The timeout for connection, request and response together.
    timeout: Duration,
}

impl HealthCheck {
    /// Returns the check of a server with these two listeners, of which the second has no TLS.
    /// Returns `Err` if the port is 0, so that only the running server knows it.
    pub fn new(
        options: HealthOptions,
        listen: SocketAddr,
        has_tls: bool,
        admin_listen: SocketAddr,
    ) -> Result<Self, &'static str> {
        let timeout = Duration::from_millis(options.timeout_ms.into());
        let check = if options.ready {
            Self { listen: admin_listen, has_tls: false, path: "/readyz", timeout }
        } else {
            Self { listen, has_tls, path: "/healthz", timeout }
        };
        match check.listen.port() {
            0 => Err("has port 0, so the check can't know the server's port; give another port"),
            _ => Ok(check),
        }
    }

    /// Runs the check, and prints one line. Returns whether the server is healthy.
    pub fn run(&self) -> bool {
        let outcome = self.check();
        match &outcome {
            Ok(()) => print_line("healthy"),
            Err(reason) => print_line(&format!("unhealthy: {reason}")),
        }
        outcome.is_ok()
    }

    /// Requests the path. Returns `Err` with the reason, on one line, if the response is not 200.
    fn check(&self) -> Result<(), String> {
        let until = Instant::now() + self.timeout;
        let mut reason = String::new();
        for address in own_addresses(self.listen) {
            match self.request(address, until) {
                Ok(response) => return verdict(self.path, address, &response),
                Err(error) => {
                    let (path, why) = (self.path, describe(&error, self.timeout));
                    reason = format!("GET {path} at {address}: {why}");
                }
            }
        }
        Err(reason)
    }

    /// Returns the beginning of the response.
    fn request(&self, address: SocketAddr, until: Instant) -> io::Result<Vec<u8>> {
        let mut stream = DeadlineStream::connect(address, until)?;
        if !self.has_tls {
            return exchange(&mut stream, self.path);
        }
        let config = trust::client_config().map_err(io::Error::other)?;
        let name = ServerName::from(address.ip());
        let connection = ClientConnection::new(config, name).map_err(io::Error::other)?;
        exchange(&mut StreamOwned::new(connection, stream), self.path)
    }
}

/// Returns the addresses at which this machine reaches a listener, the likeliest first. A wildcard
/// address stands for loopback.
fn own_addresses(listen: SocketAddr) -> Vec<SocketAddr> {
    let at = |ip: IpAddr| SocketAddr::new(ip, listen.port());
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => vec![at(Ipv4Addr::LOCALHOST.into())],
        // Such a socket also accepts IPv4, and the machine may have no loopback address of IPv6.
        IpAddr::V6(ip) if ip.is_unspecified() => {
            vec![at(Ipv6Addr::LOCALHOST.into()), at(Ipv4Addr::LOCALHOST.into())]
        }
        _ => vec![listen],
    }
}

fn exchange(stream: &mut (impl Read + Write), path: &str) -> io::Result<Vec<u8>> {
    let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    let mut response = Vec::new();
    match stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut response) {
        // A server may close a connection with TLS without a farewell.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && !response.is_empty() => {}
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    Ok(response)
}

/// Returns `Ok` if the response is 200, and the first line of its body otherwise.
fn verdict(path: &str, address: SocketAddr, response: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(response);
    let status = text.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    let status = status.filter(|status| status.bytes().all(|byte| byte.is_ascii_digit()));
    match status {
        Some("200") => Ok(()),
        Some(status) => {
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            let line = body.lines().next().unwrap_or_default();
            let line: String = line.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect();
            Err(format!("GET {path} at {address}: status {status} {line}").trim_end().to_owned())
        }
        None => Err(format!("GET {path} at {address}: the response is not HTTP/1.1")),
    }
}

fn describe(error: &io::Error, timeout: Duration) -> String {
    match error.kind() {
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => {
            format!("no response within {} ms", timeout.as_millis())
        }
        _ => error.to_string(),
    }
}

#[expect(clippy::print_stdout, reason = "the output of the command")]
fn print_line(line: &str) {
    println!("{line}");
}

/// Responses of the two endpoints are far smaller.
const RESPONSE_BYTES_MAX: u64 = 4096;
/// Characters of a response's body that are repeated.
const LINE_MAX: usize = 200;

#[cfg(test)]
mod tests;
