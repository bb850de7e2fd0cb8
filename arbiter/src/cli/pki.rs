//! `arbiter pki`: an authority for development and small installations, and the certificates of a
//! whole cluster file. Knows files and names; asks no arbiter.

use super::exit::{Exit, Fail, say};
use crate::tls::{Authority, CA_FILE, CA_KEY_FILE, Certificate, Identity, Role, TlsError, show};
use crate::{calendar, clock, policy_file};
use clap::Subcommand;
use cluster_config::{Cluster, host_port};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Said by what makes keys.
const MEANT_FOR: &str = "This authority is for development and small installations: whoever reads \
                         ca.key can be anybody. Keep it off the arbiters' hosts.";
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Options of `arbiter pki`.
#[derive(clap::Args, Debug)]
pub(super) struct PkiArgs {
    #[command(subcommand)]
    what: PkiCommand,
}

#[derive(Subcommand, Debug)]
enum PkiCommand {
    /// Make an authority: for development and small installations.
    Init(InitArgs),
    /// Make certificates: of every arbiter and agent of a cluster file, or of the people named.
    Issue(IssueArgs),
    /// Make certificates of arbiters and agents anew; processes read them without a restart.
    Renew(RenewArgs),
    /// Say whose a certificate is, in which role, and when it expires.
    Show(ShowArgs),
}

#[derive(clap::Args, Debug)]
struct Place {
    /// Where the authority is, and certificates and keys are written.
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
}

#[derive(clap::Args, Debug)]
struct InitArgs {
    #[command(flatten)]
    at: Place,
    /// How long it is good.
    #[arg(long, default_value_t = 3650, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// Replace an authority: every certificate that it signed is then of no use.
    #[arg(long)]
    force: bool,
}

#[derive(clap::Args, Debug)]
struct Of {
    #[command(flatten)]
    at: Place,
    /// The cluster file.
    #[arg(long, env = "ARBITER_CONFIG", value_name = "FILE")]
    config: PathBuf,
    /// How long they are good.
    #[arg(long, default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=36500))]
    days: u32,
    /// In seconds instead, to rehearse an expiry.
    #[arg(long, hide = true)]
    seconds: Option<u64>,
}

#[derive(clap::Args, Debug)]
struct IssueArgs {
    #[command(flatten)]
    of: Of,
    /// A person who runs plans, modes and policy.
    #[arg(long, value_name = "NAME")]
    operator: Vec<String>,
    /// An operator who also begins clusters and changes members.
    #[arg(long, value_name = "NAME")]
    admin: Vec<String>,
    /// A person or program that only asks.
    #[arg(long, value_name = "NAME")]
    viewer: Vec<String>,
    /// Replace certificates that are there.
    #[arg(long)]
    force: bool,
}

#[derive(clap::Args, Debug)]
struct RenewArgs {
    #[command(flatten)]
    of: Of,
    /// Arbiters and agents; all of the cluster file where none is named.
    names: Vec<String>,
}

#[derive(clap::Args, Debug)]
struct ShowArgs {
    /// A certificate in PEM.
    file: PathBuf,
}

pub(super) fn run(args: PkiArgs) -> Result<Exit, Fail> {
    match args.what {
        PkiCommand::Init(args) => init(&args),
        PkiCommand::Issue(args) => issue(&args),
        PkiCommand::Renew(args) => renew(&args),
        PkiCommand::Show(args) => shown(&args.file),
    }
}

fn init(args: &InitArgs) -> Result<Exit, Fail> {
    let dir = &args.at.dir;
    let there = [CA_FILE, CA_KEY_FILE].map(|name| dir.join(name));
    if let Some(file) = there.iter().find(|file| file.exists() && !args.force) {
        return Err(exists(file));
    }
    std::fs::create_dir_all(dir)
        .map_err(|error| Fail::error(format!("{}: {error}", dir.display()), "make it writable"))?;
    Authority::create(dir, DAY * args.days).map_err(failed)?;
    let (ca, key) = (there[0].display(), there[1].display());
    say(&format!(
        "made {ca} and {key}\n{MEANT_FOR}\nNEXT: arbiter pki issue --config FILE --dir {}",
        dir.display()
    ));
    Ok(Exit::Yes)
}

