//! Small things that many parts stand on: words, numbers, timers, and questions about a
//! specification and a State.

mod degraded;
mod drill;
mod external_fence;
mod orders;
mod spec;
mod timers;
mod view;
mod words;
