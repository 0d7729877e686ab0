//! The error type of commands and background tasks.

/// An error that ends a command or is logged by a background task.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