fn issue(args: &IssueArgs) -> Result<Exit, Fail> {
    let cluster = cluster(&args.of)?;
    let people = [
        (Role::Operator, &args.operator),
        (Role::Admin, &args.admin),
        (Role::Viewer, &args.viewer),
    ];
    let people: Vec<(Role, String)> = people
        .into_iter()
        .flat_map(|(role, names)| names.iter().map(move |name| (role, name.clone())))
        .collect();
    let named = !people.is_empty();
    let wanted = if named { people } else { processes(&cluster) };
    let mut out = String::new();
    for (role, name) in &wanted {
        let file = args.of.at.dir.join(format!("{name}.pem"));
        if file.exists() && !args.force {
            if named {
                return Err(exists(&file));
            }
            let _ = writeln!(out, "kept {}", file.display());
            continue;
        }
        out.push_str(&made(&args.of, &cluster, *role, name)?);
    }
    let next = if named {
        "arbiter status --certificate FILE"
    } else {
        "copy NAME.pem, NAME.key and ca.pem to each host"
    };
    say(&format!("{out}{MEANT_FOR}\nNEXT: {next}"));
    Ok(Exit::Yes)
}

fn renew(args: &RenewArgs) -> Result<Exit, Fail> {
    let cluster = cluster(&args.of)?;
    let mut wanted = processes(&cluster);
    if let Some(unknown) = args.names.iter().find(|name| wanted.iter().all(|(_, n)| n != *name)) {
        let what = format!("the cluster file has no arbiter and no agent {unknown}");
        return Err(Fail::error(
            what,
            "arbiter pki issue --config FILE --dir DIR --operator NAME --force",
        ));
    }
    wanted.retain(|(_, name)| args.names.is_empty() || args.names.contains(name));
    let mut out = String::new();
    for (role, name) in &wanted {
        out.push_str(&made(&args.of, &cluster, *role, name)?);
    }
    say(&format!("{out}NEXT: copy NAME.pem and NAME.key to each host; nothing needs a restart"));
    Ok(Exit::Yes)
}

fn cluster(of: &Of) -> Result<Cluster, Fail> {
    policy_file::load(&of.config)
        .map_err(|faults| Fail::error(faults.to_string(), "correct the cluster file"))
}

/// Every arbiter and agent.
fn processes(cluster: &Cluster) -> Vec<(Role, String)> {
    let arbiters = cluster.arbiters.keys().map(|name| (Role::Arbiter, name.clone()));
    arbiters.chain(cluster.agents.keys().map(|name| (Role::Agent, name.clone()))).collect()
}

/// Make one; a line that says so.
fn made(of: &Of, cluster: &Cluster, role: Role, name: &str) -> Result<String, Fail> {
    let identity = format!("arbiter://{}/{role}/{name}", cluster.id);
    let identity: Identity = identity
        .parse()
        .map_err(|error| Fail::error(format!("{error}"), "use a-z, 0-9 and . - _ @ + in names"))?;
    let same = |other: &&(Role, String)| other.1 == name && other.0 != role;
    if let Some((other, _)) = processes(cluster).iter().find(same) {
        let what = format!("{name} is the name of the {other} too, and its certificate's file");
        return Err(Fail::error(what, "choose another name"));
    }
    let address = cluster.arbiters.get(name).map(|arbiter| arbiter.address.as_str());
    let host = address.and_then(host_port).map(|(host, _)| host);
    let authority = Authority::open(&of.at.dir).map_err(failed)?;
    let validity = of.seconds.map_or(DAY * of.days, Duration::from_secs);
    let issued = authority.issue(&identity, host, validity).map_err(failed)?;
    issued.write(&of.at.dir, name).map_err(failed)?;
    let until = calendar::utc(clock::wall().0 + validity.as_millis() as u64);
    let file = of.at.dir.join(format!("{name}.pem"));
    Ok(format!("made {}  {identity}  until {until}\n", file.display()))
}

fn shown(file: &Path) -> Result<Exit, Fail> {
    let certificates = show(file).map_err(failed)?;
    let now = clock::wall();
    let mut out = String::new();
    for Certificate { identity, expires } in &certificates {
        let who = match identity {
            Ok(identity) => format!("{identity}: the {} {}", identity.role, identity.name),
            Err(none) => format!("of nobody: {none}"),
        };
        let (verb, when) = match expires.0.checked_sub(now.0) {
            Some(left) => ("expires", format!("in {} days", left / 86_400_000)),
            None => ("expired", format!("{} days ago", (now.0 - expires.0) / 86_400_000)),
        };
        let _ = writeln!(out, "{who}\n  {verb} {} ({when})", calendar::utc(expires.0));
    }
    say(&out);
    let good = certificates.iter().all(|one| one.expires >= now);
    Ok(if good { Exit::Yes } else { Exit::No })
}

fn exists(file: &Path) -> Fail {
    let why = format!("{} is there already", file.display());
    Fail::refused("exists", why, "give --force to replace it")
}

fn failed(error: TlsError) -> Fail {
    Fail::error(error.to_string(), "arbiter pki init --dir DIR, then issue")
}
