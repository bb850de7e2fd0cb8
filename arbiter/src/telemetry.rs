//! Where log lines go. Knows the environment's filter; never what is logged.

use crate::raft::LOG_FILTER;
use tracing_subscriber::EnvFilter;

/// The Kubernetes client logs each answer that is no success, which whoever asked handles.
const CLIENT_FILTER: &str = "kube_client=off";

/// Log to standard error, filtered by `RUST_LOG`, else `info`, and less of what consensus says. On
/// a terminal in colour.
///
/// A second call changes nothing, so that tests may start several processes' worth in one.
pub fn init() {
    use std::io::IsTerminal;
    let usual = |_| EnvFilter::new(format!("info,{LOG_FILTER},{CLIENT_FILTER}"));
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(usual);
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init();
}
