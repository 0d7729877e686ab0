//! YAML files, read and validated by the tests' Python packages.

use crate::support::environment::ROOT;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// Returns the documents of a file.
pub fn documents(path: &Path) -> Vec<Value> {
    let script = "import json, sys, yaml\n\
                  print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1], encoding='utf-8')))))";
    let mut python = python("python");
    let output = python.args(["-c", script]).arg(path).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", path.display());
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns a program of the Python packages that the tests install.
pub fn python(program: &str) -> Command {
    Command::new(format!("{ROOT}/.tools/python/bin/{program}"))
}
