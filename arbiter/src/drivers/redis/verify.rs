//! A real write at a token, the refusal of an older one, and the user's own checks.
//!
//! Knows one key, and commands that it is given. Never waits for a replica that is not there.

use super::Redis;
use super::talk::{Session, Unreachable, text};
use crate::clock;
use crate::drivers::DriverError;
use arbiter_core::{Epoch, Fact, Revision, Token};
use redis::Value;
use std::time::Duration;

/// The key that holds the token; in database 0.
const KEY: &str = "arbiter:heartbeat";
/// How long a replica is given to acknowledge the write.
const ACKNOWLEDGE_LIMIT: Duration = Duration::from_millis(500);
/// How long the user's checks may take, all of them.
const CHECKS_LIMIT: Duration = Duration::from_secs(3);
/// Tries against others that write the key in the same moment.
const TRIES_MAX: u32 = 3;

impl Redis {
    /// Write `token`, read it back, ask the user's checks, and look.
    ///
    /// # Errors
    /// `StaleEpoch` where a higher token stands there already; `Retry` where the write or a check
    /// failed, naming the check.
    pub(super) async fn write(&self, token: Token) -> Result<Fact, DriverError> {
        let session = self.session().await.map_err(|error| self.retry(error))?;
        let stored = beat(&session, token).await;
        let seen = stored.map_err(|error| self.retry(format!("a write failed: {error}")))?;
        match seen {
            Some(seen) if seen > token => return Err(DriverError::StaleEpoch { seen }),
            Some(seen) if seen == token => {}
            _ => return Err(self.retry(format!("a write of {KEY} is not read back"))),
        }
        let have = acknowledged(&session).await.map_err(|error| self.retry(error))?;
        self.ask_checks(&session).await?;
        drop(session);
        let mut fact = self.look().await?;
        if let Some(have) = have {
            fact.detail.insert("acknowledged".into(), format!("by {have} replicas"));
        }
        Ok(fact)
    }

    /// Each of the user's checks must succeed, and show something.
    async fn ask_checks(&self, session: &Session) -> Result<(), DriverError> {
        let failed = |name: &str, why: &str| self.retry(format!("the check verify.{name} {why}"));
        let began = clock::now();
        for (name, words) in &self.set.verify {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let left = CHECKS_LIMIT.saturating_sub(clock::now().since(began));
            match session.ask_within(&words, left).await {
                Ok(answer) if holds(&answer) => {}
                Ok(_) => return Err(failed(name, "is not so")),
                Err(error) => return Err(failed(name, &format!("failed: {error}"))),
            }
        }
        Ok(())
    }
}

/// Whether an answer shows something.
fn holds(answer: &Value) -> bool {
    match answer {
        Value::Nil | Value::Boolean(false) => false,
        Value::Array(items) | Value::Set(items) => !items.is_empty(),
        Value::Map(pairs) => !pairs.is_empty(),
        Value::Boolean(true) => true,
        other => !matches!(text(other).as_str(), "" | "0"),
    }
}

/// The token that stands there afterwards.
async fn beat(session: &Session, token: Token) -> Result<Option<Token>, Unreachable> {
    let written = format!("{}.{}", token.epoch.0, token.revision.0);
    for _ in 0..TRIES_MAX {
        // Nobody else uses this conversation: what is watched is watched for this write.
        session.ask(&["WATCH", KEY]).await?;
        let before = stands(session).await?;
        if before.is_some_and(|before| before > token) {
            session.ask(&["UNWATCH"]).await?;
            return Ok(before);
        }
        session.ask(&["MULTI"]).await?;
        session.ask(&["SET", KEY, &written]).await?;
        // Nil: another wrote it meanwhile.
        if session.ask(&["EXEC"]).await? != Value::Nil {
            break;
        }
    }
    stands(session).await
}

async fn stands(session: &Session) -> Result<Option<Token>, Unreachable> {
    let stored = text(&session.ask(&["GET", KEY]).await?);
    let parsed = stored.split_once('.').and_then(|(epoch, revision)| {
        let (epoch, revision) = (epoch.parse().ok()?, revision.parse().ok()?);
        Some(Token { epoch: Epoch(epoch), revision: Revision(revision) })
    });
    Ok(parsed)
}

/// How many replicas acknowledged what this conversation wrote; none where none is there.
async fn acknowledged(session: &Session) -> Result<Option<String>, Unreachable> {
    let followers = session.info().await?.followers();
    if !followers.iter().any(|follower| follower.online) {
        return Ok(None);
    }
    let millis = ACKNOWLEDGE_LIMIT.as_millis().to_string();
    let limit = ACKNOWLEDGE_LIMIT * 2;
    Ok(Some(text(&session.ask_within(&["WAIT", "1", &millis], limit).await?)))
}
