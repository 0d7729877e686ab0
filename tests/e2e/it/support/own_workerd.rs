//! The edge of a stack once more, in a workerd of the test's own, which has other Workers next to
//! it.

use crate::support::process::{Folder, Process, free_ports, wait_for_port};
use crate::support::stack::Stack;
use std::process::Command;

pub struct OwnWorkerd {
    port: u16,
    pub process: Process,
    _folder: Folder,
}

impl OwnWorkerd {
    /// Starts the edge of `stack` on another port, with other Workers by name and script. `change`
    /// gets each of its text files by name, and returns what to write.
    pub fn start(
        stack: &Stack,
        workers: &[(&str, &str)],
        change: impl Fn(&str, String) -> String,
    ) -> Self {
        let (folder, [port]) = (Folder::new(), free_ports());
        let address = stack.fact("edge_url").trim_start_matches("http://").to_owned();
        let mut services = String::from("services = [");
        for (name, script) in workers {
            folder.write(&format!("{name}.js"), script);
            services.push_str(&format!(
                "(name = \"{name}\", worker = (compatibilityDate = \"2026-11-01\", \
                 compatibilityFlags = [\"enable_request_signal\"], \
                 modules = [(name = \"{name}.js\", esModule = embed \"{name}.js\")])),\n"
            ));
        }
        for file in std::fs::read_dir(stack.folder().join("edge")).unwrap().flatten() {
            let name = file.file_name().into_string().unwrap();
            let Ok(text) = std::fs::read_to_string(file.path()) else {
                if file.file_type().unwrap().is_file() {
                    std::fs::copy(file.path(), folder.file(&name)).unwrap();
                }
                continue;
            };
            let text = match name.as_str() {
                "config.capnp" => text
                    .replace(
                        &format!("address = \"{address}\""),
                        &format!("address = \"127.0.0.1:{port}\""),
                    )
                    .replace("services = [", &services),
                _ => text,
            };
            let changed = change(&name, text);
            folder.write(&name, &changed);
        }
        let mut workerd =
            Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../node_modules/.bin/workerd"));
        workerd.arg("serve").arg(folder.file("config.capnp"));
        let process = Process::start(&mut workerd, folder.file("log"));
        wait_for_port(port, &process);
        Self { port, process, _folder: folder }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}
