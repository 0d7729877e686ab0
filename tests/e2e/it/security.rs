//! Attacks, algorithms and signatures.

mod algorithms;
mod hostile;
mod judges;
mod refusals;
mod sealing;
mod vectors;
