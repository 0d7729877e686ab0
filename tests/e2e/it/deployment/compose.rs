//! compose.yaml: its form, and its services with the commands, environment and health checks of the
//! file. Redis, Postgres and Node are this machine's; everything else is of the images.

use crate::support::environment::ROOT;
use crate::support::images::{image, refuse, texts};
use crate::support::process::{Folder, Process};
use crate::support::sandbox::{Container, Sandbox};
use crate::support::yaml;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

fn services() -> Map<String, Value> {
    let file = yaml::documents(&Path::new(ROOT).join("compose.yaml")).remove(0);
    file["services"].as_object().unwrap().clone()
}

#[test]
fn compose_file_is_valid_and_bounds_each_service() {
    let mut check = yaml::python("check-jsonschema");
    check.args(["--builtin-schema", "vendor.compose-spec", "compose.yaml"]).current_dir(ROOT);
    let output = check.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    let services = services();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    assert_eq!(names, ["api", "auth", "edge", "migrate", "postgres", "redis", "redis-gateway"]);
    for (name, service) in &services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(texts(&service["cap_drop"]), ["ALL"], "{name}");
        assert_eq!(texts(&service["security_opt"]), ["no-new-privileges:true"], "{name}");
        let is_ours = service["image"].as_str().unwrap().starts_with("portcullis-");
        assert!(is_ours || is_not_root(service["user"].as_str().unwrap()), "{name}");
        assert!(service.get("healthcheck").is_some(), "{name}");
        let expected = if name == "edge" { &["127.0.0.1:8787:8787"][..] } else { &[] };
        assert_eq!(texts(&service["ports"]), expected, "{name}");
        // A service reaches those that it names, in a network that both have.
        for (variable, value) in environment(service) {
            let value = value.rsplit('@').next().unwrap().replace("http://", "");
            let Some(other) = services.get(value.split(':').next().unwrap()) else { continue };
            let networks = texts(&other["networks"]);
            let shared = texts(&service["networks"]).iter().any(|own| networks.contains(own));
            assert!(shared, "{name}: {variable} names a service that it can't reach");
        }
    }
}

/// The system of the file, from new secrets to a token that is refused after the logout.
#[test]
fn compose_services_admit_a_login_and_refuse_a_revoked_token() {
    let services = services();
    let names: Vec<&str> = services.keys().map(String::as_str).collect();
    if image("edge").is_none() {
        return;
    }
    let sandbox = match Sandbox::start(&names) {
        Ok(sandbox) => sandbox,
        Err(reason) => return refuse(&format!("{reason}; no service was started")),
    };
    let project = Project::new(&sandbox);
    let edge = project.container("edge", &services["edge"]);
    let mut incomplete = edge.clone();
    incomplete.env.retain(|(name, _)| name != "STORE_URL");
    let invalid = sandbox.start_in(&incomplete, "invalid", &project.words(&services["edge"]));
    let (_, text) = project.wait_for_health(&services["edge"], &incomplete, &invalid, false);
    assert!(text.contains("the configuration of the edge is invalid"), "{text}");
    drop(invalid);

    let mut running: Vec<(&str, Process)> = Vec::new();
    while let Some((name, service)) = services.iter().find(|(name, service)| {
        let has_started = |name: &str| running.iter().any(|(own, _)| *own == name);
        let needs = service["depends_on"].as_object();
        !has_started(name) && needs.into_iter().flatten().all(|(other, _)| has_started(other))
    }) {
        let container = project.container(name, service);
        let mut process = sandbox.start_in(&container, name, &project.words(service));
        if service["healthcheck"]["disable"] == true {
            assert_eq!(process.ended(20), Some(0), "{name}: {}", process.text());
        } else {
            let (is_healthy, text) = project.wait_for_health(service, &container, &process, true);
            assert!(is_healthy, "{name}: {text}\n{}", process.text());
        }
        running.push((name, process));
    }
    assert_eq!(running.len(), services.len());

    let auth = project.container("auth", &services["auth"]);
    let user = ["user", "add", "--username", "demo", "--scope", "api:read api:write"];
    let added =
        sandbox.run_in(&auth, "user", &[&["/portcullis-auth"], &user[..]].concat(), "a password");
    assert!(added.status.success(), "{added:?}");
    let url = |path: &str| format!("http://127.0.0.1:8787{path}");
    assert_eq!(sandbox.call(&url("/api/hello"), &[]).0, 401);
    let body = r#"{"username":"demo","password":"a password"}"#;
    let json = ["--header", "content-type: application/json", "--data", body];
    let (status, text) = sandbox.call(&url("/auth/login"), &json);
    assert_eq!(status, 200, "{text}");
    let pair: Value = serde_json::from_str(&text).unwrap();
    let bearer = format!("authorization: Bearer {}", pair["access_token"].as_str().unwrap());
    let with_token = ["--header", &bearer];
    let (status, text) = sandbox.call(&url("/api/hello"), &with_token);
    assert!(status == 200 && text.contains("\"url\": \"/api/hello\""), "{status} {text}");
    let logout = ["--request", "POST", "--header", &bearer];
    assert_eq!(sandbox.call(&url("/auth/logout"), &logout).0, 204);
    let (status, text) = sandbox.call(&url("/api/hello"), &with_token);
    assert!(status == 401 && text.contains("token_revoked"), "{status} {text}");

    project.assert_no_secret_in_logs(&running);
    while let Some((name, mut process)) = running.pop() {
        if name != "migrate" && services[name]["image"].as_str().unwrap().starts_with("portcullis-")
        {
            process.signal("-TERM");
            assert_eq!(process.ended(25), Some(0), "{name}: {}", process.text());
        }
    }
}

