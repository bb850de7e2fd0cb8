//! The command line: asks over gRPC, renders answers, computes nothing.
//!
//! # Layout
//! - one file a command family: `process`, `status`, `check`, `plan`, `control`, `show`,
//!   `members`, `membership`, `backup`, `notify`, `cost`, `config`, `pki`, `audit`, `guards`
//! - `connect`: which arbiter is asked; `exit`: how a command ends
//! - `render/`: pure functions from messages to text
//!
//! It knows messages and words for people. It never knows State, Raft, or how anything is decided.

mod agent;
#[cfg(test)]
mod agreement;
mod audit;
mod backup;
mod check;
mod config;
mod connect;
mod control;
mod cost;
mod drill;
mod exit;
mod guards;
mod members;
mod membership;
#[cfg(test)]
mod next;
#[cfg(feature = "rocksdb")]
mod node;
mod notify;
mod pki;
mod plan;
mod process;
mod render;
mod show;
mod status;
#[cfg(test)]
mod tests;

use clap::{Parser, Subcommand};
use exit::{Exit, Fail};
use std::process::ExitCode;

const AFTER: &str = "\
Arbiters are found by --endpoints, ARBITER_ENDPOINTS, --config or ARBITER_CONFIG; all are tried.
Exit codes: 0 yes or done, 1 no or refused, 2 error. Each refusal says why, and what to run NEXT.";

/// Decides which of two regions is active, and makes it so: quorum, fence, data and DNS in one.
#[derive(Parser)]
#[command(name = "arbiter", version, after_help = AFTER, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    #[command(flatten)]
    Process(process::Process),
    #[command(flatten)]
    Question(Question),
}

/// What is asked of the arbiters.
#[derive(Subcommand)]
enum Question {
    /// Say who is active, who may write and until when, and what to do next.
    Status(status::Args),
    /// Show what a plan would do, or abort or resume one.
    Plan(plan::PlanArgs),
    /// Move a group to the other region as planned, without loss. Both regions must be healthy.
    Switchover(plan::SwitchoverArgs),
    /// Move a group away from a region that is not trusted any more, after proof of its fence.
    Failover(plan::FailoverArgs),
    /// Run a plan on purpose and go back, or rehearse on copies; see how drills went.
    Drill(drill::DrillArgs),
    /// Show or set who may open plans: observe, manual or automatic.
    Mode(control::ModeArgs),
    /// Let deadmen kill: arm the agents of a group.
    Arm(control::ArmArgs),
    /// Take the deadmen's right to kill away. Refused while a plan is open.
    Disarm(control::ArmArgs),
    /// Say, by name and reason, that an instance is fenced. Counts for the open plan only.
    Attest(control::AttestArgs),
    /// Print each gate that lets a plan open or blocks it, with its numbers.
    Explain(show::ExplainArgs),
    /// Check every precondition of failing over now, each with its remedy.
    Check(check::Args),
    /// List what happened, newest first.
    History(show::HistoryArgs),
    /// Tell what a plan did: steps, times, evidence, loss.
    Report(show::ReportArgs),
    /// Show what DNS says, or take over records that somebody else changed.
    Traffic(control::TrafficArgs),
    /// List what people asked for and what became of it, or check a copy of that log.
    Audit(audit::AuditArgs),
    /// Lengthen the leases of a group for a time, so that arbiters, agents and hosts can be
    /// upgraded without a fence.
    Maintain(guards::MaintainArgs),
    /// List what one person asked for and a second must agree to.
    Approvals(guards::ApprovalsArgs),
    /// Agree, as the second person, to what another asked for.
    Approve(guards::ApproveArgs),
    /// Begin a cluster, list its arbiters, bring others in, or move leadership.
    Members(members::Args),
    /// Write the state of the cluster to a file, or check such a file.
    Backup(backup::BackupArgs),
    /// Begin a new cluster that goes on from a backup, when the former is gone for good.
    Restore(backup::RestoreArgs),
    /// Say whether those who are to know of events can be told.
    Notify(notify::NotifyArgs),
    /// Say what a month of the standby costs, from the prices in the cluster file.
    Cost(cost::CostArgs),
    /// Check a cluster file, or bring a changed one into force.
    Config(config::Args),
    /// Make and show certificates: for development and small installations.
    Pki(pki::PkiArgs),
}

/// Parse the command line, run the command, and say how it ended.
pub fn run() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Process(process) => return process::run(process),
        Command::Question(Question::Config(args)) if args.is_local() => config::local(args),
        Command::Question(Question::Pki(args)) => pki::run(args),
        Command::Question(question) => in_runtime(ask(question)),
    };
    exit::code(ended)
}

/// What asks arbiters needs one thread and no more.
fn in_runtime(work: impl Future<Output = Result<Exit, Fail>>) -> Result<Exit, Fail> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(Fail::error(format!("no runtime: {error}"), "")),
    }
}

async fn ask(question: Question) -> Result<Exit, Fail> {
    match question {
        Question::Status(args) => status::run(args).await,
        Question::Plan(args) => plan::plan(args).await,
        Question::Switchover(args) => plan::switchover(args).await,
        Question::Failover(args) => plan::failover(args).await,
        Question::Drill(args) => drill::run(args).await,
        Question::Mode(args) => control::mode(args).await,
        Question::Arm(args) => control::arm(args, true).await,
        Question::Disarm(args) => control::arm(args, false).await,
        Question::Attest(args) => control::attest(args).await,
        Question::Explain(args) => show::explain(args).await,
        Question::Check(args) => check::run(args).await,
        Question::History(args) => show::history(args).await,
        Question::Report(args) => show::report(args).await,
        Question::Traffic(args) => control::traffic(args).await,
        Question::Audit(args) => audit::run(args).await,
        Question::Maintain(args) => guards::maintain(args).await,
        Question::Approvals(args) => guards::approvals(args).await,
        Question::Approve(args) => guards::approve(args).await,
        Question::Members(args) => members::run(args).await,
        Question::Backup(args) => backup::backup(args).await,
        Question::Restore(args) => backup::restore(args).await,
        Question::Notify(args) => notify::run(args).await,
        Question::Cost(args) => cost::run(args).await,
        Question::Config(args) => config::run(args).await,
        Question::Pki(args) => pki::run(args),
    }
}
