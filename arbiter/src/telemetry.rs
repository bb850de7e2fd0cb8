//! Where log lines go. Knows the environment's filter; never what is logged.

use tracing_subscriber::EnvFilter;

/// Log to standard error, filtered by `RUST_LOG`, else `info` (of openraft `warn`). On a terminal
/// in colour.
///
/// A second call changes nothing, so that tests may start several processes' worth in one.
pub fn init() {
    use std::io::IsTerminal;
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info,openraft=warn"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
