//! The command line, as an operator uses it: what it prints, and how it ends.

use super::Case;
use super::stage::{LIMIT, Stage, check, wrong};
use arbiter::lab::cluster::{GROUP, US};
use arbiter_proto::v1;
use nix::sys::signal::Signal;
use std::io;
use std::process::Command;

/// A row after the point of no return is not waited for long, so that a plan halts soon.
const HALTS_SOON: &str = "step_limit = \"3s\"\n";
/// Exit codes.
pub const YES: i32 = 0;
pub const NO: i32 = 1;
pub const ERROR: i32 = 2;

/// The cases of this file.
pub const CASES: &[Case] = &[Case::new(
    "command-line",
    "every command of an operator: its exit code, its words, and of a refusal why and what next",
    |stage| Box::pin(command_line(stage)),
)
.mode("observe")
.group(HALTS_SOON)];

async fn command_line(stage: &mut Stage) -> io::Result<()> {
    stage.pin("us-east")?;
    configuration(stage)?;
    looks(stage)?;
    armed(stage).await?;
    moves(stage).await?;
    turns(stage).await?;
    attests(stage).await
}

/// Run `arbiter` with `args` (separated by blanks), and see that it ends with `code` and prints
/// each of `words`; what it printed.
pub fn says(stage: &Stage, args: &str, code: i32, words: &[&str]) -> io::Result<String> {
    says_as("olga", stage, args, code, words)
}

/// The same, of another person.
pub fn says_as(
    who: &str,
    stage: &Stage,
    args: &str,
    code: i32,
    words: &[&str],
) -> io::Result<String> {
    let endpoints = stage.lab.endpoints().join(",");
    let mut command = Command::new(&stage.lab.options.binary);
    command.args(args.split_whitespace()).env("ARBITER_ENDPOINTS", endpoints);
    let output = command.env("USER", who).output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let ended = output.status.code();
    check(ended == Some(code), || format!("arbiter {args}: exit {ended:?}, not {code}:\n{text}"))?;
    let missing = words.iter().find(|word| !text.contains(**word));
    check(missing.is_none(), || format!("arbiter {args}: without {missing:?}:\n{text}"))?;
    Ok(text)
}

fn configuration(stage: &Stage) -> io::Result<()> {
    let file = stage.lab.config();
    let path = file.display();
    says(stage, &format!("config check {path}"), YES, &["no faults", "INSECURE", "NEXT:"])?;
    let text = std::fs::read_to_string(&file)?;
    let bad = file.with_file_name("bad.toml");
    std::fs::write(
        &bad,
        text.replace("step_limit", "step_limits").replace("\"witness\"", "\"wit\""),
    )?;
    let bad = bad.display();
    let faults = ["bad.toml", "step_limits", "step_limit", "\"wit\""];
    says(stage, &format!("config check {bad}"), NO, &faults)?;
    says(stage, &format!("config apply {bad}"), NO, &["bad-configuration", "NEXT:"])?;
    let changed = file.with_file_name("changed.toml");
    std::fs::write(&changed, text.replace("step_limit = ", "rpo = \"50s\"\nstep_limit = "))?;
    let changed = changed.display();
    says(stage, &format!("config apply {changed} --dry-run"), YES, &["rpo", "50s", "NEXT:"])?;
    says(stage, &format!("config apply {changed}"), YES, &["rpo", "50s", "NEXT:"])?;
    says(stage, &format!("config apply {changed}"), YES, &["nothing changes"])?;
    Ok(())
}

fn looks(stage: &Stage) -> io::Result<()> {
    let words = ["active eu-west", "epoch 1", "mode observe (in effect)", "INSECURE", "NEXT:"];
    let text = says(stage, "status", YES, &words)?;
    let last = text.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    check(last.starts_with("NEXT:"), || format!("the last line is {last:?}"))?;
    let text = says(stage, "status --json", YES, &[])?;
    let json: serde_json::Value = serde_json::from_str(text.trim()).map_err(io::Error::other)?;
    check(json["groups"][0]["active"] == "eu-west", || format!("status --json: {json}"))?;
    says(stage, "status --group nobody", NO, &["unknown-group", "NEXT:"])?;
    says(stage, "status --endpoints 127.0.0.1:1", ERROR, &["error", "NEXT:"])?;
    says(stage, "status --no-such-option", ERROR, &["--no-such-option"])?;
    says(stage, "mode", YES, &["observe (in effect)"])?;
    says(stage, "explain", YES, &["mode"])?;
    says(stage, "traffic show", YES, &["eu-west"])?;
    says(stage, "traffic adopt example.test", YES, &["example.test", "NEXT:"])?;
    says(stage, "members list", YES, &["arbiter-eu", "arbiter-us", "arbiter-witness", "leader"])?;
    says(stage, "members transfer --to arbiter-us", YES, &["arbiter-us leads"])?;
    says(stage, "members transfer --to nobody", NO, &["refused (", "NEXT:"])?;
    Ok(())
}

