//! The loopback address, and random secrets.

use std::fs::File;
use std::io::Read as _;
use std::net::SocketAddr;

/// Returns the loopback address with a port.
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Returns 192 random bits in hexadecimal.
pub fn random_text() -> String {
    let mut bytes = [0; 24];
    let read = File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes));
    assert!(read.is_ok(), "/dev/urandom can't be read");
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns a random key in the format of RECORD_ENCRYPTION_KEY.
pub fn record_encryption_key() -> String {
    format!("stack:{}", edge_auth_key())
}

/// Returns a random key in the format of EDGE_AUTH_KEY. Its base64 is 42 hexadecimal digits and a
/// `0`, whose last two bits are zero, as 32 bytes require.
pub fn edge_auth_key() -> String {
    format!("{}0", random_text().get(..42).unwrap_or_default())
}
