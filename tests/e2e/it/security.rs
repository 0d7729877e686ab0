//! Attacks, algorithms and signatures.

mod algorithms;
mod hostile;
mod refusals;
mod sealing;
mod vectors;
