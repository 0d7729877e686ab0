//! Cases for each setting of a program, made from its table: the setting is given by each source
//! and by none, and is wrong in each way that there is. The programs' tests run them.

mod checks;
mod example;
mod folder;
mod suite;

pub use example::Example;
pub use folder::Folder;
pub use suite::{Case, Suite};
