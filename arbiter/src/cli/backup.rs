//! `arbiter backup` and `arbiter restore`: the State of a cluster in a file, and a cluster that
//! goes on from one.

use super::connect::{Arbiters, Node, Where, Why};
use super::control::done;
use super::exit::{Exit, Fail, say};
use super::status::json;
use crate::backup::{self, Backup};
use arbiter_proto::v1 as pb;
use clap::Subcommand;
use std::path::{Path, PathBuf};

/// Options of `arbiter backup`.
#[derive(clap::Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BackupArgs {
    #[command(subcommand)]
    what: Option<BackupCommand>,
    #[command(flatten)]
    at: Where,
    /// The file to write.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Take it from the data directory of an arbiter that is stopped, and not from a cluster that
    /// runs: what was acknowledged last may be missing.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Who asks; recorded in the arbiter's log.
    #[arg(long, env = "USER", default_value = "operator")]
    by: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand, Debug)]
enum BackupCommand {
    /// Check a backup file: whole, and readable by this build. Asks nobody.
    Verify(VerifyArgs),
}

#[derive(clap::Args, Debug)]
struct VerifyArgs {
    /// The file.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Options of `arbiter restore`.
#[derive(clap::Args, Debug)]
pub(super) struct RestoreArgs {
    #[command(flatten)]
    at: Where,
    #[command(flatten)]
    why: Why,
    /// The backup to go on from.
    #[arg(long, value_name = "FILE", required_unless_present = "data_dir")]
    from: Option<PathBuf>,
    /// The data directory of an arbiter of the former cluster that is stopped, instead of a backup.
    #[arg(long, value_name = "DIR", conflicts_with = "from")]
    data_dir: Option<PathBuf>,
    /// The new cluster's id, as its cluster file says: typed once more, since the former cluster
    /// must be gone for good.
    #[arg(long, value_name = "ID")]
    new_cluster_id: String,
    /// The region that is active, where it is not the one in the backup; once for each group.
    #[arg(long, value_name = "GROUP=REGION", value_parser = pair)]
    active: Vec<(String, String)>,
    /// How far the epoch of each group rises: more for a second restore from one backup
    /// [default: 1000000].
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    epoch_jump: u64,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (group, region) = text.split_once('=').ok_or("write it as GROUP=REGION")?;
    Ok((group.to_owned(), region.to_owned()))
}

pub(super) async fn backup(args: BackupArgs) -> Result<Exit, Fail> {
    if let Some(BackupCommand::Verify(args)) = args.what {
        return verify(&args);
    }
    let Some(out) = &args.out else {
        return Err(Fail::error("a backup needs a file", "arbiter backup --out FILE"));
    };
    let bytes = match &args.data_dir {
        Some(dir) => offline(dir).await?,
        None => {
            let by = args.by.clone();
            let call = |node: Node| {
                let request = pb::BackupRequest { by: by.clone() };
                async move { node.admin().backup(request).await }
            };
            Arbiters::find(&args.at)?.change(call).await?.backup.to_vec()
        }
    };
    let taken = Backup::decode(&bytes).map_err(unusable)?;
    backup::store(out, &bytes)
        .map_err(|error| Fail::error(error.to_string(), "name another file with --out"))?;
    shown(&taken, out, args.json)
}

fn verify(args: &VerifyArgs) -> Result<Exit, Fail> {
    shown(&Backup::read(&args.file).map_err(unusable)?, &args.file, args.json)
}

fn unusable(error: backup::BackupError) -> Fail {
    Fail::refused("bad-backup", error.to_string(), "arbiter backup --out FILE")
}

fn shown(backup: &Backup, file: &Path, as_json: bool) -> Result<Exit, Fail> {
    let (head, file) = (&backup.head, file.display());
    if as_json {
        say(&json(head)?);
        return Ok(Exit::Yes);
    }
    let groups = backup.state.groups.iter().map(|(id, group)| {
        let active = group.active().map_or("-", |region| region.as_str());
        format!("  {id}: {active} is active at epoch {}\n", group.epoch())
    });
    let when = crate::calendar::utc(head.taken.0);
    say(&format!(
        "{file}: cluster {}, entry {} of term {}, state version {}, taken {when} by {}\n{}NEXT: \
         arbiter backup verify {file}",
        head.cluster_id,
        head.applied.index,
        head.applied.term,
        head.state_version,
        head.by,
        groups.collect::<String>(),
    ));
    Ok(Exit::Yes)
}

#[cfg(feature = "rocksdb")]
async fn offline(dir: &Path) -> Result<Vec<u8>, Fail> {
    let (state, at, identity) = crate::raft::read_offline(dir)
        .await
        .map_err(|error| Fail::error(error.to_string(), "name the --data-dir of another voter"))?;
    let by = format!("the data directory of node {}", identity.node_id);
    Ok(Backup::of(state, at, crate::clock::wall(), &by).encode())
}

#[cfg(not(feature = "rocksdb"))]
async fn offline(_: &Path) -> Result<Vec<u8>, Fail> {
    Err(Fail::error("this build has no store", "use one with the feature rocksdb"))
}

pub(super) async fn restore(args: RestoreArgs) -> Result<Exit, Fail> {
    let Some(file) = &args.at.config else {
        let next = "arbiter restore --config FILE --from BACKUP --new-cluster-id ID";
        return Err(Fail::error("the new cluster's file is needed", next));
    };
    let config_toml = super::config::checked_text(file)?;
    let cluster_id = super::config::cluster_id(file)?;
    if cluster_id != args.new_cluster_id {
        let why = format!("the file is for cluster {cluster_id}, not {}", args.new_cluster_id);
        return Err(Fail::refused("wrong-cluster", why, "give the new cluster a file of its own"));
    }
    if args.why.reason.is_empty() {
        let why = "a restore needs a reason: how is it known that the former cluster is gone?";
        return Err(Fail::refused("no-reason", why, "ask again with --reason"));
    }
    let bytes = match (&args.data_dir, &args.from) {
        (Some(dir), _) => offline(dir).await?,
        (None, Some(from)) => Backup::read(from).map_err(unusable)?.encode(),
        (None, None) => return Err(Fail::error("no backup is named", "name one with --from")),
    };
    let arbiters = Arbiters::find(&args.at)?;
    let request = pb::RestoreRequest {
        asked: Some(args.why.asked()?),
        cluster_id,
        config_toml,
        backup: bytes.into(),
        active: args.active.into_iter().collect(),
        epoch_jump: args.epoch_jump,
    };
    // Any of them may take it: each would begin with the same voters.
    let call = |node: Node| {
        let request = request.clone();
        async move { node.admin().restore(request).await }
    };
    done(arbiters.change(call).await?, args.json)
}
