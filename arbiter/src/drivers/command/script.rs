//! A script as a driver asks it: its settings, its environment, and what its exit code means.
//!
//! Knows one executable and one instance. Never knows what the executable does, and shows of it
//! nothing but its exit code and its own `message`.

use super::reply::Reply;
use super::run::Run;
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::{Goal, GroupId, Instance, InstanceId, Instant, Terms, Token};
use cluster_config::{Setting, may, must};
use nix::unistd::{Uid, User};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time limit of one run where the settings name none.
const LIMIT: Duration = Duration::from_secs(10);
/// Longest limit: the executor gives up an attempt at a goal after ten minutes.
const LIMIT_MAX: Duration = Duration::from_secs(540);
/// Longest look, and longest real write: whoever asks waits no longer.
const OBSERVE_MAX: Duration = Duration::from_millis(3900);
const VERIFY_MAX: Duration = Duration::from_millis(9500);
/// Least time between two looks: whoever asks may do so many times a second, and each is a process.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
/// *Not yet*: it is asked again, with back-off (`EX_TEMPFAIL`).
const NOT_YET: i32 = 75;
/// *Refused*: somebody has to do something (`EX_NOPERM`).
const REFUSED: i32 = 77;
/// What settings begin with that the script finds in its environment.
const ENV: &str = "env.";

/// The executable.
pub const COMMAND: Setting = must(
    "command",
    "/etc/arbiter/queue",
    "Executable, and first arguments of it, with spaces between; no shell. It is run with \
     `observe`, `ensure GOAL` or `verify` behind them, and prints one JSON object: see decision \
     0023.",
);
/// Its time limit.
pub const LIMIT_SETTING: Setting =
    may("limit", "10s", "Longest run; then it is killed with what it started. By default 10s.");
/// More of its environment.
pub const ENVIRONMENT: Setting = may(
    "env.*",
    "https://queue.internal:8443",
    "More of its environment, by the name behind `env.`. Never a secret: name a file.",
);
/// Who runs it.
pub const USER: Setting =
    may("user", "nobody", "System user that runs it, where the agent is root; by default root.");

/// What it is asked.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Look, change nothing.
    Observe,
    /// Make a goal true.
    Ensure(Goal, Token, &'a Terms),
    /// A real write, or its like.
    Verify(Token),
}

impl Ask<'_> {
    fn words(self) -> Vec<String> {
        match self {
            Self::Observe => vec!["observe".to_owned()],
            Self::Ensure(goal, ..) => vec!["ensure".to_owned(), goal.to_string()],
            Self::Verify(_) => vec!["verify".to_owned()],
        }
    }

    fn longest(self) -> Duration {
        match self {
            Self::Observe => OBSERVE_MAX,
            Self::Ensure(..) => LIMIT_MAX,
            Self::Verify(_) => VERIFY_MAX,
        }
    }

    /// What the script finds of it in its environment. What has no meaning is left out.
    fn env(self) -> Vec<(&'static str, String)> {
        let action = self.words().swap_remove(0);
        let mut env = vec![("ARBITER_ACTION", action)];
        let (goal, token, terms) = match self {
            Self::Observe => return env,
            Self::Ensure(goal, token, terms) => (goal, token, Some(terms)),
            Self::Verify(token) => (Goal::Active, token, None),
        };
        env.push(("ARBITER_GOAL", goal.to_string()));
        env.push(("ARBITER_TOKEN", token.to_string()));
        let Some(terms) = terms else { return env };
        if !terms.upstream.is_empty() {
            env.push(("ARBITER_UPSTREAM", terms.upstream.clone()));
        }
        if let Some(until) = terms.until {
            env.push(("ARBITER_UNTIL", until.to_string()));
        }
        if let Some(limit) = terms.clean_stop {
            env.push(("ARBITER_CLEAN_STOP_MS", limit.as_millis().to_string()));
        }
        env
    }
}

/// One script of one instance. It has no `Debug`: its environment is the operator's.
pub struct Script {
    /// The instance, named in every error.
    pub id: InstanceId,
    line: String,
    group: GroupId,
    region: String,
    env: Vec<(String, String)>,
    user: Option<User>,
    limit: Duration,
    /// When it last looked.
    looked: Mutex<Option<Instant>>,
}