async fn armed(stage: &Stage) -> io::Result<()> {
    let refused = ["refused (mode)", "the mode is observe", "NEXT: arbiter mode manual"];
    says(stage, "switchover --to us-east", NO, &refused)?;
    says(stage, "arm --reason first", YES, &["NEXT:"])?;
    let armed = |g: &v1::GroupStatus| {
        g.regions.iter().flat_map(|r| &r.agents).all(|agent| agent.arming == "armed")
    };
    stage.lab.operator.wait_group(GROUP, "armed", LIMIT, armed).await?;
    says(stage, "mode manual --reason first", YES, &["manual", "NEXT:"])?;
    says(stage, "mode", YES, &["manual (in effect)"])?;
    stage.ready_to_move("us-east").await
}

async fn moves(stage: &Stage) -> io::Result<()> {
    let dry = ["would be a failover", "nothing is changed", "point of no return", "promote-data"];
    says(stage, "plan failover --to us-east", YES, &dry)?;
    says(stage, "plan switchover --to nowhere", NO, &["unknown-region", "NEXT:"])?;
    says(stage, "switchover --to witness", NO, &["refused (witness)", "NEXT:"])?;
    says(stage, "switchover --to eu-west", NO, &["refused (already-active)", "NEXT:"])?;
    let mut words = vec!["switchover of default from eu-west to us-east", "completed", "NEXT:"];
    words.extend(arbiter_core::STEPS.iter().skip(2).map(|step| step.name));
    says(stage, "switchover --to us-east --reason planned", YES, &words)?;
    stage.serves("us-east", 2, LIMIT).await?;
    stage.ready_to_move("eu-west").await?;
    words[0] = "failover of default from us-east to eu-west";
    says(stage, "failover --to eu-west --reason drill", YES, &words)?;
    stage.serves("eu-west", 3, LIMIT).await?;
    says(stage, "history", YES, &["switchover", "failover", "completed"])?;
    let report = [
        "failover of default",
        "by olga (unverified): drill",
        "epoch 2 → 3",
        "confirmed",
        "loss bound",
    ];
    says(stage, "report", YES, &report)?;
    let became = ["promoted", "it took a write", "first write", "last client", "at most"];
    says(stage, "report", YES, &became)?;
    says(stage, "report 999999", NO, &["refused (", "NEXT:"])?;
    stage.ready_to_move("us-east").await
}

/// Plans that do not end as they were opened: one aborted, one halted and resumed.
async fn turns(stage: &Stage) -> io::Result<()> {
    says(stage, "plan abort", NO, &["refused (no-plan)", "NEXT:"])?;
    stage.lab.agents["agent-us"].signal(Signal::SIGSTOP);
    says(stage, "failover --to us-east --no-wait", YES, &["plan ", "open"])?;
    says(stage, "plan show", YES, &["failover of default", "open", "STEP"])?;
    says(stage, "switchover --to us-east", NO, &["refused (plan-open)", "NEXT:"])?;
    says(stage, "disarm", NO, &["refused (", "NEXT:"])?;
    says(stage, "plan abort --reason mistaken", YES, &["is aborted; the source is resumed"])?;
    stage.lab.agents["agent-us"].signal(Signal::SIGCONT);
    stage.serves("eu-west", 3, LIMIT).await?;
    // What the agent told before it was stopped says nothing of the stream after the resume.
    stage.arrives_at("eu-west", &["us-db"]).await?;
    stage.ready_to_move("us-east").await?;
    stage.lab.agents["agent-us"].signal(Signal::SIGSTOP);
    says(stage, "failover --to us-east", NO, &["refused (halted)", "db-us", "NEXT: arbiter plan"])?;
    stage.lab.agents["agent-us"].signal(Signal::SIGCONT);
    says(stage, "plan resume --reason thawed", YES, &["goes on", "NEXT:"])?;
    stage.serves("us-east", 4, LIMIT).await?;
    says(stage, "plan resume", NO, &["refused (no-plan)", "NEXT:"])?;
    stage.ready_to_move("eu-west").await
}

/// An operator's word for a region that does not answer is refused while its lease may live: it
/// never shortens that wait.
async fn attests(stage: &Stage) -> io::Result<()> {
    says(stage, "attest db-us", NO, &["refused (no-reason)", "NEXT:"])?;
    says(stage, "attest db-us --reason dark", NO, &["refused (no-plan)", "NEXT:"])?;
    // A leader elected after the cut would know nothing of its agents yet.
    stage.leader_outside("us-east").await?;
    stage.lab.net.cut_region(US)?;
    says(stage, "failover --to eu-west --no-wait", YES, &["plan ", "open"])?;
    says(stage, "attest nobody --reason dark", NO, &["refused (", "NEXT:"])?;
    says(stage, "attest db-us --reason dark", NO, &["refused (", "NEXT:"])?;
    stage.serves("eu-west", 5, stage.dead_after() + LIMIT).await?;
    let plan = stage.newest_plan().await?;
    let proof = plan.evidence.first().ok_or_else(|| wrong("no evidence"))?;
    let waited = u128::from(proof.waited_ms) >= stage.timing().lease.as_millis();
    check(proof.kind == "lease-expired" && waited, || format!("{proof:?}"))?;
    says(stage, "report", YES, &["db-us", "lease-expired", "completed"]).map(drop)
}
