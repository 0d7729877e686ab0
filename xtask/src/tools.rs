//! What building and testing needs, at which version, and how each piece is had. Everything is looked
//! at first and all that is missing is said at once; then what can be installed is, below .tools/ and
//! node_modules/ where possible.

use crate::process::{Step, step};
use crate::{at, root};
use anyhow::{Result, bail};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The versions, in this one place; those from npm are in package.json, those of crates in Cargo.toml.
const WASM_BINDGEN: &str = "0.2.130";
const WASM_PACK: &str = "0.15.1";
const CARGO_FUZZ: &str = "0.13.2";
const NODE_MAJOR_MIN: u32 = 20;
const PYTHON_LIST: &str = "tests/e2e/clients/requirements.txt";
const TARGET: &str = "wasm32-unknown-unknown";

/// How much is needed.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Extent {
    /// To measure the redis gateway.
    Bench,
    /// To measure the Worker beside its peers.
    BenchEdge,
    /// For every test, Postgres among them.
    Everything,
    /// To count instructions.
    Instructions,
    /// To run the system.
    Stack,
    /// To run the system on memcached.
    StackOnMemcached,
    /// To run the system on Postgres.
    StackOnPostgres,
    /// To build the Worker.
    Worker,
}

/// Where the tools are.
pub struct Tools {
    wasm: WasmToolchain,
}

/// The compiler that has a standard library for wasm32.
#[derive(Clone, Copy, Eq, PartialEq)]
enum WasmToolchain {
    /// The everyday one.
    Everyday,
    /// Debian's packaged one, with a standard library built below .tools/rust.
    Packaged,
}

impl Tools {
    /// The search path: the Worker's compiler first where it is another than the everyday one, then the
    /// project's tools.
    fn path(&self, wasm: bool) -> OsString {
        let mut folders = vec![at("node_modules/.bin"), at(".tools/bin")];
        if wasm && self.wasm == WasmToolchain::Packaged {
            folders.insert(0, at(".tools/rust/bin"));
            folders.push(PathBuf::from("/usr/bin"));
        }
        let old = std::env::var_os("PATH").unwrap_or_default();
        folders.extend(std::env::split_paths(&old));
        std::env::join_paths(folders).unwrap_or(old)
    }

    /// A command of the project's tools.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(root()).env("PATH", self.path(false));
        command
    }

    /// A command that compiles for wasm32. Cargo's words to us about ourselves are kept from it.
    pub fn wasm_command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(root())
            .env("PATH", self.path(true))
            .env("CARGO_TARGET_DIR", at("target/wasm"));
        for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN", "RUSTFLAGS"] {
            command.env_remove(name);
        }
        if self.wasm == WasmToolchain::Packaged {
            // clippy-driver does not go through our rustc, which knows where the library is.
            command.env("SYSROOT", at(".tools/rust"));
        }
        command
    }
}

/// Something that is needed and not there.
struct Need {
    name: String,
    how: How,
}