impl Script {
    /// The script of `instance`.
    ///
    /// # Errors
    /// `Refused`, naming the setting that is missing or wrong.
    pub fn open(
        group: &GroupId,
        id: &InstanceId,
        instance: &Instance,
    ) -> Result<Self, DriverError> {
        let refuse = |what: String| DriverError::Refused(format!("instance {id}: {what}"));
        let setting = |key: &str| instance.settings.get(key).filter(|text| !text.trim().is_empty());
        let line = setting("command")
            .ok_or_else(|| refuse("the setting command is missing: name the executable".into()))?;
        let program = line.split_whitespace().next().unwrap_or_default();
        if !Path::new(program).is_absolute() {
            return Err(refuse("the setting command must begin with an absolute path".into()));
        }
        let limit = match setting("limit") {
            None => LIMIT,
            Some(text) => cluster_config::duration(text)
                .filter(|limit| !limit.is_zero() && *limit <= LIMIT_MAX)
                .ok_or_else(|| {
                    refuse(format!(
                        "limit is {text:?}: write more than 0 and at most {LIMIT_MAX:?}"
                    ))
                })?,
        };
        let named = instance.settings.iter();
        let named = named.filter_map(|(key, value)| Some((key.strip_prefix(ENV)?, value)));
        let env: Vec<(String, String)> =
            named.map(|(name, value)| (name.to_owned(), value.clone())).collect();
        if let Some((name, _)) = env.iter().find(|(name, _)| !is_name(name)) {
            let what = "letters, digits and underscores, and not ARBITER_";
            return Err(refuse(format!("env.{name} is no name for its environment: use {what}")));
        }
        Ok(Self {
            id: id.clone(),
            line: line.clone(),
            group: group.clone(),
            region: instance.region.to_string(),
            env,
            user: user(id, setting("user"))?,
            limit,
            looked: Mutex::default(),
        })
    }

    /// Ask it, with `more` in its environment.
    ///
    /// # Errors
    /// Named by the exit code; `StaleEpoch` where it has `seen` a higher token.
    pub async fn ask(&self, ask: Ask<'_>, more: &[(&str, String)]) -> Result<Reply, DriverError> {
        if matches!(ask, Ask::Observe) {
            self.pace().await;
        }
        let words = ask.words();
        let args: Vec<&str> = words.iter().map(String::as_str).collect();
        let limit = self.limit.min(ask.longest());
        let mut env: Vec<(&str, String)> =
            self.env.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        env.extend(ask.env());
        env.extend(more.iter().map(|(name, value)| (*name, value.clone())));
        env.push(("ARBITER_GROUP", self.group.to_string()));
        env.push(("ARBITER_REGION", self.region.clone()));
        env.push(("ARBITER_INSTANCE", self.id.to_string()));
        env.push(("ARBITER_LIMIT_MS", limit.as_millis().to_string()));
        let (line, user) = (self.line.as_str(), self.user.as_ref());
        let run = Run { line, args: &args, env, user, reads: true, limit };
        let what = format!("{} {}", self.program(), words.join(" "));
        let retry = |why: String| DriverError::Retry(format!("instance {}: {what} {why}", self.id));
        let ended = run.to_end().await.map_err(|failed| retry(failed.to_string()))?;
        let by_hand = "run it by hand with the same environment to see why";
        let code = ended.code.ok_or_else(|| retry(format!("was killed by a signal; {by_hand}")))?;
        let reply = match (code, Reply::read(&ended.stdout)) {
            (_, Ok(reply)) => reply,
            (0 | NOT_YET | REFUSED, Err(why)) => {
                return Err(retry(format!("answers wrongly: {why}")));
            }
            // Whatever a program prints that fails, its code is the answer.
            (_, Err(_)) => Reply::default(),
        };
        if let (Some(seen), Some(token)) = (reply.seen, ask.token())
            && seen > token
        {
            return Err(DriverError::StaleEpoch { seen });
        }
        let said = match reply.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        match code {
            0 => Ok(reply),
            NOT_YET => Err(retry(format!("is not there yet{said}"))),
            REFUSED => {
                let why = format!("instance {}: {what} refuses{said}", self.id);
                Err(DriverError::Refused(why))
            }
            code => Err(retry(format!("exited with {code}{said}; {by_hand}"))),
        }
    }

    /// Wait for the next look's turn: what is seen is then of now.
    async fn pace(&self) {
        let looked = |at: Option<Instant>| {
            let mut last = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            *last = at.or(*last);
            *last
        };
        if let Some(last) = looked(None) {
            tokio::time::sleep(OBSERVE_EVERY.saturating_sub(clock::now().since(last))).await;
        }
        looked(Some(clock::now()));
    }

    fn program(&self) -> &str {
        self.line.split_whitespace().next().unwrap_or_default()
    }
}

impl Ask<'_> {
    fn token(self) -> Option<Token> {
        match self {
            Self::Observe => None,
            Self::Ensure(_, token, _) | Self::Verify(token) => Some(token),
        }
    }
}

fn is_name(name: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    begins && name.chars().all(fits) && !name.starts_with("ARBITER_")
}

/// The user of that name, where this process can become it and is not it already.
fn user(id: &InstanceId, name: Option<&String>) -> Result<Option<User>, DriverError> {
    let refuse = |what: String| Err(DriverError::Refused(format!("instance {id}: {what}")));
    let Some(name) = name else { return Ok(None) };
    match User::from_name(name) {
        Ok(Some(user)) if user.uid == Uid::effective() => Ok(None),
        Ok(Some(user)) if Uid::effective().is_root() => Ok(Some(user)),
        Ok(Some(_)) => refuse(format!("user is {name:?}: run the agent as root or as that user")),
        _ => refuse(format!("there is no system user {name:?}: make it, or set user")),
    }
}
