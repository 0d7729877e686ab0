//! Redis's commands: the permission that each requires, its keys, and whether it may use a shared
//! connection.

mod arguments;
mod keys;
mod spec;
mod table;

pub use arguments::{argument_is, leaves_database, values};
pub use keys::keys;
pub use spec::{Access, CommandSpec, Family, KeyPositions};
#[cfg(test)]
pub use table::all;
pub use table::find;

use arguments::is_blocking_read;
use redis_rest::Command;
use table::NAME_BYTES_MAX;

/// Returns a command's name for errors and logs: in capitals, shortened, and in plain ASCII, so
/// that it can't inject anything into a line.
pub fn display_name(command: &Command) -> String {
    let name = command.name().chars().take(NAME_BYTES_MAX);
    name.map(|c| if c.is_ascii_graphic() { c.to_ascii_uppercase() } else { '?' }).collect()
}

/// Returns the error for a command that may not use a shared connection; `None` if it may.
pub fn refusal(command: &Command, spec: Option<&CommandSpec>) -> Option<String> {
    let is_never = spec.is_some_and(|spec| spec.access == Access::Never);
    // The script debugger takes over the connection, and may block the whole server.
    let is_debugger = argument_is(command, 0, "SCRIPT") && argument_is(command, 1, "DEBUG");
    (is_never || is_debugger || is_blocking_read(command)).then(|| {
        let name = display_name(command);
        format!("ERR Command is not available: '{name}' would change or block a shared connection")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use table::TABLE;

    #[test]
    fn table_is_sorted_and_finds_names_in_any_case() {
        assert!(TABLE.is_sorted_by(|a, b| a.name < b.name));
        for row in TABLE {
            assert!(row.name.len() <= NAME_BYTES_MAX);
            assert_eq!(find(&row.name.to_lowercase()).unwrap().name, row.name);
        }
        assert!(find("NOSUCH").is_none());
        assert!(find(&"X".repeat(1000)).is_none());
    }

    /// A read token may name no key that bounds these, so their arguments must not either. COMMAND
    /// repeats a description for each name, and so counts its names as values. An end-to-end test
    /// compares with the arguments that Redis itself documents.
    #[test]
    fn commands_without_keys_that_a_read_token_may_send_are_cheap() {
        let may_read = |row: &&CommandSpec| matches!(row.access, Access::Any | Access::Read);
        let names_no_key = |row: &&CommandSpec| match row.keys {
            KeyPositions::Span { first, .. } => first == 0,
            KeyPositions::Unknown => true,
            _ => false,
        };
        let found = TABLE.iter().filter(may_read).filter(names_no_key).map(|row| row.name);
        assert_eq!(found.collect::<Vec<_>>(), ["COMMAND", "DBSIZE", "ECHO", "PING", "TIME"]);
        let docs = (0..200).fold(Command::new("COMMAND").arg("DOCS"), |docs, _| docs.arg("SET"));
        assert_eq!(values(&docs), 201);
    }

    #[test]
    fn refusal_protects_shared_connections() {
        fn check(arguments: &[&str], passes: bool) {
            let command = arguments[1..]
                .iter()
                .fold(Command::new(arguments[0]), |command, argument| command.arg(argument));
            let refusal = refusal(&command, find(command.name()));
            assert_eq!(refusal.is_none(), passes, "{arguments:?}");
        }
        check(&["GET", "SELECT"], true);
        check(&["select", "1"], false);
        check(&["SUBSCRIBE", "x"], false);
        check(&["XREAD", "COUNT", "1", "STREAMS", "s", "0"], true);
        check(&["XREAD", "block", "0", "STREAMS", "s", "0"], false);
        check(&["XREAD", "STREAMS", "block", "0"], true);
        check(&["XREAD", "COUNT", "1", "BLOCK", "0", "STREAMS", "s", "0"], false);
        check(&["XREAD", "COUNT", "BLOCK", "0", "STREAMS", "s", "0"], true);
        check(&["XREADGROUP", "GROUP", "block", "block", "STREAMS", "s", ">"], true);
        check(
            &["XREADGROUP", "GROUP", "g", "c", "NOACK", "BLOCK", "0", "STREAMS", "s", ">"],
            false,
        );
        check(&["EVALSHA", "x", "0"], true);
        check(&["SCRIPT", "LOAD", "return 1"], true);
        check(&["script", "debug", "SYNC"], false);
    }
}
