//! The one binary. Knows where it begins; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    arbiter::cli::run()
}
