//! Who else decides over this server: a Sentinel, or a Redis Cluster.
//!
//! Two that decide promote two. Beside another this driver only looks, and fences where it must: a
//! fence is safe whoever decides.

use super::Redis;
use super::info::Info;
use super::talk::{Session, Unreachable};
use crate::clock;
use crate::drivers::DriverError;
use std::time::Duration;

/// Every Sentinel listens to this channel of each server that it monitors
/// (<https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/>).
const SENTINEL_CHANNEL: &str = "__sentinel__:hello";
/// How long a rival that was seen is taken to be there while the server cannot be asked.
const RIVAL_FRESH: Duration = Duration::from_secs(60);
/// How long a Sentinel may take to find a server that was started again.
const SENTINEL_RETURNS_SECONDS: u64 = 15;
/// The oldest version that this driver knows how to stop and pause.
const MAJOR_MIN: u32 = 7;

const SENTINEL: &str = "a Sentinel monitors this server, and would move it behind the arbiter: run \
    SENTINEL REMOVE with its name (SENTINEL MASTERS lists them) on each Sentinel, or stop them for \
    good, and arm the group then";
const CLUSTER: &str = "it runs in cluster mode, where Redis itself moves primaries: use a server \
    with cluster-enabled no";

impl Redis {
    /// Who else decides, in words with the way out; none: nobody.
    pub(super) async fn rival(
        &self,
        session: &Session,
        info: &Info,
    ) -> Result<Option<String>, Unreachable> {
        if info.is("cluster_enabled") {
            return Ok(Some(CLUSTER.to_owned()));
        }
        let listens = session.listeners(SENTINEL_CHANNEL).await? > 0;
        if listens {
            self.memory().rival = Some(clock::now());
        }
        // One that was just started may not have been found again.
        let young = info.number("uptime_in_seconds").unwrap_or(0) < SENTINEL_RETURNS_SECONDS;
        let there = listens || young && self.had_rival();
        Ok(there.then(|| SENTINEL.to_owned()))
    }

    /// Refuse to change a server over which somebody else decides, or which is too old.
    pub(super) async fn alone(&self, session: &Session, info: &Info) -> Result<(), DriverError> {
        if let Some(why) = old(info) {
            return Err(self.refuse(why));
        }
        match self.rival(session, info).await {
            Ok(None) => Ok(()),
            Ok(Some(why)) => Err(self.refuse(why)),
            Err(error) => Err(self.retry(error)),
        }
    }

    /// The same of a server that does not run: what was seen of it last counts for a while.
    pub(super) fn was_alone(&self) -> Result<(), DriverError> {
        if self.had_rival() { Err(self.refuse(SENTINEL)) } else { Ok(()) }
    }

    fn had_rival(&self) -> bool {
        let seen = self.memory().rival;
        seen.is_some_and(|at| clock::now().since(at) < RIVAL_FRESH)
    }
}

/// What is said of a version that is too old.
pub(super) fn old(info: &Info) -> Option<String> {
    let (major, version) = (info.major(), info.text("redis_version"));
    (major < MAJOR_MIN)
        .then(|| format!("it is Redis {version}, and {MAJOR_MIN} or newer is needed: upgrade it"))
}
