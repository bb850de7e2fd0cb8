//! Drills on real servers: each kind end to end, twice, and the group is where it was.

use super::Case;
use super::command_line::{ERROR, NO, YES, says as answers};
use super::stage::{LIMIT, Stage, check, until, wrong};
use arbiter::lab::cluster::{GROUP, Lab};
use arbiter::lab::operator::Operator;
use arbiter_proto::v1;
use arbiter_proto::v1::admin_client::AdminClient;
use nix::sys::signal::Signal;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// How long a drill may take: the way back waits for the old region to be a standby.
const DRILL_LIMIT: Duration = Duration::from_secs(120);
/// Waits for anything at most as long.
const DRILL: &str = "
[groups.default.drill]
check = \"{dir}/check\"
check_limit = \"20s\"
limit = \"100s\"
";
/// Asks what it is pointed at whether it is a primary that has rows.
const CHECK: &str = "#!/bin/sh
test \"$(psql -X -A -t -h \"${ARBITER_ADDRESS%:*}\" -p \"${ARBITER_ADDRESS#*:}\" -U postgres -c \
'SELECT NOT pg_is_in_recovery() AND EXISTS (SELECT FROM writes)' postgres)\" = t
";

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "drills",
    "each kind of drill, twice, under load: it ends where it began, and loses nothing",
    |stage| Box::pin(drills(stage)),
)
.mode("manual")
.group("rto = \"30s\"\n")
.with(DRILL, check_in_place)];

fn check_in_place(lab: &Lab) -> io::Result<()> {
    let script = lab.options.dir.join("check");
    std::fs::write(&script, CHECK)?;
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
}

async fn drills(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    for _ in 0..2 {
        let epoch = stage.group().await?.epoch;
        let rehearsed = drilled(stage, "rehearsal").await?;
        says(&rehearsed, "rehearsal:db-us", "checks passed, removed")?;
        check(stage.group().await?.epoch == epoch, || "a rehearsal moved the group".into())?;
        copies_are_gone(stage)?;
        for (kind, epochs) in [("switchover", 2), ("region-loss", 4)] {
            let drill = drilled(stage, kind).await?;
            says(&drill, "check:us-east", "checks passed")?;
            check(drill.measured && drill.recovery_ms > 0, || format!("not measured: {drill:?}"))?;
            check(drill.outage_ms <= drill.recovery_ms, || format!("{drill:?}"))?;
            stage.serves("eu-west", epoch + epochs, LIMIT).await?;
            stage.ready_to_move("us-east").await?;
        }
    }
    by_command(stage).await?;
    stage.each_once("eu-west").await?;
    let group = stage.group().await?;
    fences_are_proven(stage).await?;
    check(group.predicted.contains("the objective is 30s"), || group.predicted.clone())?;
    check(group.drill.is_none() && group.drill_due.starts_with("due from"), || group.drill_due)
}

/// Agents have proven meanwhile that their fences would work, and stopped nothing by it.
async fn fences_are_proven(stage: &Stage) -> io::Result<()> {
    let said = async || answers(stage, "explain --json", YES, &[]).unwrap_or_default();
    let proven =
        |text: &str, id: &str| text.contains(&format!("the fence of {id} was last proven"));
    until("the fence of each is proven", LIMIT, async || {
        let text = said().await;
        ["db-eu", "db-us"].iter().all(|id| proven(&text, id))
    })
    .await
}

/// The same by the command line, and what it refuses and ends.
async fn by_command(stage: &Stage) -> io::Result<()> {
    answers(stage, "drill show 999999", NO, &["refused (no-drill)", "NEXT:"])?;
    answers(stage, "drill abort", NO, &["refused (no-drill)", "NEXT:"])?;
    answers(stage, "drill run --kind nonsense", ERROR, &["region-loss"])?;
    let words = ["drill ", "rehearsal of default on copies in us-east", "completed", "removed"];
    answers(stage, "drill run --kind rehearsal --reason quarterly", YES, &words)?;
    let list = ["the next drill is due from", "region-loss", "rehearsal", "completed", "olga"];
    answers(stage, "drill list", YES, &list)?;
    answers(
        stage,
        "drill show",
        YES,
        &["by olga (unverified): quarterly", "checks passed, removed"],
    )?;
    // The target's agent is stopped, so that the plan stops short of its point of no return.
    stage.lab.agents["agent-us"].signal(Signal::SIGSTOP);
    answers(stage, "drill run --kind switchover --no-wait", YES, &["open", "and back"])?;
    answers(stage, "status", YES, &["is at execute"])?;
    answers(stage, "drill run --kind rehearsal", NO, &["refused (drill-open)", "drill abort"])?;
    answers(stage, "drill abort --reason enough", YES, &["is ended", "NEXT:"])?;
    stage.lab.agents["agent-us"].signal(Signal::SIGCONT);
    answers(stage, "drill show", NO, &["aborted: enough"])?;
    stage.follows("eu-west").await?;
    stage.ready_to_move("us-east").await
}

/// Begin a drill, and wait until it has ended well.
async fn drilled(stage: &Stage, kind: &str) -> io::Result<v1::Drill> {
    let request = v1::RunDrillRequest {
        asked: Operator::asked("a case"),
        group: GROUP.into(),
        kind: kind.into(),
        ..Default::default()
    };
    let run = async |mut client: AdminClient<_>, request| client.run_drill(request).await;
    let begun = stage.lab.operator.admin(request, run).await;
    let begun = begun.map_err(|status| wrong(format!("{kind}: {status}")))?;
    let id = begun.drill.map_or(0, |drill| drill.id);
    let now = async || stage.lab.operator.drill(GROUP, id).await;
    let what = format!("{kind} ends");
    let over = async || now().await.is_some_and(|drill| drill.state != "open");
    let ended = until(&what, DRILL_LIMIT, over).await;
    let drill = now().await.ok_or_else(|| wrong("no arbiter answers"))?;
    ended.map_err(|error| wrong(format!("{error}; {drill:#?}")))?;
    check(drill.state == "completed", || format!("{kind}: {drill:#?}"))?;
    println!("   {kind}: recovery {} ms, outage {} ms", drill.recovery_ms, drill.outage_ms);
    Ok(drill)
}

fn says(drill: &v1::Drill, part: &str, text: &str) -> io::Result<()> {
    let said = drill.parts.iter().find(|found| found.name == part);
    let there = said.is_some_and(|found| found.said.contains(text));
    check(there, || format!("{part} did not say {text:?}: {:?}", drill.parts))
}

/// Beside the data nothing of a copy is left.
fn copies_are_gone(stage: &Stage) -> io::Result<()> {
    for server in stage.lab.servers.iter().flatten() {
        let beside = format!("{}.arbiter-rehearsal", server.data_dir.display());
        check(!std::path::Path::new(&beside).exists(), || format!("{beside} is left"))?;
    }
    Ok(())
}
