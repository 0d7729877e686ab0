//! Sets up this machine: checks everything, then installs what is missing.

use super::apt::Apt;
use super::needs::{C_COMPILER, Extent, How, Need, missing};
use super::npm::NpmFolder;
use super::toolchain::Tools;
use super::{python, wasm_target};
use crate::tasks::{Runner, TaskId, Tasks};
use anyhow::{Result, bail};

/// The tools to install.
pub struct Setup {
    needs: Vec<Need>,
    packages: Vec<&'static str>,
    apt: Option<Apt>,
}

/// The installing tasks, for tasks that depend on them. Each is `None` if nothing is missing.
#[derive(Clone, Copy, Default)]
pub struct Installed {
    /// The C compiler.
    pub compiler: Option<TaskId>,
    /// The root's npm packages.
    pub npm: Option<TaskId>,
    /// The standard library for wasm32.
    pub wasm_target: Option<TaskId>,
}

/// Installs everything that is missing.
pub fn ensure(extent: Extent) -> Result<Tools> {
    let mut tasks = Tasks::default();
    Setup::find(extent)?.add(&mut tasks);
    tasks.run()?;
    Ok(Tools::default())
}

impl Setup {
    /// Finds what is missing. Returns an error that names everything that the user must install.
    pub fn find(extent: Extent) -> Result<Self> {
        let needs = missing(extent);
        let (mut by_hand, mut packages) = (Vec::new(), Vec::new());
        for need in &needs {
            match need.how {
                How::ByHand(fix) => by_hand.push(format!("  {}: {fix}", need.name)),
                How::Apt(names) => packages.extend_from_slice(names),
                _ => {}
            }
        }
        let apt = if needs.is_empty() { None } else { Apt::find() };
        if !packages.is_empty() && apt.is_none() {
            let packages = packages.join(" ");
            by_hand.push(format!(
                "  as root: apt-get install {packages} (or what your system calls these)"
            ));
        }
        if !by_hand.is_empty() {
            let lines = by_hand.join("\n");
            bail!("missing tools, which you must install:\n{lines}");
        }
        if !needs.is_empty() {
            let names: Vec<&str> = needs.iter().map(|need| need.name.as_str()).collect();
            eprintln!("to be installed, once: {}", names.join(", "));
        }
        Ok(Self { needs, packages, apt })
    }

    /// Adds a task for each piece that is missing.
    pub fn add(self, tasks: &mut Tasks) -> Installed {
        let mut installed = Installed::default();
        let mut system = Vec::new();
        if let (false, Some(apt)) = (self.packages.is_empty(), self.apt) {
            let packages = self.packages;
            let name = format!("apt: {}", packages.join(" "));
            let work = move |runner: &Runner| apt.install(runner, &packages);
            let id = tasks.add(name, &[], work);
            if self.needs.iter().any(|need| need.name == C_COMPILER) {
                installed.compiler = Some(id);
            }
            system.push(id);
        }
        let mut npm_turn = Vec::new();
        for need in self.needs {
            match need.how {
                How::ByHand(_) | How::Apt(_) => {}
                How::Npm(folder) => {
                    let work = move |runner: &Runner| folder.install(runner);
                    let id = tasks.add(folder.task_name(), &npm_turn, work);
                    if folder == NpmFolder::Root {
                        installed.npm = Some(id);
                    }
                    npm_turn = vec![id];
                }
                How::Python => {
                    tasks.add(need.name, &system, python::install);
                }
                How::WasmTarget => {
                    let apt = self.apt;
                    let work = move |runner: &Runner| wasm_target::install(runner, apt);
                    installed.wasm_target = Some(tasks.add(need.name, &[], work));
                }
            }
        }
        installed
    }
}
