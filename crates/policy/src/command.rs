//! The command line of the tools: its arguments, and what a host lends them.

use crate::{check, diff, explain};
use clap::{Parser, Subcommand};
use jsonc_parser::ParseOptions;
use portcullis_core::VerifyingKey;
use serde_json::{Map, Value};

/// Returns whether a signature of a text holds, or `None` if the platform can't use the key.
pub type Verify<'v> = dyn Fn(&VerifyingKey, &[u8], &str) -> Result<Option<bool>, String> + 'v;

/// What a command may use of the machine that it runs on.
pub struct Host<'h> {
    /// Reads a file.
    pub read: &'h dyn Fn(&str) -> Result<String, String>,
    /// Verifies a signature.
    pub verify: &'h Verify<'h>,
    /// The time, in seconds since 1970.
    pub now_seconds: u64,
    /// Whether the output is a terminal that shows colours.
    pub has_colours: bool,
    pub(crate) json: bool,
    wrangler: Value,
}

/// What a command prints, and its exit status: 0 good, 1 `check` found errors, 2 the command can't
/// be run, 3 `diff` found something weaker.
#[derive(Debug)]
pub struct Outcome {
    /// The text for the standard output; for the error output if the status is 2.
    pub text: String,
    /// The exit status.
    pub status: u8,
}

impl Outcome {
    /// Returns the outcome of a command that could not be run.
    pub(crate) fn failed(message: &str) -> Self {
        Self { text: format!("error: {message}\n"), status: USAGE }
    }
}

#[derive(Parser)]
#[command(
    name = "portcullis",
    about = "Check, explain and compare policy files",
    after_help = "Exit status: 0 good; 1 check found errors; 2 the command can't be run; 3 diff found \
                  something weaker."
)]
struct Arguments {
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    /// The configuration of wrangler whose variables the policy may use. [default: the first of
    /// wrangler.json, wrangler.jsonc and wrangler.toml that exists]
    #[arg(long, global = true)]
    wrangler: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find all errors of a policy file, and what it risks.
    Check {
        /// The policy file.
        #[arg(default_value = "portcullis.toml")]
        file: String,
        /// The environment, [env.NAME]; by default the file as it stands, and each environment.
        #[arg(long)]
        env: Option<String>,
    },
    /// Say what changes between two policy files, what is weaker first.
    Diff {
        /// The policy file that is live.
        old: String,
        /// The policy file that is to be.
        new: String,
        /// The environment, [env.NAME].
        #[arg(long)]
        env: Option<String>,
    },
    /// Say what the edge would do with a request, and why.
    Explain(explain::Options),
}

/// Runs a command. `arguments` begin with the program's name. `read` returns the text of a file, or
/// why it can't be read. `now_seconds` is the Unix time at which `explain` checks a token.
pub fn run(
    arguments: &[String],
    read: &dyn Fn(&str) -> Result<String, String>,
    verify: &Verify<'_>,
    now_seconds: u64,
    has_colours: bool,
) -> Outcome {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        // Help is an "error", too.
        Err(error) => {
            let status = if error.use_stderr() { USAGE } else { 0 };
            return Outcome { text: error.to_string(), status };
        }
    };
    let wrangler = match variables(arguments.wrangler.as_deref(), read) {
        Ok(wrangler) => wrangler,
        Err(error) => return Outcome::failed(&error),
    };
    let host = Host { read, verify, now_seconds, has_colours, json: arguments.json, wrangler };
    match arguments.command {
        Command::Check { file, env } => check::check(&file, env.as_deref(), &host),
        Command::Diff { old, new, env } => diff::diff(&old, &new, env.as_deref(), &host),
        Command::Explain(options) => explain::explain(&options, &host),
    }
}

