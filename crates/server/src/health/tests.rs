use super::*;
use std::net::TcpListener;
use std::thread;

/// A check of a server that writes these parts to its first connection, each after 60 ms.
fn check(parts: &[&str], timeout_ms: u64) -> Result<(), String> {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = socket.local_addr().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = socket.accept().unwrap();
            let _ = stream.read(&mut [0; 1024]);
            for part in parts {
                thread::sleep(Duration::from_millis(60));
                if stream.write_all(part.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let timeout = Duration::from_millis(timeout_ms);
        let check = HealthCheck { listen, has_tls: false, path: "/healthz", timeout };
        check.check().map_err(|reason| reason.replace(&listen.to_string(), "HOST"))
    })
}

#[test]
fn only_200_is_healthy() {
    let body = "content-length: 3\r\n\r\nok\n";
    assert_eq!(check(&["HTTP/1.1 200 OK\r\n", body], 3000), Ok(()));
    let parts = &["HTTP/1.1 503 Service Unavailable\r\n\r\n", "Redis does\tnot respond\nmore"];
    let reason = "GET /healthz at HOST: status 503 Redis doesnot respond";
    assert_eq!(check(parts, 3000), Err(reason.to_owned()));
    let reason = "GET /healthz at HOST: status 204";
    assert_eq!(check(&["HTTP/1.1 204 No Content\r\n\r\n"], 3000), Err(reason.to_owned()));
    let reason = "GET /healthz at HOST: the response is not HTTP/1.1";
    for parts in [&[] as &[&str], &["+PONG\r\n"], &["HTTP/1.1 2"], &["HTTP/1.1 +20 OK\r\n"]] {
        assert_eq!(check(parts, 3000), Err(reason.to_owned()), "{parts:?}");
    }
}

/// Each part comes in time, but not all of them together.
#[test]
fn timeout_bounds_the_whole_check() {
    let begun = Instant::now();
    let outcome = check(&["H", "T", "T", "P", "/", "1", ".", "1"], 150);
    let reason = "GET /healthz at HOST: no response within 150 ms";
    assert_eq!(outcome, Err(reason.to_owned()));
    assert!(begun.elapsed() >= Duration::from_millis(150));
}

#[test]
fn wildcard_addresses_are_asked_on_loopback() {
    let check = |listen: &str, expect: &[&str]| {
        let addresses = own_addresses(listen.parse().unwrap());
        let texts: Vec<String> = addresses.iter().map(ToString::to_string).collect();
        assert_eq!(texts, expect);
    };
    check("0.0.0.0:80", &["127.0.0.1:80"]);
    check("[::]:80", &["[::1]:80", "127.0.0.1:80"]);
    check("10.1.2.3:80", &["10.1.2.3:80"]);
    check("[fd00::1]:80", &["[fd00::1]:80"]);
}
