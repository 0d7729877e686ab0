//! The container images: the files that their Dockerfiles in `images/` copy. Nothing is compiled or
//! installed while an image is built, so every tool builds them alike, also without a network.

use crate::edge::{BUNDLE, image_config};
use crate::process::output;
use crate::programs::{self, PROGRAMS, Profile};
use crate::tools::Tools;
use crate::workspace::{at, root};
use crate::{policy, worker};
use anyhow::{Context as _, Result, ensure};
use clap::Args;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The options of `cargo xtask images`.
#[derive(Args)]
pub struct Options {
    /// The policy file of the edge's image.
    #[arg(long, default_value = "portcullis.toml")]
    policy: PathBuf,
}

/// An image, and what its files may weigh.
struct Image {
    name: &'static str,
    /// The most bytes of a release.
    bytes_max: u64,
    /// The most bytes with the tests' unoptimised programs.
    test_bytes_max: u64,
}

/// The size of an image's files, and the most that it may be.
pub struct Size {
    pub name: &'static str,
    pub bytes: u64,
    pub bytes_max: u64,
}

/// Builds everything for a release and writes it to build/images.
pub fn build(tools: &Tools, options: &Options) -> Result<()> {
    worker::build(tools)?;
    let programs = programs::build(Profile::Release)?;
    let folder = at("build/images");
    let policy = root().join(&options.policy);
    for Size { name, bytes, bytes_max } in assemble(&folder, &programs, &policy, Profile::Release)?
    {
        println!("{name}: {bytes} bytes, {bytes_max} allowed");
        ensure!(
            bytes <= bytes_max,
            "the image {name} is too large; see IMAGES in xtask/src/images.rs"
        );
    }
    println!("The files are in {}. docker compose build makes the images.", folder.display());
    Ok(())
}

/// Writes the same with the tests' programs to target/images. Expects the Worker and the programs
/// to be built.
pub fn build_for_tests(programs: &Path) -> Result<Vec<Size>> {
    assemble(&at("target/images"), programs, &policy::file(), Profile::Debug)
}

fn assemble(
    folder: &Path,
    programs: &Path,
    policy_file: &Path,
    profile: Profile,
) -> Result<Vec<Size>> {
    let _ = fs::remove_dir_all(folder);
    let certificates = certificates()?;
    for Image { name, .. } in IMAGES {
        let image = folder.join(name);
        write(&image.join("etc/ssl/certs/ca-certificates.crt"), certificates.as_bytes())?;
        for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
            copy(&at(licence), &image.join("licenses").join(licence))?;
        }
        // The servers contain the C library, and the edge's image has its files.
        let notice = Path::new("/usr/share/doc/libc6/copyright");
        if notice.exists() {
            copy(notice, &image.join("licenses/glibc"))?;
        }
        let dockerfile = format!("{name}.Dockerfile");
        let text = fs::read_to_string(at("images").join(&dockerfile))?;
        let text = text
            .replace("VERSION=unknown", &format!("VERSION={}", env!("CARGO_PKG_VERSION")))
            .replace("REVISION=unknown", &format!("REVISION={}", revision()));
        write(&folder.join(dockerfile), text.as_bytes())?;
    }
    for program in PROGRAMS {
        let image = program.trim_start_matches("portcullis-");
        copy(&programs.join(program), &folder.join(image).join(program))?;
    }
    let data = folder.join("data");
    fs::create_dir_all(&data)?;
    fs::set_permissions(&data, Permissions::from_mode(0o700))?;
    add_edge(&folder.join("edge"), policy_file)?;
    IMAGES.iter().map(|image| size(folder, image, profile)).collect()
}

/// Adds workerd with its libraries, the Worker, and the configuration for one policy.
fn add_edge(image: &Path, policy_file: &Path) -> Result<()> {
    let workerd = at("node_modules/@cloudflare/workerd-linux-64/bin/workerd");
    copy(&workerd, &image.join("workerd"))?;
    let libraries = output(Command::new("ldd").arg(&workerd))?;
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for library in libraries.map(Path::new) {
        copy(library, &inside(image, library))?;
        // glibc opens it when a thread is cancelled, and for backtraces.
        let unwinder = library.with_file_name("libgcc_s.so.1");
        if library.ends_with("libc.so.6") && unwinder.exists() {
            copy(&unwinder, &inside(image, &unwinder))?;
        }
    }
    let edge = image.join("edge");
    for name in BUNDLE {
        copy(&at("build").join(name), &edge.join(name))?;
    }
    for name in ["health.capnp", "health.js"] {
        copy(&at("images").join(name), &edge.join(name))?;
    }
    let sections = policy::read(policy_file)?;
    write(&edge.join(policy::MODULE), policy::module(&sections).as_bytes())?;
    write(&edge.join("config.capnp"), image_config(&sections)?.as_bytes())
}

/// Returns the certificates of public authorities. Those that this machine trusts besides are its
/// own affair, and no part of an image.
fn certificates() -> Result<String> {
    let folder = fs::read_dir(CERTIFICATES)
        .with_context(|| format!("{CERTIFICATES} is missing; install ca-certificates"))?;
    let mut paths: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let texts: std::io::Result<Vec<String>> = paths.iter().map(fs::read_to_string).collect();
    Ok(texts?.concat())
}

/// Returns the commit of the sources, for the label of an image.
fn revision() -> String {
    let mut git = Command::new("git");
    git.current_dir(root()).args(["rev-parse", "HEAD"]);
    output(&mut git).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn size(folder: &Path, image: &Image, profile: Profile) -> Result<Size> {
    let bytes_max = match profile {
        Profile::Debug => image.test_bytes_max,
        Profile::Release => image.bytes_max,
    };
    Ok(Size { name: image.name, bytes: bytes_below(&folder.join(image.name))?, bytes_max })
}

fn bytes_below(folder: &Path) -> Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| {
        let (path, data) = entry.and_then(|entry| Ok((entry.path(), entry.metadata()?)))?;
        Ok(sum + if data.is_dir() { bytes_below(&path)? } else { data.len() })
    })
}

fn inside(image: &Path, path: &Path) -> PathBuf {
    image.join(path.strip_prefix("/").unwrap_or(path))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let content = || -> std::io::Result<()> {
        fs::create_dir_all(to.parent().unwrap_or(to))?;
        fs::copy(from, to).map(drop)
    };
    content().with_context(|| format!("can't copy {}", from.display()))
}

fn write(path: &Path, content: &[u8]) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    fs::write(path, content).with_context(|| format!("can't write {}", path.display()))
}

/// Debian's list of the authorities that Mozilla trusts, one a file.
const CERTIFICATES: &str = "/usr/share/ca-certificates/mozilla";

/// The images. Their bounds are their sizes when these were set, and some 10%.
const IMAGES: [Image; 3] = [
    Image { name: "auth", bytes_max: 20_000_000, test_bytes_max: 42_000_000 },
    Image { name: "edge", bytes_max: 183_000_000, test_bytes_max: 183_000_000 },
    Image { name: "redis-gateway", bytes_max: 10_000_000, test_bytes_max: 19_800_000 },
];
