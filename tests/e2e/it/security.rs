//! Attacks, algorithms and signatures.

mod algorithms;
mod documented_commands;
mod hostile;
mod judges;
mod refusals;
mod sealing;
mod vectors;
