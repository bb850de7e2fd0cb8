//! `arbiter config`: check a cluster file here, or bring it into force there.

use super::connect::{Arbiters, Node, Where, Why};
use super::control::done;
use super::exit::{Exit, Fail, say};
use super::status::json;
use crate::policy_file;
use arbiter_proto::v1 as pb;
use clap::Subcommand;
use cluster_config::OnQuorumLoss;
use std::path::{Path, PathBuf};

/// Options of `arbiter config`.
#[derive(clap::Args, Debug)]
pub(super) struct Args {
    #[command(subcommand)]
    what: ConfigCommand,
}

#[derive(Subcommand, Debug)]
enum ConfigCommand {
    /// Check a cluster file: every fault with its line, key and remedy. Asks nobody.
    Check(CheckArgs),
    /// Bring a changed cluster file into force; shows each change first.
    Apply(ApplyArgs),
    /// Print every key with its meaning and default.
    Reference,
}

#[derive(clap::Args, Debug)]
struct CheckArgs {
    /// The cluster file.
    #[arg(env = "ARBITER_CONFIG")]
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args, Debug)]
struct ApplyArgs {
    /// The cluster file.
    file: PathBuf,
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    why: Why,
    /// Show the changes and make none.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether no arbiter needs to be asked.
    pub(super) fn is_local(&self) -> bool {
        !matches!(self.what, ConfigCommand::Apply(_))
    }
}

/// The text of a cluster file without faults.
pub(super) fn checked_text(file: &Path) -> Result<String, Fail> {
    let faulty = |faults: cluster_config::Faults| {
        Fail::refused("bad-configuration", faults.to_string(), "correct the cluster file")
    };
    let text = cluster_config::read_text(file).map_err(faulty)?;
    policy_file::parse(&text, &file.display().to_string()).map_err(faulty)?;
    Ok(text)
}

/// The cluster's name as a file without faults says it.
pub(super) fn cluster_id(file: &Path) -> Result<String, Fail> {
    let cluster = policy_file::load(file);
    cluster
        .map(|cluster| cluster.id)
        .map_err(|faults| Fail::error(faults.to_string(), "correct the cluster file"))
}

pub(super) fn local(args: Args) -> Result<Exit, Fail> {
    match args.what {
        ConfigCommand::Reference => say(&cluster_config::reference(&policy_file::registry())),
        ConfigCommand::Check(args) => return check(&args),
        ConfigCommand::Apply(_) => {}
    }
    Ok(Exit::Yes)
}

fn check(args: &CheckArgs) -> Result<Exit, Fail> {
    let checked = policy_file::load(&args.file);
    if args.json {
        let faults = checked.as_ref().err().map(|faults| faults.0.as_slice()).unwrap_or_default();
        let each = faults.iter().map(|fault| {
            let cluster_config::Fault { file, line, key, what, remedy } = fault;
            serde_json::json!({
                "file": file, "line": line, "key": key, "what": what, "remedy": remedy,
            })
        });
        let each: Vec<_> = each.collect();
        say(&json(&serde_json::json!({ "good": each.is_empty(), "faults": each }))?);
        return Ok(if checked.is_ok() { Exit::Yes } else { Exit::No });
    }
    match checked {
        Ok(cluster) => {
            say(&good(&cluster));
            Ok(Exit::Yes)
        }
        Err(faults) => {
            say(&faults.to_string());
            Ok(Exit::No)
        }
    }
}

fn good(cluster: &cluster_config::Cluster) -> String {
    let mut out = format!(
        "cluster {}: {} regions, {} arbiters, {} agents, {} groups; no faults\n",
        cluster.id,
        cluster.regions.len(),
        cluster.arbiters.len(),
        cluster.agents.len(),
        cluster.groups.len()
    );
    for (name, group) in &cluster.groups {
        let dead = group.timing.dead_after().as_secs_f64();
        out.push_str(&match group.policy.on_quorum_loss {
            OnQuorumLoss::Fence => format!(
                "group {name}: a lost lease is dead after {dead:.2} s; without a quorum the active \
                 region stops writing before its lease ends\n"
            ),
            OnQuorumLoss::Hold => format!(
                "group {name}: HOLDS: without a quorum the active region writes on; its silence \
                 proves nothing, so a failover needs its external_fence or an attestation\n"
            ),
        });
    }
    if cluster.insecure_plaintext {
        out.push_str("INSECURE: insecure_plaintext is set\n");
    }
    out + "NEXT: arbiter config apply FILE"
}

pub(super) async fn run(args: Args) -> Result<Exit, Fail> {
    let ConfigCommand::Apply(args) = args.what else { return local(args) };
    let config_toml = checked_text(&args.file)?;
    let mut at = args.at.clone();
    if at.endpoints.is_empty() && at.config.is_none() {
        at.config = Some(args.file.clone());
    }
    let arbiters = Arbiters::find(&at)?;
    let apply = |dry_run: bool, asked: pb::Asked| {
        let request = pb::ApplyPolicyRequest {
            asked: Some(asked),
            config_toml: config_toml.clone(),
            dry_run,
        };
        move |node: Node| {
            let request = request.clone();
            async move { node.admin().apply_policy(request).await }
        }
    };
    let seen = arbiters.change(apply(true, args.why.asked()?)).await?;
    let nothing = seen.diff.trim().is_empty();
    if nothing || args.dry_run {
        if args.json {
            say(&json(&seen)?);
        } else if nothing {
            say("nothing changes\nNEXT: arbiter status");
        } else {
            let next = format!("NEXT: arbiter config apply {}", args.file.display());
            say(&format!("{}\n{next}", seen.diff.trim_end()));
        }
        return Ok(Exit::Yes);
    }
    if !args.json {
        say(seen.diff.trim_end());
    }
    let answer = arbiters.change(apply(false, args.why.asked()?)).await?;
    match answer.outcome {
        _ if args.json => say(&json(&answer)?),
        Some(outcome) => return done(outcome, false),
        None => {}
    }
    Ok(Exit::Yes)
}