/// A folder with the secrets that images/make-secrets.sh makes.
struct Project<'s> {
    sandbox: &'s Sandbox,
    secrets: PathBuf,
    volumes: Folder,
}

impl<'s> Project<'s> {
    fn new(sandbox: &'s Sandbox) -> Self {
        let volumes = Folder::new();
        let secrets = volumes.file("secrets");
        let script = format!("{ROOT}/images/make-secrets.sh");
        let made = Command::new(&script).arg(&secrets).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        // It replaces no secret.
        assert_eq!(Command::new(&script).arg(&secrets).output().unwrap().status.code(), Some(1));
        Self { sandbox, secrets, volumes }
    }

    /// Returns the container of a service.
    fn container(&self, name: &str, service: &Value) -> Container {
        let own = self.volumes.file(name);
        std::fs::create_dir_all(&own).unwrap();
        let mut container = match own_image(service) {
            Some(name) => image(name).unwrap().container(&own),
            None => Container { workdir: "/".to_owned(), ..Container::default() },
        };
        if let Some(user) = service["user"].as_str() {
            container.user = user.split(':').next().unwrap().parse().unwrap();
        }
        for file in texts(&service["env_file"]) {
            let text = std::fs::read_to_string(self.path(&file)).unwrap();
            container.env.extend(text.lines().map(pair));
        }
        container.env.extend(environment(service));
        for volume in texts(&service["volumes"]) {
            let parts: Vec<&str> = volume.split(':').collect();
            let from = if parts[0].contains('/') {
                self.path(parts[0])
            } else {
                // The images give their volumes to their user.
                let folder = own.join(parts[0]);
                std::fs::create_dir_all(&folder).unwrap();
                std::os::unix::fs::chown(&folder, Some(container.user), Some(container.user))
                    .unwrap();
                folder
            };
            container.mounts.push((from, parts[1].to_owned(), parts.get(2) == Some(&"ro")));
        }
        container.tmpfs = texts(&service["tmpfs"]);
        container.is_read_only = service["read_only"] == true;
        container
    }

    /// Returns what a service runs. The image of Postgres makes a cluster first.
    fn words(&self, service: &Value) -> Vec<String> {
        let command: Vec<String> =
            texts(&service["command"]).iter().map(|word| word.replace("$$", "$")).collect();
        if let Some(name) = own_image(service) {
            let image = image(name).unwrap();
            let command = if command.is_empty() { image.words("Cmd") } else { command };
            return [image.words("Entrypoint"), command].concat();
        }
        if service["image"].as_str().unwrap().starts_with("postgres:") {
            return ["sh", "-c", POSTGRES].map(str::to_owned).to_vec();
        }
        command
    }

