//! Small things that many parts stand on: words, numbers, timers, and questions about a
//! specification and a State.

mod questions;
mod timers;
mod words;
