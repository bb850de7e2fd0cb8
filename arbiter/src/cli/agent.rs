//! `arbiter agent`: from the cluster file to what the agent is told. Knows the file's words; never
//! how an agent works.

use crate::agent::{self, AgentOptions, store::BOOT_ID_FILE};
use crate::tls::{self, Files, Role, Tls};
use crate::{policy_file, telemetry};
use arbiter_core::{AgentId, ClusterSpec, drills_beside, external_fences_beside};
use cluster_config::Cluster;
use std::path::PathBuf;
use std::sync::Arc;

/// Options of `arbiter agent`.
#[derive(clap::Args, Debug)]
pub(super) struct AgentArgs {
    /// The cluster file.
    #[arg(long, env = "ARBITER_CONFIG")]
    config: PathBuf,
    /// Its name, as in the cluster file.
    #[arg(long)]
    name: String,
    /// Directory of its own that outlives reboots.
    #[arg(long)]
    state_dir: PathBuf,
    /// Directory of its own on a file system that a reboot empties [default:
    /// /run/region-arbiter/NAME].
    #[arg(long)]
    runtime_dir: Option<PathBuf>,
    /// Arbiters to report to, host:port, separated by commas [default: those of the cluster file].
    #[arg(long, value_delimiter = ',')]
    arbiters: Vec<String>,
    /// Where its certificate, key and ca.pem are, as NAME.pem and NAME.key [default: as the cluster
    /// file says].
    #[arg(long, env = "ARBITER_TLS_DIR", value_name = "DIR")]
    tls_dir: Option<PathBuf>,
    /// A cluster that is gone for good, by an operator's word: once everything here is fenced, or
    /// is held by no deadman, the agent leaves it for the one of the arbiters that it is told.
    #[arg(long, value_name = "CLUSTER")]
    leave_cluster: Option<String>,
    /// Where resources get their cgroups: a path below the mount of cgroup v2, or `self` where
    /// systemd runs the deadman, in its own unit.
    #[arg(long, default_value = "region-arbiter")]
    cgroup_parent: String,
}

/// Run the agent until it is stopped.
///
/// # Errors
/// Why it could not begin, in one sentence or one a fault.
pub(super) fn run(args: AgentArgs) -> Result<(), String> {
    let cluster = policy_file::load(&args.config).map_err(|faults| faults.to_string())?;
    let options = options(args, &cluster)?;
    telemetry::init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(agent::run(options)).map_err(|error| error.to_string())
}

fn options(args: AgentArgs, cluster: &Cluster) -> Result<AgentOptions, String> {
    let spec: ClusterSpec = policy_file::to_spec(cluster);
    let name = AgentId::from(args.name.as_str());
    if !spec.agents.contains_key(&name) {
        let known: Vec<_> = spec.agents.keys().map(AgentId::as_str).collect();
        let (file, known) = (args.config.display(), known.join(", "));
        return Err(format!("{file} names no agent {name}; its agents are {known}"));
    }
    let groups = spec.groups.iter();
    let own = groups.flat_map(|(group, spec)| {
        let mine = spec.beside(&name).map(|(id, instance)| (id.clone(), instance.clone()));
        let all = mine.chain(external_fences_beside(spec, &name));
        let all = all.chain(drills_beside(spec, &name));
        all.map(move |(id, instance)| ((group.clone(), id), instance))
    });
    let instances = own.collect();
    let timings = spec.groups.iter().map(|(id, group)| (id.clone(), group.policy.timing));
    let timings = timings.collect();
    let mut arbiters = args.arbiters;
    if arbiters.is_empty() {
        arbiters = spec.voters.values().map(|voter| voter.address.clone()).collect();
    }
    let tls = certificates(cluster, &args.name, args.tls_dir)?;
    let unknown = |error| format!("its own program cannot be found: {error}");
    Ok(AgentOptions {
        runtime_dir: args.runtime_dir.unwrap_or_else(|| agent::default_runtime_dir(&name)),
        name,
        state_dir: args.state_dir,
        arbiters,
        tls,
        leaves: args.leave_cluster,
        instances,
        timings,
        cgroup_parent: args.cgroup_parent,
        program: agent::own_program().map_err(unknown)?,
        boot_id_file: PathBuf::from(BOOT_ID_FILE),
    })
}

/// Those of an agent; none where everything is plaintext.
fn certificates(
    cluster: &Cluster,
    name: &str,
    dir: Option<PathBuf>,
) -> Result<Option<Arc<Tls>>, String> {
    let Some(keys) = &cluster.tls else { return Ok(None) };
    tls::install();
    let files = dir.map_or_else(|| Files::of(keys, name), |dir| Files::within(&dir, name));
    let opened = Tls::open(files, &cluster.id, Role::Agent, name, keys.expiry_grace);
    opened.map(Some).map_err(|error| error.to_string())
}
