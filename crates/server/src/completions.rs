//! Completions of a program's command line for a shell.

use clap::{Args, Command};
use clap_complete::{Shell, generate};
use std::io::{self, Write as _};

/// The arguments of the command `completions`.
#[derive(Args, Clone, Copy, Debug)]
pub struct CompletionOptions {
    /// The shell that reads the script.
    pub shell: Shell,
}

impl CompletionOptions {
    /// Prints the script for the shell.
    pub fn print(self, mut command: Command) -> io::Result<()> {
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        generate(self.shell, &mut command, name.as_str(), &mut script);
        let script = String::from_utf8_lossy(&script);
        // clap_complete 4.6 names a program with a hyphen in two ways, so that bash completes
        // nothing after a command (clap-rs/clap#6421).
        let [wrong, right] = ["__subcmd__", "__"].map(|hyphen| name.replace('-', hyphen));
        let script = match self.shell {
            Shell::Bash => script.replace(&wrong, &right),
            _ => script.into_owned(),
        };
        io::stdout().write_all(script.as_bytes())
    }
}
