//! The npm package in an empty folder, as people without Rust use it: installed from its archive,
//! `init`, `dev`, the printed lines, and a dry run of a deployment.

use crate::support::npm_project::{Project, ROOT, both, text};
use crate::support::process::{Process, free_ports};
use std::process::Command;

#[tokio::test]
async fn project_runs_and_deploys_without_cargo() {
    let project = Project::new();
    project.init(&["--upstream", "https://api.internal.example"]);
    for name in
        [".dev.vars.example", ".gitignore", "package.json", "portcullis.toml", "wrangler.jsonc"]
    {
        assert!(project.path(name).exists(), "{name}");
    }
    let flags = [
        "port",
        "auth-port",
        "auth-admin-port",
        "upstream-port",
        "gateway-port",
        "gateway-admin-port",
        "redis-port",
        "console-port",
    ];
    let ports = free_ports::<8>();
    let mut dev = project.command("npx", &["--offline", "portcullis", "dev"]);
    dev.args(flags.iter().zip(ports).map(|(flag, port)| format!("--{flag}={port}")));
    let process = Process::start(&mut dev, project.path("dev.log"));
    let log = process.says_within("Paste, in another terminal:", 60).await;
    let lines = log.split_once("Paste, in another terminal:").unwrap().1;

    // A person pastes the lines that are printed.
    let pasted = project.run("bash", &["-ec", lines]);
    let responses: Vec<String> = text(&pasted)
        .lines()
        .filter_map(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3).map(str::to_owned))
        .collect();
    assert_eq!(responses, ["401", "200", "204", "401"], "{}", both(&pasted));
    assert!(text(&pasted).contains("token_missing") && text(&pasted).contains("token_revoked"));

    // wrangler reads what init wrote, in each environment.
    for environment in [&[][..], &["--env", "staging"]] {
        let words = [&["--offline", "wrangler", "deploy", "--dry-run"], environment].concat();
        let deployed = project.run("npx", &words);
        assert!(both(&deployed).contains("UPSTREAM_URL"), "{}", both(&deployed));
    }
    project.run("npx", &["--offline", "wrangler", "types"]);
    let types = project.read("worker-configuration.d.ts");
    assert!(types.contains("STORE_TOKEN: string"), "{types}");
    project.folder.write(
        "env.ts",
        "export const urls = (env: Env) => [env.UPSTREAM_URL, env.STORE_TOKEN];\n",
    );
    let tsc = format!("{ROOT}/tests/e2e/clients/node_modules/.bin/tsc");
    project.run(
        &tsc,
        &["--noEmit", "--strict", "--skipLibCheck", "env.ts", "worker-configuration.d.ts"],
    );

    // dev stops all that it started.
    let mut process = process;
    let group = format!("-{}", process.pid());
    assert!(Command::new("kill").args(["-INT", "--", &group]).status().unwrap().success());
    process.ended(20);
    for port in ports {
        assert!(std::net::TcpListener::bind(("127.0.0.1", port)).is_ok(), "port {port} is taken");
    }
}

/// `npm create portcullis` is `portcullis init`, and the client for browsers is a package with
/// types.
#[test]
fn create_starts_init_and_the_client_compiles() {
    let project = Project::with(&["portcullis", "create-portcullis", "portcullis-client"]);
    let upstream = "https://orders.internal.example";
    let made =
        ["create", "--offline", "portcullis", "--", "made", "--name=gate", "--upstream", upstream];
    assert!(text(&project.run("npm", &made)).contains("0 errors"));
    assert!(project.read("made/wrangler.jsonc").contains(upstream));
    let words = ["create", "--offline", "portcullis", "--", "x", "--store=disk"];
    let refused = project.command("npm", &words).output().unwrap();
    assert!(both(&refused).contains("--store: disk"), "{}", both(&refused));
    assert!(!refused.status.success());
    let version = env!("CARGO_PKG_VERSION");
    let asked = format!("\"portcullis\": \"^{version}\"");
    assert!(
        project.read("made/package.json").contains(&asked),
        "{}",
        project.read("made/package.json")
    );

    // Ctrl-D ends the questions. One that comes before the first question is ignored.
    let ended = "while printf '\\004'; do sleep .1; done 2>/dev/null \
                 | script --quiet --return --command 'npx --offline portcullis init' /dev/null";
    let ended = project.command("bash", &["-c", ended]).output().unwrap();
    assert!(both(&ended).contains("stopped; nothing was written"), "{}", both(&ended));
    assert!(!both(&ended).contains("AbortError") && !project.path("portcullis.toml").exists());
    let dev = project.portcullis(&["dev"]);
    let package = "portcullis-auth: it is in the package portcullis-linux-";
    assert!(both(&dev).contains(package), "{}", both(&dev));

    project.folder.write(
        "page.mts",
        "import { Session, SessionError } from 'portcullis-client';\n\
         const session = new Session({ url: 'https://api.example', aheadSeconds: 30 });\n\
         // @ts-expect-error: a session has no such option.\n\
         new Session({ link: 'https://api.example' });\n\
         const token: string | null = await session.token();\n\
         const code = (error: SessionError): string => error.code;\n\
         console.log(token, session.active, code(new SessionError('unreachable', 0)));\n\
         session.close();\n",
    );
    let tsc = format!("{ROOT}/tests/e2e/clients/node_modules/.bin/tsc");
    project.run(&tsc, &["--strict", "--module", "nodenext", "--target", "es2022", "page.mts"]);
    // The line that does not compile runs, and opens a channel of its own.
    let page = project.read("page.mjs");
    project.folder.write("page.mjs", &page.replace("new Session({ link", "void ({ link"));
    assert_eq!(text(&project.run("node", &["page.mjs"])), "null false unreachable\n");
}

