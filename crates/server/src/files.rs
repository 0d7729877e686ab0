//! The limit of open files.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Raises the limit of open files as far as connections and `others` need it. Warns if that fails;
/// `setting` is the name of the setting to lower then.
///
/// Without it, client connections could use up all files, and leave none for other connections.
pub fn raise_file_limit(connections_max: usize, others: usize, setting: &str) {
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = u64::try_from(connections_max.saturating_add(others)).unwrap_or(u64::MAX);
    let raised = wanted.min(hard);
    if raised > soft && setrlimit(Resource::RLIMIT_NOFILE, raised, hard).is_err() || raised < wanted
    {
        let advice = format!("raise the limit of open files (ulimit -n), or lower {setting}");
        tracing::warn!(event = "too_few_files", limit = raised.max(soft), wanted, advice);
    }
}
