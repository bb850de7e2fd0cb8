//! What State accepts and what it refuses, read as sentences.

mod commands;
mod guards;
mod holding;
mod refusals;
mod rows;
