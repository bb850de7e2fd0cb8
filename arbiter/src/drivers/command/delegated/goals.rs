//! The goals *active*, *standby* and *drained*: what the script is asked, and when the manager is
//! started for it.
//!
//! Knows the script's answers and whether the manager runs. Never knows what the manager does.

use super::Delegated;
use crate::clock;
use crate::drivers::command::reply::{Reply, State};
use crate::drivers::command::script::Ask;
use crate::drivers::processes::{self, Process};
use crate::drivers::{Command, Done, DriverError};
use arbiter_core::{Goal, Layer, Terms, Token};
use std::path::PathBuf;
use std::sync::PoisonError;
use std::time::Duration;

/// How long a started manager may take until a process of it is seen.
const APPEAR_MAX: Duration = Duration::from_secs(5);
/// How long one look at it waits for the next.
const APPEAR_POLL: Duration = Duration::from_millis(10);
/// Looks at a manager that forks while it is adopted.
const ADOPT_PASSES_MAX: u32 = 8;
/// Which end of the stream a drain is of, for the script.
const SIDE: &str = "ARBITER_SIDE";

impl Delegated {
    /// The region's servers may write: which of them does is the manager's business.
    pub(super) async fn active(&self, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        let reply = self.brought(Goal::Active, token, terms).await?;
        match reply.state {
            Some(State::Active | State::Standby) | None => Ok(self.done(&reply)),
            Some(state) => Err(self.not_yet(Goal::Active, state)),
        }
    }

    pub(super) async fn standby(&self, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        self.no_promotion()?;
        let reply = self.brought(Goal::Standby, token, terms).await?;
        match reply.state {
            Some(State::Active) => {
                // I1: nobody gave it leave, whoever promoted it.
                if !self.holder.armed() {
                    return Err(self.retry("it is to stand by and came up as active"));
                }
                self.lock_out()?;
                self.kill_all().await?;
                Err(self.retry("it is to stand by and came up as active, so it was killed"))
            }
            Some(State::Standby) => Ok(self.done(&reply)),
            state => Err(self.not_yet(Goal::Standby, state.unwrap_or(State::Unknown))),
        }
    }

    /// Of a source: the manager is led to stop writing cleanly, then it is stopped, and that is
    /// proven. Of a target: all that was received is replayed, and it goes on running.
    pub(super) async fn drained(&self, token: Token, terms: &Terms) -> Result<Done, DriverError> {
        if let Some(reply) = self.drain_of(token) {
            return self.stopped_after(&reply).await;
        }
        if self.found()?.managers.is_empty() {
            // Where it ended nobody knows, so it is no source that stopped cleanly. A target that
            // was fenced comes back for it.
            self.standby(token, terms).await?;
        }
        let serves = self.script.ask(Ask::Observe, &self.env(true)).await?.state;
        let may_promote = self.holder.armed() && self.active_file().exists();
        let source = serves == Some(State::Active) || may_promote;
        let mut env = self.env(true);
        env.push((SIDE, if source { "source" } else { "target" }.to_owned()));
        let reply = self.script.ask(Ask::Ensure(Goal::Drained, token, terms), &env).await?;
        self.remember(&reply);
        if reply.state == Some(State::Active) {
            return Err(self.not_yet(Goal::Drained, State::Active));
        }
        if !source {
            return Ok(Done { end: reply.position, ..self.done(&reply) });
        }
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = Some((token, reply.clone()));
        self.stopped_after(&reply).await
    }

    /// What the script said when it led this source to its end, at that very token.
    fn drain_of(&self, token: Token) -> Option<Reply> {
        let drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        drain.as_ref().filter(|(at, _)| *at == token).map(|(_, reply)| reply.clone())
    }

    async fn stopped_after(&self, reply: &Reply) -> Result<Done, DriverError> {
        let fenced = self.fenced().await?;
        Ok(Done { end: reply.position, clean: reply.clean, ..fenced })
    }

    /// The script's answer once the manager runs: it is asked before too, since the manager acts
    /// as soon as it is up.
    async fn brought(&self, goal: Goal, token: Token, terms: &Terms) -> Result<Reply, DriverError> {
        let ask = Ask::Ensure(goal, token, terms);
        let active = goal == Goal::Active;
        if self.found()?.managers.is_empty() {
            self.script.ask(ask, &self.env(false)).await?;
            self.permit(active)?;
            // I4: writable only while a deadline runs; otherwise the active file is not there.
            let started = match self.holder.start(&self.manager(), active).await {
                Ok(()) => self.appeared().await,
                refused => refused,
            };
            if started.is_err() {
                // Nobody else starts it meanwhile.
                self.lock_out()?;
            }
            started?;
        } else if active {
            self.permit(true)?;
        }
        self.have_held().await?;
        let reply = self.script.ask(ask, &self.env(true)).await?;
        self.remember(&reply);
        Ok(reply)
    }

    fn done(&self, reply: &Reply) -> Done {
        Done { facts: reply.fact(Layer::Data), ..Done::default() }
    }

    fn not_yet(&self, goal: Goal, state: State) -> DriverError {
        let state = state.as_str();
        self.retry(format!("the script says that {goal} is reached and that the state is {state}"))
    }

    /// How the manager is started.
    pub(super) fn manager(&self) -> Command {
        let mut words = self.set.manager.iter().cloned();
        Command {
            program: PathBuf::from(words.next().unwrap_or_default()),
            args: words.collect(),
            env: Vec::new(),
            user: self.set.user.clone(),
            limit: APPEAR_MAX,
            log: self.set.log_file.clone(),
        }
    }

    async fn appeared(&self) -> Result<(), DriverError> {
        let began = clock::now();
        while self.found()?.managers.is_empty() {
            if clock::now().since(began) > APPEAR_MAX {
                return Err(self.retry(
                    "the manager was started and does not run: see its log (log_file), and that \
                     `manager` stays in the foreground",
                ));
            }
            tokio::time::sleep(APPEAR_POLL).await;
        }
        Ok(())
    }

    /// See that the deadman holds all of it, whoever started it: it must be able to kill it. I4
    pub(super) async fn have_held(&self) -> Result<(), DriverError> {
        if !self.holder.armed() {
            return Ok(());
        }
        for _ in 0..ADOPT_PASSES_MAX {
            let found = self.found()?;
            // Listed after: what was forked meanwhile is no stranger.
            let held = self.holder.processes()?;
            let strange = |process: &&Process| !held.contains(&process.pid);
            let outside = found.all().filter(strange).filter(|process| processes::alive(process));
            let outside: Vec<i32> = outside.map(|process| process.pid).collect();
            if outside.is_empty() {
                return Ok(());
            }
            self.holder.adopt(outside).await?;
        }
        Err(self.retry("the manager forks faster than it can be held"))
    }
}
