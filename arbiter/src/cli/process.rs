//! The commands that stay: processes of the platform, and the demo.
//! Knows their options; each module knows how it runs.

use crate::agent::deadman;
use crate::lab::demo;
use std::io::Write;
use std::process::ExitCode;

/// Options of `arbiter demo`.
#[derive(clap::Args, Debug)]
pub(super) struct DemoArgs {
    /// Leave after the report; without it the platform stays up to be explored.
    #[arg(long)]
    once: bool,
    /// Print the report as one JSON object on the last line.
    #[arg(long)]
    json: bool,
    /// The timers: wan, regional or metro.
    #[arg(long, default_value = "wan", value_parser = ["wan", "regional", "metro"])]
    profile: String,
}

/// Processes of the platform.
#[derive(clap::Subcommand)]
pub(super) enum Process {
    /// Watch a region being lost: the whole platform on this machine, with real components.
    Demo(DemoArgs),
    /// Run an arbiter: one voter of the cluster.
    #[cfg(feature = "rocksdb")]
    Node(super::node::NodeArgs),
    /// Run the process beside resources on a host: it observes them, obeys, and fences them itself.
    Agent(super::agent::AgentArgs),
    /// The companion of an agent, which kills when the agent does not renew.
    #[command(hide = true)]
    Deadman(deadman::DeadmanArgs),
    /// Print the version of the state that this program could take over from a deadman.
    #[command(name = deadman::VERSION_COMMAND, hide = true)]
    DeadmanVersion,
    /// The companion of a deadman, which kills when the deadman goes.
    #[command(hide = true)]
    Guard(deadman::GuardArgs),
}

/// Run one until it ends. No thread is there before: the deadman keeps to one, and the demo enters
/// a network namespace first.
pub(super) fn run(process: Process) -> ExitCode {
    match process {
        Process::Demo(DemoArgs { once, json, profile }) => {
            ended("demo", demo::run(&demo::Settings { once, json, profile }))
        }
        #[cfg(feature = "rocksdb")]
        Process::Node(args) => ended("node", super::node::run(args)),
        Process::Agent(args) => ended("agent", super::agent::run(args)),
        Process::Deadman(args) => deadman::main(&args),
        Process::DeadmanVersion => deadman::version_main(),
        Process::Guard(args) => deadman::guard_main(&args),
    }
}

/// Exit code of a process; why, if it could not go on.
fn ended<E: std::fmt::Display>(name: &str, outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr().lock(), "arbiter {name}: {error}");
            ExitCode::from(2)
        }
    }
}
