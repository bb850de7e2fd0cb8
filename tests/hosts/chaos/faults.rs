//! Faults done to the processes and links of a platform, and mended. Knows names and signals; never
//! when.

use super::schedule::{Fault, Place};
use crate::hosts::processes::alive;
use crate::hosts::stage::Stage;
use arbiter::lab::cluster::{AGENTS, ARBITERS, EU, US, WITNESS};
use arbiter::lab::net::Way;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;

const NUMBERS: [u8; 3] = [EU, US, WITNESS];

fn arbiter(at: Place) -> (&'static str, &'static str) {
    (ARBITERS[at].0, ARBITERS[at].1)
}

fn agent(at: Place) -> (&'static str, &'static str) {
    (AGENTS[at].0, AGENTS[at].1)
}

/// A process that is gone already needs no signal.
fn signal(pids: &[i32], signal: Signal) {
    for pid in pids {
        let _ = kill(Pid::from_raw(*pid), signal);
    }
}

/// What a fault stopped, so that exactly that goes on.
pub type Stopped = Vec<i32>;

/// Do it.
///
/// # Errors
/// If the platform's tools refuse.
pub fn strike(stage: &mut Stage, fault: Fault) -> io::Result<Stopped> {
    let mut stopped = Stopped::new();
    match fault {
        Fault::KillArbiter(at) => drop(stage.lab.arbiters.remove(arbiter(at).0)),
        Fault::StopArbiter(at) => {
            stopped.extend(stage.lab.arbiters.get(arbiter(at).0).map(|process| process.pid()));
        }
        Fault::KillAgent(at) => drop(stage.lab.agents.remove(agent(at).0)),
        Fault::StopAgent(at) => {
            stopped.extend(stage.lab.agents.get(agent(at).0).map(|process| process.pid()));
        }
        Fault::KillDeadman(at) => {
            signal(&stage.processes_with(agent(at).1, "deadman")?, Signal::SIGKILL);
        }
        Fault::StopDeadman(at) => stopped = stage.processes_with(agent(at).1, "deadman")?,
        Fault::KillPostgres(at) => {
            // None runs: it is fenced, or starts.
            let _ = stage.kill_postmaster(agent(at).1);
        }
        Fault::StopPostgres(at) => stopped.extend(stage.postmaster(agent(at).1)),
        Fault::KillRegion(at) => stage.lab.kill_region(NUMBERS[at])?,
        Fault::Cut(at) => stage.lab.net.cut_region(NUMBERS[at])?,
        Fault::CutOut(at) => stage.lab.net.cut_region_one_way(NUMBERS[at], Way::Out)?,
        Fault::CutIn(at) => stage.lab.net.cut_region_one_way(NUMBERS[at], Way::In)?,
        Fault::CutArbiter(at) => stage.lab.net.cut_host(arbiter(at).1)?,
        Fault::CutAgent(at) => stage.lab.net.cut_host(agent(at).1)?,
        Fault::Switchover | Fault::Manual => {}
    }
    signal(&stopped, Signal::SIGSTOP);
    Ok(stopped)
}

/// Undo it.
///
/// # Errors
/// If the platform's tools refuse, or a process does not start.
pub fn mend(stage: &mut Stage, fault: Fault, stopped: &Stopped) -> io::Result<()> {
    let left: Vec<i32> = stopped.iter().copied().filter(|pid| alive(*pid)).collect();
    signal(&left, Signal::SIGCONT);
    match fault {
        Fault::KillArbiter(at) => start_arbiter(stage, at),
        Fault::KillAgent(at) => start_agent(stage, at),
        Fault::KillRegion(at) => {
            start_arbiter(stage, at)?;
            if at < 2 { start_agent(stage, at) } else { Ok(()) }
        }
        Fault::Cut(at) => stage.lab.net.heal_region(NUMBERS[at]),
        Fault::CutOut(at) | Fault::CutIn(at) => {
            let hosts = stage.lab.net.hosts_of(NUMBERS[at]);
            hosts.iter().try_for_each(|host| stage.lab.net.heal_host(&host.name))
        }
        Fault::CutArbiter(at) => stage.lab.net.heal_host(arbiter(at).1),
        Fault::CutAgent(at) => stage.lab.net.heal_host(agent(at).1),
        _ => Ok(()),
    }
}

/// Unless another fault's mending has started it.
fn start_arbiter(stage: &mut Stage, at: Place) -> io::Result<()> {
    let name = arbiter(at).0;
    let runs = stage.lab.arbiters.get_mut(name).is_some_and(|process| process.running());
    if runs { Ok(()) } else { stage.lab.start_arbiter(name) }
}

fn start_agent(stage: &mut Stage, at: Place) -> io::Result<()> {
    let name = agent(at).0;
    let runs = stage.lab.agents.get_mut(name).is_some_and(|process| process.running());
    if runs { Ok(()) } else { stage.lab.start_agent(name, None) }
}

/// Everything runs and everything is connected.
///
/// # Errors
/// If the platform's tools refuse, or a process does not start.
pub fn all_well(stage: &mut Stage) -> io::Result<()> {
    stage.lab.net.heal()?;
    for at in 0..ARBITERS.len() {
        start_arbiter(stage, at)?;
    }
    (0..2).try_for_each(|at| start_agent(stage, at))
}
