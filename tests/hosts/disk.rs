//! The disk of an arbiter is full.

use super::Case;
use super::command_line::{YES, says};
use super::leader::{another, host_of};
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::clock;
use arbiter::lab::cluster::{ARBITERS, Lab};
use arbiter::lab::operator::Operator;
use arbiter::lab::process::Process;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use std::fs::OpenOptions;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::time::Duration;

/// Size of the disk of each arbiter.
const DISK: &str = "size=64m";
/// What is written at once of what fills it, in bytes.
const CHUNK: usize = 64 << 10;
/// What an arbiter says as it ends.
const SAYS: [&str; 2] = ["no space left on the disk", "free some space"];
/// Bytes of one entry, and how many there may be before the disk is full.
const REASON_BYTES: usize = 50_000;
const CHANGES_MAX: u32 = 500;
/// Longest pause of the follower: leadership moves, and nothing else does.
const GAP_MAX: Duration = Duration::from_millis(1500);

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "full-disk",
    "the leader's disk is full: it ends and says why, another leads, no write is missed; with room again it is back",
    |stage| Box::pin(full(stage)),
)
.with("", in_place)];

fn disk(lab: &Lab, arbiter: &str) -> PathBuf {
    lab.options.dir.join("data").join(arbiter)
}

/// Seen by this process and those that it starts alone: they take it with them.
fn in_place(lab: &Lab) -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    let none: Option<&str> = None;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
    for (name, ..) in ARBITERS {
        let at = disk(lab, name);
        std::fs::create_dir_all(&at)?;
        mount(Some("tmpfs"), &at, Some("tmpfs"), MsFlags::empty(), Some(DISK))?;
    }
    Ok(())
}

/// Until there is no room for another byte.
fn fill(file: &PathBuf) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    let chunk = [0; CHUNK];
    let mut size = CHUNK;
    while size > 0 {
        match file.write(&chunk[..size]) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::StorageFull => size /= 2,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

async fn full(stage: &mut Stage) -> io::Result<()> {
    let status = stage.lab.operator.status().await.ok_or_else(|| wrong("nobody answers"))?;
    let leader = status.leader;
    let (ballast, from) = (disk(&stage.lab, &leader).join("ballast"), clock::now());
    fill(&ballast)?;
    // Renewals write nothing. What does finds some room that was kept for it, and then none: it is
    // not lost, but done by whoever leads next.
    for turn in 0..CHANGES_MAX {
        let mode = if turn % 2 == 0 { "manual" } else { "automatic" };
        changed(stage, mode).await?;
        if !stage.lab.arbiters.get_mut(&leader).is_some_and(Process::running) {
            break;
        }
    }
    ends(stage, &leader).await?;
    another(stage, &leader).await?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    // A supervisor starts it again, and again: it ends each time, until somebody makes room.
    stage.lab.start_arbiter(&leader)?;
    ends(stage, &leader).await?;
    std::fs::remove_file(&ballast)?;
    stage.lab.start_arbiter(&leader)?;
    let back = |s: &v1::Status| {
        s.voters.len() == 3 && s.voters.iter().all(|voter| voter.role != "unreachable")
    };
    stage.lab.operator.wait("three voters again", LIMIT, back).await?;
    stage.no_gap("eu-west", from, GAP_MAX)?;
    says(stage, "mode automatic", YES, &["mode of default is automatic"])?;
    stage.ready_to_move("us-east").await?;
    stage.moved_by("switchover", "us-east").await
}

/// A change whose entry takes some room.
async fn changed(stage: &Stage, mode: &str) -> io::Result<()> {
    let asked = Operator::asked(&"x".repeat(REASON_BYTES));
    let request = v1::SetModeRequest { asked, mode: mode.to_owned(), ..Default::default() };
    let done = async || {
        let call = async |mut client: AdminClient<_>, request| client.set_mode(request).await;
        stage.lab.operator.admin(request.clone(), call).await.is_ok()
    };
    until("a change is done, here or by who leads next", LIMIT, done).await
}

/// The arbiter ends by itself, with words that help.
async fn ends(stage: &mut Stage, arbiter: &str) -> io::Result<()> {
    let what = format!("{arbiter} on {} ends", host_of(arbiter)?);
    let mut process = stage.lab.arbiters.remove(arbiter).ok_or_else(|| wrong(what.clone()))?;
    let running = std::cell::RefCell::new(&mut process);
    until(&what, LIMIT, async || !running.borrow_mut().running()).await?;
    let log = std::fs::read_to_string(stage.lab.options.dir.join(format!("{arbiter}.log")))?;
    let missing = SAYS.iter().find(|words| !log.contains(**words));
    check(missing.is_none(), || format!("{arbiter} does not say {missing:?}:\n{log}"))
}
