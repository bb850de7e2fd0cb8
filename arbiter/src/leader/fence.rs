//! External fences that the leader runs itself: `fence_command`, then `fence_check` until true.
//! Knows two commands of an operator; never what they cut. What they print is never shown: it may
//! hold secrets.

use super::Leader;
use arbiter_core::{GroupId, RegionId, State, Token, external_fence_wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// How often State is looked at for a fence to run.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Time limit of one run of either where the policy names none.
const RUN_LIMIT: Duration = Duration::from_secs(10);
/// Wait between two checks.
const CHECK_EVERY: Duration = Duration::from_millis(500);
/// Checks after one run of the command; then the command runs again.
const CHECKS_MAX: u32 = 60;

type Wanted = (GroupId, RegionId, Token);

impl Leader {
    pub(super) async fn fence_loop(self: Arc<Self>) {
        let running: Arc<Mutex<BTreeSet<Wanted>>> = Arc::default();
        loop {
            sleep(LOOK_EVERY).await;
            for wanted in self.fences_wanted() {
                let mut set = running.lock().unwrap_or_else(PoisonError::into_inner);
                if set.insert(wanted.clone()) {
                    tokio::spawn(self.clone().cut(wanted, running.clone()));
                }
            }
        }
    }

    fn fences_wanted(&self) -> Vec<Wanted> {
        let wanted = self.look(|state, view, _| {
            let mut wanted = external_fence_wanted(state);
            wanted.retain(|fence| !view.powered_off.contains(fence));
            wanted
        });
        wanted.unwrap_or_default()
    }

    async fn cut(self: Arc<Self>, wanted: Wanted, running: Arc<Mutex<BTreeSet<Wanted>>>) {
        let (group, region, token) = &wanted;
        // The command runs again until the check says so or nobody wants it any more.
        while self.fences_wanted().contains(&wanted) {
            let Some(settings) = self.raft.state().with(|state| settings(state, group, region))
            else {
                break;
            };
            tracing::warn!(%group, %region, %token, "running the external fence");
            if self.cut_once(&settings, &wanted).await {
                self.see(|view, _| view.powered_off(group, region, *token));
                tracing::warn!(%group, %region, %token, "the external fence check is true");
                break;
            }
        }
        running.lock().unwrap_or_else(PoisonError::into_inner).remove(&wanted);
    }

    async fn cut_once(&self, settings: &BTreeMap<String, String>, wanted: &Wanted) -> bool {
        let limit = settings.get("limit_ms").and_then(|ms| ms.parse().ok());
        let limit = limit.map_or(RUN_LIMIT, Duration::from_millis);
        if let Some(command) = settings.get("fence_command")
            && !run(command, wanted, limit).await
        {
            tracing::error!(group = %wanted.0, region = %wanted.1, "fence_command failed");
        }
        // Whatever the command said, only the check counts.
        let Some(check) = settings.get("fence_check") else { return false };
        for _ in 0..CHECKS_MAX {
            if run(check, wanted, limit).await {
                return true;
            }
            sleep(CHECK_EVERY).await;
            if !self.fences_wanted().contains(wanted) {
                return false;
            }
        }
        false
    }
}

fn settings(state: &State, group: &GroupId, region: &RegionId) -> Option<BTreeMap<String, String>> {
    state.spec.groups.get(group)?.policy.external_fence.get(region).cloned()
}

/// Whether the command exits 0. No shell: the words of the line are program and arguments.
async fn run(command: &str, (group, region, token): &Wanted, limit: Duration) -> bool {
    let mut words = command.split_whitespace();
    let Some(program) = words.next() else { return false };
    let child = Command::new(program)
        .args(words)
        .env("ARBITER_GROUP", group.as_str())
        .env("ARBITER_REGION", region.as_str())
        .env("ARBITER_TOKEN", token.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    matches!(timeout(limit, child).await, Ok(Ok(status)) if status.success())
}
