//! The tests are in `it/`; there is no library.