#[test]
fn projects_of_all_stores_and_providers_are_valid() {
    let project = Project::new();
    for store in ["upstash", "redis", "memcached"] {
        for provider in ["bundled", "jwt", "opaque"] {
            let folder = format!("{store}-{provider}");
            project.init(&[&folder, "--store", store, "--provider", provider]);
            let words = ["build", "--project", &folder];
            let built = project.portcullis(&words);
            assert!(built.status.success(), "{}", both(&built));
            assert!(project.read(&format!("{folder}/build/policy.js")).contains("public"));
        }
    }
}

#[test]
fn faults_are_reported_together_and_nothing_is_replaced() {
    let project = Project::new();
    let words = ["init", "--upstream", "nowhere", "--store", "disk", "--name", "A B"];
    let output = project.portcullis(&words);
    assert_eq!(output.status.code(), Some(2));
    for fault in ["--name: A B", "--upstream: nowhere", "--store: disk"] {
        assert!(both(&output).contains(fault), "{fault}: {}", both(&output));
    }
    assert!(!project.path("portcullis.toml").exists());

    project.init(&[]);
    let policy = project.read("portcullis.toml");
    let again = project.portcullis(&["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(both(&again).contains("already"), "{}", both(&again));

    // The version that npm installed stays, and init's script is added.
    let package = project.read("package.json");
    assert!(package.contains("\"file:") && package.contains("\"deploy\""), "{package}");

    project
        .folder
        .write("portcullis.toml", &policy.replace("path = \"/api/*\"", "pat = \"/api/*\""));
    let built = project.portcullis(&["build"]);
    assert_eq!(built.status.code(), Some(1));
    assert!(both(&built).contains("did you mean path?"), "{}", both(&built));
    assert!(!project.path("build/policy.js").exists());

    project.folder.write("portcullis.toml", &policy);
    project.folder.write(".dev.vars", "MY_OWN=1\n");
    let dev = project.portcullis(&["dev"]);
    assert_eq!(dev.status.code(), Some(2), "{}", both(&dev));
    assert_eq!(project.read(".dev.vars"), "MY_OWN=1\n");
    // What an older project has stays: it may hold secrets elsewhere, and may not be a module.
    std::fs::create_dir(project.path("old")).unwrap();
    project.folder.write("old/.gitignore", "/mine/\n");
    project.folder.write("old/package.json", "{ \"main\": \"index.js\" }\n");
    project.init(&["old"]);
    let ignored = project.read("old/.gitignore");
    assert!(ignored.starts_with("/mine/\n") && ignored.contains("\n/.dev.vars\n"), "{ignored}");
    let package = project.read("old/package.json");
    assert!(package.contains("index.js") && !package.contains("\"module\""), "{package}");
    std::fs::create_dir(project.path("broken")).unwrap();
    project.folder.write("broken/package.json", "{");
    let broken = project.portcullis(&["init", "broken", "--name", "gate"]);
    assert_eq!(broken.status.code(), Some(2), "{}", both(&broken));
    assert!(!project.path("broken/portcullis.toml").exists());

    let unknown = project.portcullis(&["deploy"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(both(&unknown).contains("unknown command deploy"), "{}", both(&unknown));
}
