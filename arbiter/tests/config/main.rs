//! The cluster file in the words of this build: what is shipped parses, what is wrong is told.

mod examples;
mod faults;
