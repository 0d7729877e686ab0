//! Child processes: run a command to its end, or keep a server and stop it by its process id.

mod command;
mod files;
mod http;
mod server;
mod signals;

pub use command::{die_with_parent, output, run, signal_group};
pub use files::{write_atomically, write_private};
pub use http::{http_get, http_post};
pub use server::{Server, Servers};
pub use signals::{check_stop, is_stopping, listen, stop};
