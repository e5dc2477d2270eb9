//! `offload grade` as a TA uses it: real programs, compiled and run in real sandboxes.

mod fairness;
mod hostile;
mod reports;
mod submissions;
mod support;
