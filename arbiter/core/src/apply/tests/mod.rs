//! What State accepts and what it refuses, read as sentences.

mod commands;
mod guards;
mod holding;
mod kept;
mod members;
mod refusals;
mod restore;
mod rows;
