//! The target `handlers`: see `tests/fuzz/mod.rs`.
#![no_main]

#[global_allocator]
static HEAP: arbiter_tests::fuzz::Counting = arbiter_tests::fuzz::Counting;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| arbiter_tests::fuzz::run("handlers", bytes));
