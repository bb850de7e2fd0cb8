//! `arbiter node`: its options, and the cluster file that it starts from.

use crate::node::{self, NodeError, NodeOptions};
use cluster_config::Faults;
use std::path::PathBuf;
use thiserror::Error;

/// Options of `arbiter node`.
#[derive(clap::Args, Debug)]
pub(super) struct NodeArgs {
    /// The cluster file.
    #[arg(long, env = "ARBITER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// This arbiter's name in it.
    #[arg(long)]
    name: String,
    /// Where everything durable is; never shared, never copied.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// This arbiter is new and waits until it is brought in: what is in its data directory must
    /// have been made by such a start.
    #[arg(long)]
    join: bool,
}

/// Why it does not run.
#[derive(Debug, Error)]
pub(super) enum NodeFail {
    /// Every fault of the file, a line each.
    #[error("the cluster file is not usable\n{0}")]
    Config(#[from] Faults),
    /// The node itself.
    #[error(transparent)]
    Node(#[from] NodeError),
}

/// Run an arbiter until it is asked to stop.
pub(super) fn run(args: NodeArgs) -> Result<(), NodeFail> {
    let NodeArgs { config, name, data_dir, join } = args;
    let cluster = crate::policy_file::load(&config)?;
    if join {
        node::joins(&data_dir, &name)?;
    }
    Ok(node::run(NodeOptions { cluster, name, data_dir })?)
}