/// Reads wrangler's configuration. Without a path, it is the first of wrangler's own names that
/// there is; without such a file, there are no variables.
fn variables(
    path: Option<&str>,
    read: &dyn Fn(&str) -> Result<String, String>,
) -> Result<Value, String> {
    let Some(path) = path else {
        let found = WRANGLER_FILES.iter().find_map(|path| Some((*path, read(path).ok()?)));
        return found.map_or(Ok(Value::Null), |(path, text)| parse_wrangler(path, &text));
    };
    let text = read(path).map_err(|error| format!("can't read {path}: {error}"))?;
    parse_wrangler(path, &text)
}

fn parse_wrangler(path: &str, text: &str) -> Result<Value, String> {
    if path.ends_with(".toml") {
        return toml::from_str(text).map_err(|error| format!("{path}: {error}"));
    }
    let value = jsonc_parser::parse_to_serde_value(text, &ParseOptions::default());
    value.map(Option::unwrap_or_default).map_err(|error| format!("{path}: {error}"))
}

impl Host<'static> {
    /// Returns a host that lends nothing but the time.
    pub(crate) fn without_files(now_seconds: u64) -> Self {
        fn read(_: &str) -> Result<String, String> {
            Err("no files are read here".to_owned())
        }
        fn verify(_: &VerifyingKey, _: &[u8], _: &str) -> Result<Option<bool>, String> {
            Ok(None)
        }
        Self {
            read: &read,
            verify: &verify,
            now_seconds,
            has_colours: false,
            json: false,
            wrangler: Value::Null,
        }
    }
}

/// Returns the variables of one of wrangler's environments.
fn vars(table: &Value) -> Option<&Map<String, Value>> {
    table.get("vars")?.as_object()
}

/// Returns the environment of the policy that these variables select.
fn selected(table: &Value) -> Option<&str> {
    vars(table)?.get("PORTCULLIS_ENV")?.as_str()
}

impl Host<'_> {
    /// Returns a variable of the Worker in an environment of the policy, if it is known.
    pub(crate) fn variable(&self, name: &str, environment: Option<&str>) -> Option<String> {
        match (name, environment) {
            ("PORTCULLIS_ENV", Some(environment)) => Some(environment.to_owned()),
            ("PORTCULLIS_ENV", None) => None,
            _ => match self.variables(environment)?.get(name)? {
                Value::String(text) => Some(text.clone()),
                other => Some(other.to_string()),
            },
        }
    }

    /// Returns the names of the variables of the Worker in an environment of the policy, as far as
    /// they are known.
    pub(crate) fn names(&self, environment: Option<&str>) -> Vec<String> {
        let variables = self.variables(environment);
        variables.into_iter().flat_map(|variables| variables.keys().cloned()).collect()
    }

    /// Returns the environments of the policy that wrangler's variables select.
    pub(crate) fn selected_environments(&self) -> Vec<String> {
        let tables = self.wrangler.get("env").and_then(Value::as_object);
        let tables = tables.into_iter().flat_map(Map::values).chain([&self.wrangler]);
        tables.filter_map(selected).map(str::to_owned).collect()
    }

    fn variables(&self, environment: Option<&str>) -> Option<&Map<String, Value>> {
        let Some(name) = environment else {
            return vars(&self.wrangler);
        };
        let tables = self.wrangler.get("env").and_then(Value::as_object);
        let mut tables = tables.into_iter().flatten();
        let table = tables.find(|(own, table)| selected(table).unwrap_or(own) == name);
        let general = Some(&self.wrangler).filter(|wrangler| selected(wrangler) == Some(name));
        vars(table.map(|(_, table)| table).or(general)?)
    }

    pub(crate) fn red(&self, text: &str) -> String {
        self.coloured(31, text)
    }

    pub(crate) fn yellow(&self, text: &str) -> String {
        self.coloured(33, text)
    }

    pub(crate) fn green(&self, text: &str) -> String {
        self.coloured(32, text)
    }

    fn coloured(&self, colour: u8, text: &str) -> String {
        match self.has_colours && !self.json {
            true => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
            false => text.to_owned(),
        }
    }
}

const USAGE: u8 = 2;

/// The files that wrangler reads, in its order.
const WRANGLER_FILES: [&str; 3] = ["wrangler.json", "wrangler.jsonc", "wrangler.toml"];
