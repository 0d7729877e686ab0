//! The command `health` of both servers, as a container's health check runs it.

use crate::support::auth_service::AuthService;
use crate::support::gateway::Gateway;
use crate::support::process::{Folder, health};
use crate::support::redis_server::Redis;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use std::time::{Duration, Instant};

const GATEWAY: &str = "portcullis-redis-gateway";
const AUTH: &str = "portcullis-auth";

#[test]
fn redis_gateway_is_healthy_without_redis_and_ready_with_it() {
    let folder = Folder::new();
    // The certificate is for the public name, and the check asks an address.
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(["gateway.example".to_owned()]).unwrap();
    let cert = folder.write("cert.pem", &cert.pem()).display().to_string();
    let key = folder.write("key.pem", &signing_key.serialize_pem()).display().to_string();
    let tls = [("GATEWAY_TLS_CERT_FILE", cert.as_str()), ("GATEWAY_TLS_KEY_FILE", &key)];
    let redis = Redis::start(&[]);
    let mut gateway = Gateway::start(&redis.url(), &tls);
    let (listen, admin) = (gateway.url.replace("http://", ""), gateway.admin_url.clone());
    let admin = admin.replace("http://", "");
    let environment = [("GATEWAY_LISTEN", listen.as_str()), ("GATEWAY_ADMIN_LISTEN", &admin)];
    let check =
        |arguments: &[&str]| health(GATEWAY, arguments, &[&environment[..], &tls[..]].concat());
    let begun = Instant::now();
    assert_eq!(check(&[]), (0, "healthy\n".to_owned()));
    println!("the check took {:?}", begun.elapsed());
    let begun = Instant::now();
    while check(&["--ready"]).0 != 0 {
        assert!(begun.elapsed() < Duration::from_secs(10), "{}", gateway.process.text());
        std::thread::sleep(Duration::from_millis(50));
    }
    // Settings may come by flags, and by a file.
    let flags = ["--listen", &listen, "--tls-cert-file", &cert, "--tls-key-file", &key];
    assert_eq!(health(GATEWAY, &flags, &[]).0, 0);
    let flags = ["--ready", "--admin-listen", &admin];
    assert_eq!(health(GATEWAY, &flags, &[]).0, 0);
    let text = format!("[server]\nadmin_listen = '{admin}'\n");
    let file = folder.write("redis-gateway.toml", &text).display().to_string();
    assert_eq!(health(GATEWAY, &["--ready", "--config", &file], &[]).0, 0);
    // A listener with TLS does not answer plain HTTP.
    let (code, line) = health(GATEWAY, &[], &environment);
    assert_eq!((code, line.starts_with("unhealthy: ")), (1, true), "{line}");
    drop(redis);
    let reason = format!("unhealthy: GET /readyz at {admin}: status 503 Redis does not respond\n");
    assert_eq!(check(&["--ready"]), (1, reason));
    assert_eq!(check(&[]).0, 0);
    gateway.process.signal("-STOP");
    let reason = format!("unhealthy: GET /healthz at {listen}: no response within 300 ms\n");
    assert_eq!(check(&["--timeout-ms", "300"]), (1, reason));
    gateway.process.signal("-CONT");
    gateway.process.signal("-TERM");
    gateway.process.ended(10);
    let refused = "Connection refused (os error 111)";
    assert_eq!(check(&[]), (1, format!("unhealthy: GET /healthz at {listen}: {refused}\n")));
}

#[test]
fn auth_service_is_healthy_until_it_ends() {
    let mut auth = AuthService::start(&[]);
    let (listen, admin) = (auth.address().to_owned(), auth.admin_url.replace("http://", ""));
    let environment = [("AUTH_LISTEN", listen.as_str()), ("AUTH_ADMIN_LISTEN", &admin)];
    for arguments in [&[] as &[&str], &["--ready"]] {
        assert_eq!(health(AUTH, arguments, &environment), (0, "healthy\n".to_owned()));
    }
    auth.process.signal("-TERM");
    auth.process.ended(10);
    let refused = "Connection refused (os error 111)";
    for (arguments, place) in [
        (&[] as &[&str], format!("/healthz at {listen}")),
        (&["--ready"], format!("/readyz at {admin}")),
    ] {
        let line = format!("unhealthy: GET {place}: {refused}\n");
        assert_eq!(health(AUTH, arguments, &environment), (1, line));
    }
}

#[test]
fn invalid_settings_end_the_check_with_2() {
    for (program, variable) in [(GATEWAY, "GATEWAY_LISTEN"), (AUTH, "AUTH_LISTEN")] {
        let check = |value: (&str, &str), expect: &str| {
            let (code, text) = health(program, &[], &[value]);
            assert_eq!(code, 2, "{program} {value:?}: {text}");
            assert!(text.contains("configuration_invalid"), "{text}");
            assert!(text.contains(expect), "{program} {value:?}: {text}");
        };
        check((variable, "x"), &format!("{variable}: must be address:port"));
        check((variable, "127.0.0.1:0"), &format!("{variable}: has port 0"));
        check((&format!("{variable}N"), "127.0.0.1:1"), &format!("rename it to {variable}"));
    }
}
