//! What State accepts and what it refuses, read as sentences.

mod commands;
mod refusals;
mod rows;
