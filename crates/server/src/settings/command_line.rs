//! The flags of a program, made of its settings.

use super::setting::{Kind, Setting, SettingsTable};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, ValueHint};
use std::collections::BTreeMap;

/// Returns the flags of settings. `--help` says of each what the table says.
pub fn arguments(settings: &[Setting]) -> impl Iterator<Item = Arg> {
    settings.iter().filter_map(|setting| {
        let argument = Arg::new(setting.variable).long(setting.flag?).env(setting.variable);
        let value_name = match setting.kind {
            Kind::Address => "ADDRESS:PORT",
            Kind::List(_) => "TEXTS",
            Kind::Number { .. } => "NUMBER",
            Kind::Path => "FILE",
            Kind::OneOf(_) | Kind::Secret { .. } | Kind::Text(_) => "TEXT",
        };
        let hint = match setting.kind {
            Kind::Path => ValueHint::FilePath,
            _ => ValueHint::Other,
        };
        let argument = argument.value_name(value_name).value_hint(hint).help(setting.help_text());
        Some(argument.hide_env_values(setting.is_sensitive))
    })
}

/// Returns the part of `--help` about secrets, which have no flags.
pub fn secrets_help(settings: &[Setting]) -> String {
    let is_secret = |setting: &&Setting| matches!(setting.kind, Kind::Secret { .. });
    let mut text = "Secrets:".to_owned();
    for setting in settings.iter().filter(is_secret) {
        text.push_str(&format!("\n  {}\n          {}", setting.variable, setting.help_text()));
    }
    text
}

/// Returns the values of the flags that a command line has, by the settings' variables.
pub fn flags(table: &SettingsTable, matches: &ArgMatches) -> BTreeMap<&'static str, String> {
    let mut flags = BTreeMap::new();
    let mut level = Some(matches);
    while let Some(matches) = level {
        for setting in table.settings.iter().filter(|setting| setting.flag.is_some()) {
            let Ok(Some(value)) = matches.try_get_one::<String>(setting.variable) else {
                continue;
            };
            if matches.value_source(setting.variable) == Some(ValueSource::CommandLine) {
                flags.insert(setting.variable, value.clone());
            }
        }
        level = matches.subcommand().map(|(_, matches)| matches);
    }
    flags
}
