//! The container images: what a runtime reads of them, and what runs in them.

use crate::support::images::{Image, image, refuse, texts};
use crate::support::sandbox::{Container, Sandbox};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

const USER: u32 = 65532;

#[test]
fn images_name_their_user_health_check_and_version() {
    for (name, program, ports) in [
        ("auth", "/portcullis-auth", "8788/tcp 9788/tcp"),
        ("edge", "/workerd", "8787/tcp"),
        ("redis-gateway", "/portcullis-redis-gateway", "8379/tcp 9379/tcp"),
    ] {
        let Some(image) = image(name) else { return };
        let config = &image.config;
        assert_eq!(config["User"], format!("{USER}:{USER}"), "{name}");
        assert_eq!(image.words("Entrypoint"), [program]);
        let exposed: Vec<&String> = config["ExposedPorts"].as_object().unwrap().keys().collect();
        assert_eq!(exposed, ports.split(' ').collect::<Vec<_>>(), "{name}");
        // In exec form, because there is no shell.
        let health = texts(&config["Healthcheck"]["Test"]);
        assert_eq!(health[..2], ["CMD", program], "{name}");
        let label = |label: &str| {
            config["Labels"][format!("org.opencontainers.image.{label}")].as_str().unwrap()
        };
        assert_eq!(label("title"), format!("portcullis-{name}"));
        assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
        assert!(label("licenses").starts_with("(MIT OR Apache-2.0)"));
        assert!(label("description").contains("Portcullis"));
        assert_eq!(label("revision").len(), 40, "{}", label("revision"));
        let is_secret = |text: &str| ["SECRET", "TOKEN", "KEY"].iter().any(|s| text.contains(s));
        assert_eq!(image.words("Env").iter().find(|text| is_secret(text)), None, "{name}");
    }
}

#[test]
fn images_hold_one_program_and_nothing_that_its_user_may_change() {
    const COMMON: [&str; 3] =
        ["etc/ssl/certs/ca-certificates.crt", "licenses/LICENSE-APACHE", "licenses/LICENSE-MIT"];
    for (name, own) in [
        ("auth", &["portcullis-auth"][..]),
        ("redis-gateway", &["portcullis-redis-gateway"]),
        (
            "edge",
            &[
                "edge/config.capnp",
                "edge/health.capnp",
                "edge/health.js",
                "edge/index.js",
                "edge/index_bg.wasm",
                "edge/policy.js",
                "lib64/ld-linux-x86-64.so.2",
                "workerd",
            ],
        ),
    ] {
        let Some(image) = image(name) else { return };
        let mut files = Vec::new();
        list(&image.root, &image.root, &mut files);
        // Besides, the edge's has the C library of the machine that built it; each has its notice.
        files.retain(|path| !path.starts_with("lib/") && path != "licenses/glibc");
        let mut expected = [&COMMON[..], own].concat();
        expected.sort_unstable();
        files.sort();
        assert_eq!(files, expected, "{name}");
    }
}

/// Adds the files below a folder. Asserts that only root may change them, and that none gives its
/// caller more rights.
fn list(root: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, data) = entry.map(|entry| (entry.path(), entry.metadata().unwrap())).unwrap();
        let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        if name == "data" {
            assert_eq!((data.uid(), data.gid()), (USER, USER));
            continue;
        }
        assert_eq!(data.uid(), 0, "{name}");
        assert_eq!(data.permissions().mode() & 0o7022, 0, "{name}");
        if data.is_dir() {
            list(root, &path, files);
        } else {
            files.push(name);
        }
    }
}

#[test]
fn auth_image_keeps_its_database_in_the_volume_and_writes_nothing_else() {
    let Some(image) = image("auth") else { return };
    let sandbox = match Sandbox::start(&[]) {
        Ok(sandbox) => sandbox,
        Err(reason) => return refuse(&format!("{reason}; the image auth was not run")),
    };
    let volumes = sandbox.folder.file("volumes");
    std::fs::create_dir(&volumes).unwrap();
    let mut container = image.container(&volumes);
    for (name, value) in [
        ("ISSUER", "http://127.0.0.1:8787"),
        ("AUDIENCE", "https://api.example"),
        // There is no store: sessions begin, and are reported to it later.
        ("STORE_URL", "http://127.0.0.1:8379"),
        ("STORE_TOKEN", "0123456789abcdef0123456789abcdef"),
        ("MASTER_KEY", "k1:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
    ] {
        container.env.push((name.to_owned(), value.to_owned()));
    }
    let user = ["/portcullis-auth", "user", "add", "--username", "ann", "--scope", "api:read"];
    let added = sandbox.run_in(&container, "user", &user, "a password");
    assert!(added.status.success(), "{added:?}");
    let (down, text) = health(image, &sandbox, &container);
    assert!(down == Some(1) && text.starts_with("unhealthy: "), "{down:?} {text}");

    let words = [image.words("Entrypoint"), image.words("Cmd")].concat();
    for round in 0..2 {
        let mut server = sandbox.start_in(&container, "serve", &words);
        let begun = Instant::now();
        while health(image, &sandbox, &container).0 != Some(0) {
            assert!(begun.elapsed() < Duration::from_secs(20), "{}", server.text());
            std::thread::sleep(Duration::from_millis(100));
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        for line in [
            format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}"),
            format!("Gid:\t{USER}\t{USER}\t{USER}\t{USER}"),
            "Groups:\t ".to_owned(),
            "CapEff:\t0000000000000000".to_owned(),
            "NoNewPrivs:\t1".to_owned(),
        ] {
            assert!(status.contains(&line), "{line}: {status}");
        }
        let body = r#"{"username":"ann","password":"a password"}"#;
        let json = ["--header", "content-type: application/json", "--data", body];
        let (login, text) = sandbox.call("http://127.0.0.1:8788/auth/login", &json);
        assert_eq!(login, 200, "{round}: {text} {}", server.text());
        assert!(volumes.join("data/portcullis.db").metadata().unwrap().uid() == USER);
        server.signal("-TERM");
        assert_eq!(server.ended(10), Some(0), "{}", server.text());
    }
    assert!(!image.root.join("data/portcullis.db").exists());
    // The same server without its volume.
    container.mounts.clear();
    let refused = sandbox.run_in(&container, "refused", &user, "a password");
    assert!(!refused.status.success(), "{refused:?}");
}

/// Runs the image's health check, in a container of its own in the same network.
fn health(image: &Image, sandbox: &Sandbox, container: &Container) -> (Option<i32>, String) {
    let words = texts(&image.config["Healthcheck"]["Test"]);
    let words: Vec<&str> = words[1..].iter().map(String::as_str).collect();
    let output = sandbox.run_in(container, "health", &words, "");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}
