//! The tools that a command needs on this machine, and how each is installed.

use super::npm::NpmFolder;
use super::probe::{is_in_path, postgres_bin, runs, version};
use super::python;
use super::toolchain::{TARGET, has_target, packaged_is_ready};
use std::path::Path;

/// The extent of a command's needs.
#[derive(Clone, Copy, Eq, PartialEq)]
pub enum Extent {
    /// Measuring the redis gateway.
    Bench,
    /// Measuring the Worker and its peers.
    BenchEdge,
    /// All tests, including those on Postgres.
    Everything,
    /// Building the container images' files.
    Images,
    /// Counting instructions.
    Instructions,
    /// Running the system.
    Stack,
    /// Running the system on memcached.
    StackOnMemcached,
    /// Running the system on Postgres.
    StackOnPostgres,
    /// Building the Worker.
    Worker,
}

/// A missing tool.
pub struct Need {
    pub name: String,
    pub how: How,
}

/// The way to install a tool.
#[derive(Clone, Copy)]
pub enum How {
    /// By the user, as the text explains.
    ByHand(&'static str),
    /// As these Debian packages.
    Apt(&'static [&'static str]),
    /// With npm, from a lockfile.
    Npm(NpmFolder),
    /// With pip, into a virtual environment.
    Python,
    /// With rustup, or else built for Debian's compiler.
    WasmTarget,
}

/// Returns the missing tools of an extent.
pub fn missing(extent: Extent) -> Vec<Need> {
    let mut needs = Needs::default();
    needs.need(C_COMPILER, is_in_path("cc"), How::Apt(&["gcc", "libc6-dev"]));
    if matches!(extent, Extent::Bench | Extent::BenchEdge) {
        needs.need("wrk", is_in_path("wrk"), How::Apt(&["wrk"]));
        let redis = ["redis-server", "redis-benchmark", "redis-cli"].map(is_in_path);
        let packages = How::Apt(&["redis-server", "redis-tools"]);
        needs.need("redis-server and its tools", redis == [true; 3], packages);
    }
    if matches!(extent, Extent::Everything | Extent::Instructions) {
        needs.need("valgrind", is_in_path("valgrind"), How::Apt(&["valgrind"]));
    }
    if !matches!(extent, Extent::Bench | Extent::Instructions) {
        needs.need_worker();
    }
    if matches!(extent, Extent::Everything | Extent::Stack | Extent::StackOnPostgres) {
        needs.need("redis-server", is_in_path("redis-server"), How::Apt(&["redis-server"]));
    }
    if matches!(extent, Extent::Everything | Extent::StackOnMemcached) {
        needs.need("memcached", is_in_path("memcached"), How::Apt(&["memcached"]));
    }
    if matches!(extent, Extent::BenchEdge | Extent::Everything | Extent::StackOnPostgres) {
        needs.need("PostgreSQL", postgres_bin().is_some(), How::Apt(&["postgresql"]));
    }
    if matches!(extent, Extent::Everything | Extent::Images) {
        let are_there = Path::new("/usr/share/ca-certificates/mozilla").is_dir();
        needs.need("certificates of authorities", are_there, How::Apt(&["ca-certificates"]));
    }
    if extent == Extent::Everything {
        needs.need_test_tools();
    }
    needs.0
}

#[derive(Default)]
struct Needs(Vec<Need>);

impl Needs {
    fn need(&mut self, name: &str, is_there: bool, how: How) {
        if !is_there {
            self.0.push(Need { name: name.to_owned(), how });
        }
    }

    /// Adds the tools that build and run the Worker.
    fn need_worker(&mut self) {
        let node = version("node")
            .and_then(|text| text.trim_start_matches('v').split('.').next()?.parse().ok());
        let is_new = node.is_some_and(|major: u32| major >= NODE_MAJOR_MIN);
        let how = How::ByHand("install it from your system's packages or nodejs.org");
        self.need("Node.js 20 or later", is_new, how);
        let target = has_target("rustc") || packaged_is_ready();
        self.need(TARGET, target, How::WasmTarget);
        let packages = "npm packages (wrangler, workerd, esbuild, binaryen, node)";
        self.need_npm(packages, NpmFolder::Root);
    }

    /// Adds the tools that only the tests need.
    fn need_test_tools(&mut self) {
        self.need_npm("npm packages of the tests", NpmFolder::TestClients);
        self.need_npm("npm packages of the console's tests", NpmFolder::Console);
        self.need_npm("npm packages of the docs site", NpmFolder::Docs);
        self.need("buildah", is_in_path("buildah"), How::Apt(&["buildah"]));
        let tools = is_in_path("ip") && is_in_path("unshare") && is_in_path("curl");
        self.need("ip, unshare and curl", tools, How::Apt(&["iproute2", "util-linux", "curl"]));
        self.need("Chromium", is_in_path("chromium"), How::Apt(&["chromium"]));
        let prometheus = is_in_path("prometheus") && is_in_path("promtool");
        self.need("Prometheus and promtool", prometheus, How::Apt(&["prometheus"]));
        self.need("a C++ compiler", is_in_path("c++"), How::Apt(&["g++"]));
        let python = runs("python3", &["-c", "import ensurepip, venv"]);
        let packages = How::Apt(&["python3", "python3-venv"]);
        self.need("Python 3 with venv", python, packages);
        self.need("Upstash's client for Python", python::is_installed(), How::Python);
    }

    fn need_npm(&mut self, name: &str, folder: NpmFolder) {
        if !folder.is_installed() {
            let how = How::ByHand("it comes with Node.js; on Debian: apt-get install npm");
            self.need("npm", is_in_path("npm"), how);
            self.need(name, false, How::Npm(folder));
        }
    }
}

/// The name of a tool that every build needs.
pub const C_COMPILER: &str = "a C compiler";

/// The oldest Node that runs npm and its packages. wrangler runs on the newer one that npm
/// installs.
const NODE_MAJOR_MIN: u32 = 20;
