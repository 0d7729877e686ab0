//! What a command needs of this machine, and how each piece is installed.

use super::npm::NpmFolder;
use super::probe::{is_in_path, postgres_bin, runs, version};
use super::python;
use super::toolchain::{TARGET, has_target, packaged_is_ready};

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

/// Something that is needed and missing.
pub struct Need {
    pub name: String,
    pub how: How,
}

/// How something is installed.
#[derive(Clone, Copy)]
pub enum How {
    /// Not from here; the text says how.
    ByHand(&'static str),
    /// From these Debian packages.
    Apt(&'static [&'static str]),
    /// By npm, from a lockfile.
    Npm(NpmFolder),
    /// By pip, into a virtual environment.
    Python,
    /// By rustup, or else built for Debian's compiler.
    WasmTarget,
}

/// Returns what is missing of all that an extent needs.
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

    /// Adds what builds and runs the Worker.
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

    /// Adds what only the tests need.
    fn need_test_tools(&mut self) {
        self.need_npm("npm packages of the tests", NpmFolder::TestClients);
        self.need_npm("npm packages of the docs site", NpmFolder::Docs);
        self.need("Chromium", is_in_path("chromium"), How::Apt(&["chromium"]));
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

/// The name of the need that every build has.
pub const C_COMPILER: &str = "a C compiler";

/// What npm and its packages run on. wrangler runs on the newer one that npm installs.
const NODE_MAJOR_MIN: u32 = 20;
