//! Small things that many parts stand on: words, numbers, timers, and questions about a
//! specification and a State.

mod fence;
mod orders;
mod questions;
mod timers;
mod view;
mod words;
