//! The container images, built with buildah from the files in target/images.

use crate::support::environment::ROOT;
use crate::support::sandbox::Container;
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// An image, and a container of it.
pub struct Image {
    /// Its configuration, as a container runtime reads it.
    pub config: Value,
    /// Its files.
    pub root: PathBuf,
}

/// The images by their names: auth, edge and redis-gateway. `Err` says why this machine cannot
/// build them.
pub static IMAGES: LazyLock<Result<[(&str, Image); 3], String>> = LazyLock::new(|| {
    let tried = Command::new("unshare").args(["--net", "--mount", "true"]).output().unwrap();
    if !tried.status.success() {
        return Err(String::from_utf8_lossy(&tried.stderr).trim().to_owned());
    }
    let folder = Path::new(ROOT).join("target/images-built");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let images = ["auth", "edge", "redis-gateway"].map(|name| (name, build(&folder, name)));
    std::fs::remove_dir_all(folder.join(STORE)).unwrap();
    Ok(images)
});

/// Returns an image. Says why, if this machine does not build images.
pub fn image(name: &str) -> Option<&'static Image> {
    match &*IMAGES {
        Ok(images) => images.iter().find(|(own, _)| *own == name).map(|(_, image)| image),
        Err(reason) => {
            refuse(&format!("{reason}; nothing was tried with the image {name}"));
            None
        }
    }
}

/// Says what this machine refused, also in the output of a good run, which hides what tests print.
pub fn refuse(what: &str) {
    let _ = writeln!(std::io::stderr(), "REFUSED: {what}");
}

impl Image {
    /// Returns a member of the configuration that is a list of texts.
    pub fn words(&self, member: &str) -> Vec<String> {
        texts(&self.config[member])
    }

    /// Returns a container of the image as the image itself says, with a read-only root. A volume
    /// gets a folder below `volumes` that is as in the image.
    pub fn container(&self, volumes: &Path) -> Container {
        let user = self.config["User"].as_str().unwrap();
        let (user, group) = user.split_once(':').unwrap();
        assert_eq!(user, group);
        let env = self.words("Env");
        let env = env.iter().map(|text| text.split_once('=').unwrap());
        let paths = self.config["Volumes"].as_object();
        let volume = |path: &String| {
            let folder = volumes.join(path.trim_start_matches('/'));
            if !folder.exists() {
                run(Command::new("cp").arg("-a").arg(self.root.join(&path[1..])).arg(&folder));
            }
            (folder, path.clone(), false)
        };
        Container {
            root: Some(self.root.clone()),
            user: user.parse().unwrap(),
            workdir: self.config["WorkingDir"]
                .as_str()
                .filter(|path| !path.is_empty())
                .unwrap_or("/")
                .to_owned(),
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            mounts: paths.into_iter().flat_map(|paths| paths.keys()).map(volume).collect(),
            tmpfs: Vec::new(),
            is_read_only: true,
        }
    }
}

/// Returns the texts of a list, which is empty if the file has no list.
pub fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Builds an image, and moves its files from buildah's store to a folder of their own.
fn build(folder: &Path, name: &str) -> Image {
    let (store, root) = (&folder.join(STORE), folder.join(name));
    let context = Path::new(ROOT).join("target/images");
    assert!(context.exists(), "no files; run cargo xtask test e2e --only deployment");
    let tag = format!("localhost/portcullis-{name}:test");
    let mut bud = buildah(store);
    // The format keeps the health check.
    bud.args([
        "build",
        "--isolation",
        "chroot",
        "--format",
        "docker",
        "--pull=never",
        "--tag",
        &tag,
    ]);
    run(bud.arg("--file").arg(context.join(format!("{name}.Dockerfile"))).arg(&context));
    let inspected = run(buildah(store).args(["inspect", "--type", "image", &tag]));
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    run(buildah(store).args(["from", "--pull-never", "--name", name, &tag]));
    let mounted = run(buildah(store).args(["mount", name]));
    std::fs::rename(mounted.trim(), &root).unwrap();
    Image { config: inspected["Docker"]["config"].clone(), root }
}

/// Returns buildah with a store of its own, which needs no kernel's overlay.
fn buildah(store: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.args(["--storage-driver", "vfs", "--root"]).arg(store.join("graph"));
    buildah.arg("--runroot").arg(store.join("run"));
    buildah
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}

/// buildah's store, which is removed at the end.
const STORE: &str = "store";