enum How {
    /// It can't be installed from here; this line does it.
    Tell(&'static str),
    /// These Debian packages have it.
    Apt(Vec<&'static str>),
    /// `cargo install` has it, at this version.
    Cargo { package: &'static str, version: &'static str, flags: &'static [&'static str] },
    /// The npm lockfile has it.
    Npm,
    /// A virtual environment below .tools/python, with what the tests' list names.
    Python,
    /// `rustup target add` has it, or else the standard library is built for Debian's compiler.
    WasmTarget,
}

/// Looks at everything, says what is missing, and installs it.
pub fn ensure(extent: Extent) -> Result<Tools> {
    let needs = missing(extent);
    let told: Vec<String> = needs
        .iter()
        .filter_map(|need| match need.how {
            How::Tell(fix) => Some(format!("  {}: {fix}", need.name)),
            _ => None,
        })
        .collect();
    let packages: Vec<&str> = needs
        .iter()
        .filter_map(|need| match &need.how {
            How::Apt(packages) => Some(packages.as_slice()),
            _ => None,
        })
        .flatten()
        .copied()
        .collect();
    let apt = apt();
    let by_hand = !packages.is_empty() && apt.is_none();
    if !told.is_empty() || by_hand {
        let mut lines = told;
        if by_hand {
            lines.push(format!(
                "  as root: apt-get install {} (or what your system calls these)",
                packages.join(" ")
            ));
        }
        bail!("this machine lacks what can't be installed from here:\n{}", lines.join("\n"));
    }
    if !needs.is_empty() {
        let names: Vec<&str> = needs.iter().map(|need| need.name.as_str()).collect();
        eprintln!("to be installed, once: {}", names.join(", "));
    }
    let of = needs.iter().filter(|need| !matches!(need.how, How::Apt(_))).count()
        + usize::from(!packages.is_empty());
    let mut place = 0;
    let mut next = |name: String| {
        place += 1;
        Step { place, of, name, seconds_max: None }
    };
    if let (false, Some(apt)) = (packages.is_empty(), apt) {
        apt_install(&next(format!("apt: {}", packages.join(" "))), apt, &packages)?;
    }
    for need in &needs {
        match &need.how {
            How::Apt(_) | How::Tell(_) => {}
            How::Cargo { package, version, flags } => {
                cargo_install(&next(need.name.clone()), package, version, flags)?;
            }
            How::Npm => {
                let mut npm = Command::new("npm");
                // Not `npm ci`: it refuses a lockfile made where a registry lacked another system's packages.
                npm.current_dir(root()).args(["install", "--no-save", "--no-fund", "--no-audit"]);
                step(&next(need.name.clone()), &mut npm, &at(".tools/log/npm.log"))?;
                fs::copy(at("package-lock.json"), at("node_modules/.installed-lock.json"))?;
            }
            How::Python => python(&next(need.name.clone()))?,
            How::WasmTarget => wasm_target(&next(need.name.clone()), apt)?,
        }
    }
    let wasm = if has_target("rustc") { WasmToolchain::Everyday } else { WasmToolchain::Packaged };
    Ok(Tools { wasm })
}

fn missing(extent: Extent) -> Vec<Need> {
    let mut needs = Vec::new();
    let mut need = |there: bool, name: &str, how: How| {
        if !there {
            needs.push(Need { name: name.to_owned(), how });
        }
    };
    let node = version("node")
        .and_then(|text| text.trim_start_matches('v').split('.').next()?.parse().ok());
    need(
        node.is_some_and(|major: u32| major >= NODE_MAJOR_MIN),
        "Node.js 20 or later",
        How::Tell("install it from your system's packages or nodejs.org"),
    );
    need(
        version("npm").is_some(),
        "npm",
        How::Tell("it comes with Node.js; on Debian: apt-get install npm"),
    );
    need(version("cc").is_some(), "a C compiler", How::Apt(vec!["gcc", "libc6-dev"]));
    let there = |program: &str| runs("sh", &["-c", &format!("command -v {program}")]);
    if matches!(extent, Extent::Bench | Extent::BenchEdge) {
        need(there("wrk"), "wrk", How::Apt(vec!["wrk"]));
        let redis = there("redis-server") && there("redis-benchmark") && there("redis-cli");
        need(redis, "redis-server and its tools", How::Apt(vec!["redis-server", "redis-tools"]));
    }
    if extent == Extent::Bench {
        return needs;
    }
    if matches!(extent, Extent::Everything | Extent::Instructions) {
        need(there("valgrind"), "valgrind", How::Apt(vec!["valgrind"]));
    }
    if extent == Extent::Instructions {
        return needs;
    }
    if matches!(extent, Extent::Everything | Extent::StackOnMemcached) {
        need(there("memcached"), "memcached", How::Apt(vec!["memcached"]));
    }
    if !matches!(extent, Extent::StackOnMemcached | Extent::Worker) {
        need(version("redis-server").is_some(), "redis-server", How::Apt(vec!["redis-server"]));
    }
    if matches!(extent, Extent::BenchEdge | Extent::Everything | Extent::StackOnPostgres) {
        need(postgres_bin().is_some(), "PostgreSQL", How::Apt(vec!["postgresql"]));
    }
    need(has_target("rustc") || packaged_is_ready(), TARGET, How::WasmTarget);
    let installed = |tool: &str, wanted: &str| {
        version(&at(&format!(".tools/bin/{tool}")).to_string_lossy())
            .is_some_and(|text| text.split_whitespace().any(|word| word == wanted))
    };
    // Without these flags, each tool takes twice as long to build.
    need(
        installed("wasm-bindgen", WASM_BINDGEN),
        &format!("wasm-bindgen {WASM_BINDGEN}"),
        How::Cargo {
            package: "wasm-bindgen-cli",
            version: WASM_BINDGEN,
            flags: &["--no-default-features"],
        },
    );
    if extent == Extent::Everything {
        need(
            installed("wasm-pack", WASM_PACK),
            &format!("wasm-pack {WASM_PACK}"),
            How::Cargo { package: "wasm-pack", version: WASM_PACK, flags: &[] },
        );
        need(there("chromium"), "Chromium", How::Apt(vec!["chromium"]));
        need(version("c++").is_some(), "a C++ compiler", How::Apt(vec!["g++"]));
        let python = runs("python3", &["-c", "import ensurepip, venv"]);
        need(python, "Python 3 with venv", How::Apt(vec!["python3", "python3-venv"]));
        let list = fs::read(at(PYTHON_LIST)).ok();
        need(
            list.is_some() && list == fs::read(at(".tools/python/installed.txt")).ok(),
            "Upstash's client for Python",
            How::Python,
        );
        need(
            installed("cargo-fuzz", CARGO_FUZZ),
            &format!("cargo-fuzz {CARGO_FUZZ}"),
            How::Cargo { package: "cargo-fuzz", version: CARGO_FUZZ, flags: &[] },
        );
    }
    let lock = fs::read(at("package-lock.json")).ok();
    let installed_lock = fs::read(at("node_modules/.installed-lock.json")).ok();
    need(
        lock.is_some() && lock == installed_lock,
        "npm packages (wrangler, workerd, esbuild, binaryen, node, and what the tests run)",
        How::Npm,
    );
    needs
}

/// The first line of what a program says of its version, if it runs at all.
fn version(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").stdin(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether a command succeeds.
fn runs(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn has_target(rustc: &str) -> bool {
    let output = Command::new(rustc)
        .current_dir(root())
        .args(["--target", TARGET, "--print", "target-libdir"])
        .output();
    output.is_ok_and(|output| {
        let folder = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        output.status.success() && has_libraries(Path::new(&folder))
    })
}

fn has_libraries(folder: &Path) -> bool {
    let mut files = fs::read_dir(folder).into_iter().flatten().flatten();
    files.any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// How apt-get can be called without a question: as root, or by sudo that asks for no password.
fn apt() -> Option<&'static [&'static str]> {
    version("apt-get")?;
    if nix::unistd::geteuid().is_root() {
        return Some(&["apt-get"]);
    }
    let sudo = Command::new("sudo").args(["-n", "true"]).stderr(Stdio::null()).status();
    sudo.is_ok_and(|status| status.success()).then_some(&["sudo", "-n", "apt-get"])
}

fn apt_install(progress: &Step, apt: &[&str], packages: &[&str]) -> Result<()> {
    let (words, tail) = apt.split_at(apt.len() - 1);
    let (sudo, apt) = (words.join(" "), tail.concat());
    // With this runlevel, installing a server does not start it. sudo drops what env does not set.
    let script = format!(
        "{sudo} {apt} update && {sudo} env RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive \
         {apt} install -y --no-install-recommends {}",
        packages.join(" ")
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script]);
    step(progress, &mut shell, &at(".tools/log/apt.log"))
}

fn python(progress: &Step) -> Result<()> {
    let folder = at(".tools/python");
    let _ = fs::remove_dir_all(&folder);
    let mut shell = Command::new("sh");
    shell.args([
        "-c",
        "python3 -m venv \"$1\" && \"$1/bin/pip\" install --no-input -r \"$2\"",
        "python",
    ]);
    shell.arg(&folder).arg(at(PYTHON_LIST));
    step(progress, &mut shell, &at(".tools/log/python.log"))?;
    // Last, as the sign that all of it is there.
    fs::copy(at(PYTHON_LIST), folder.join("installed.txt"))?;
    Ok(())
}

fn cargo_install(progress: &Step, package: &str, version: &str, flags: &[&str]) -> Result<()> {
    let install = |locked: bool| {
        let mut cargo = Command::new("cargo");
        cargo
            .current_dir(root())
            .args(["install", "--force", package, "--version", version])
            .args(flags);
        cargo.arg("--root").arg(at(".tools"));
        if locked {
            cargo.arg("--locked");
        }
        cargo
            .env("CARGO_TARGET_DIR", at(".tools/build"))
            .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
        step(progress, &mut cargo, &at(&format!(".tools/log/{package}.log")))
    };
    // A mirror of the registry may lack a version that the tool's own lockfile names.
    install(true).or_else(|_| install(false))
}

fn wasm_target(progress: &Step, apt: Option<&[&str]>) -> Result<()> {
    if version("rustup").is_some() {
        let mut rustup = Command::new("rustup");
        rustup.current_dir(root()).args(["target", "add", TARGET]);
        let bounded = Step { seconds_max: Some(180), name: progress.name.clone(), ..*progress };
        if step(&bounded, &mut rustup, &at(".tools/log/rustup.log")).is_ok() && has_target("rustc")
        {
            return Ok(());
        }
        eprintln!("rustup can't add {TARGET}; Debian's packaged compiler takes its place");
    }
    let Some(apt) = apt else {
        bail!("{TARGET}: rustup target add {TARGET}, or on Debian as root: cargo xtask setup");
    };
    apt_install(progress, apt, &PACKAGED)?;
    build_packaged_std(progress)
}

/// Debian's packages of a compiler with the source of its standard library.
const PACKAGED: [&str; 6] =
    ["rustc-web", "cargo-web", "rust-web-src", "rust-web-llvm", "rust-web-clippy", "lld-22"];

/// Whether the library below .tools/rust is there, and of the packaged compiler as it is now.
fn packaged_is_ready() -> bool {
    let stamp = fs::read_to_string(at(".tools/rust/compiler")).ok();
    stamp.is_some() && stamp == version("/usr/bin/rustc")
}

/// Builds std for wasm32 from its source, into a sysroot of the project's own: a folder that has the
/// packaged compiler's libraries by link, and these beside them.
fn build_packaged_std(progress: &Step) -> Result<()> {
    let work = at(".tools/std");
    fs::create_dir_all(work.join("src"))?;
    let manifest =
        "[package]\nname = \"empty\"\nversion = \"0.0.0\"\nedition = \"2021\"\n[workspace]\n";
    fs::write(work.join("Cargo.toml"), manifest)?;
    fs::write(work.join("src/lib.rs"), "")?;
    let mut cargo = Command::new("/usr/bin/cargo");
    cargo
        .current_dir(&work)
        .env("PATH", "/usr/bin:/bin")
        .env("RUSTC_BOOTSTRAP", "1")
        .env("RUSTFLAGS", "-Zforce-unstable-if-unmarked -Cembed-bitcode=yes")
        .env("CARGO_TARGET_DIR", work.join("target"))
        .args(["build", "--release", "-Zbuild-std=std,panic_abort,test", "--target", TARGET]);
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        cargo.env_remove(name);
    }
    step(progress, &mut cargo, &at(".tools/log/std.log"))?;

    let sysroot = at(".tools/rust");
    let _ = fs::remove_dir_all(&sysroot);
    let libraries = sysroot.join("lib/rustlib").join(TARGET).join("lib");
    fs::create_dir_all(&libraries)?;
    fs::create_dir_all(sysroot.join("bin"))?;
    for file in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let file = file?;
        let name = file.file_name().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libempty-") {
            fs::copy(file.path(), libraries.join(name))?;
        }
    }
    for folder in fs::read_dir("/usr/lib/rustlib")? {
        let folder = folder?;
        let link = sysroot.join("lib/rustlib").join(folder.file_name());
        if !link.exists() {
            std::os::unix::fs::symlink(folder.path(), link)?;
        }
    }
    let rustc = sysroot.join("bin/rustc");
    fs::write(
        &rustc,
        format!("#!/bin/sh\nexec /usr/bin/rustc --sysroot '{}' \"$@\"\n", sysroot.display()),
    )?;
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755))?;
    // Last, as the sign that all of it is there.
    fs::write(sysroot.join("compiler"), version("/usr/bin/rustc").unwrap_or_default())?;
    Ok(())
}

/// The folder of PostgreSQL's programs: Debian's newest, or wherever `initdb` is found.
pub fn postgres_bin() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    folders.retain(|folder| folder.join("initdb").exists());
    folders.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    folders
        .pop()
        .or_else(|| std::env::split_paths(&path).find(|folder| folder.join("initdb").exists()))
}