    /// Runs a service's health check until it is healthy, or until it is unhealthy while the
    /// service runs. Returns whether the result is the expected one, and the last output.
    fn wait_for_health(
        &self,
        service: &Value,
        container: &Container,
        process: &Process,
        is_healthy: bool,
    ) -> (bool, String) {
        let check = &service["healthcheck"];
        let mut words = texts(&check["test"]);
        match words.remove(0).as_str() {
            "CMD" => {}
            form => {
                assert_eq!(form, "CMD-SHELL");
                words = vec!["sh".to_owned(), "-c".to_owned(), words[0].replace("$$", "$")];
            }
        }
        let seconds = |text: &Value| text.as_str().unwrap().trim_end_matches('s').parse().unwrap();
        let interval: u64 = seconds(&check["interval"]);
        let within = Duration::from_secs(interval * check["retries"].as_u64().unwrap());
        let begun = Instant::now();
        loop {
            let output = self.sandbox.run_next_to(process, container, &words);
            let text =
                String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            // A service that does not listen yet is unhealthy for another reason.
            let is_down = text.contains("onnection") || text.contains("nsenter");
            let has_result = output.status.success() || !is_healthy && !is_down;
            if has_result || begun.elapsed() > within {
                return (output.status.success() == is_healthy, text);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn assert_no_secret_in_logs(&self, running: &[(&str, Process)]) {
        let mut count = 0;
        for file in std::fs::read_dir(&self.secrets).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_none_or(|end| end != "env") {
                continue;
            }
            for line in std::fs::read_to_string(file).unwrap().lines() {
                // The secret is the longest word of its URL or list.
                let is_end = |letter: char| !letter.is_ascii_alphanumeric();
                let value = pair(line).1;
                let secret = value.split(is_end).max_by_key(|word| word.len()).unwrap();
                assert!(secret.len() >= 8, "{line}");
                count += 1;
                for (name, process) in running {
                    assert!(!process.text().contains(secret), "{name}: {line}");
                }
            }
        }
        assert!(count > 10, "{count}");
    }

    /// Returns the place of a path of the file, which has its secrets elsewhere in this test.
    fn path(&self, path: &str) -> PathBuf {
        match path.strip_prefix(".secrets/") {
            Some(name) => self.secrets.join(name),
            None => Path::new(ROOT).join(path),
        }
    }
}

/// Returns the name of a service's image, if it is one of this project.
fn own_image(service: &Value) -> Option<&str> {
    let name = service["image"].as_str()?.strip_prefix("portcullis-")?;
    name.strip_suffix(concat!(":", env!("CARGO_PKG_VERSION")))
}

fn environment(service: &Value) -> Vec<(String, String)> {
    let pairs = service["environment"].as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn pair(line: &str) -> (String, String) {
    let (name, value) = line.split_once('=').unwrap();
    (name.to_owned(), value.to_owned())
}

/// What the image of Postgres does before it becomes the server, with the same variables.
const POSTGRES: &str = r#"
    set -e
    bin=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
    PATH=$bin:$PATH
    export PGDATA=/var/lib/postgresql/data PGPASSWORD="$POSTGRES_PASSWORD"
    printf %s "$POSTGRES_PASSWORD" > /tmp/password
    initdb --no-sync -U "$POSTGRES_USER" --pwfile /tmp/password -A scram-sha-256 > /tmp/initdb.log
    echo 'host all all all scram-sha-256' >> "$PGDATA/pg_hba.conf"
    pg_ctl -w -o "-c listen_addresses='' -k /var/run/postgresql" start > /dev/null
    createdb -h /var/run/postgresql -U "$POSTGRES_USER" "$POSTGRES_DB"
    pg_ctl -m fast -w stop > /dev/null
    exec postgres -c listen_addresses='*' -k /var/run/postgresql
"#;

/// Returns whether a container's user is a number other than root's.
fn is_not_root(user: &str) -> bool {
    user.split(':').next().is_some_and(|own| own.parse::<u32>().is_ok_and(|number| number > 0))
}
