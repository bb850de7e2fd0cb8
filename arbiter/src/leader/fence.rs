//! External fences that the leader runs itself, where no agent of the target can: `fence_command`,
//! then `fence_check` until true. Knows when one is wanted; never what it cuts.

use super::Leader;
use crate::drivers::command::{CHECK_EVERY, CHECKS_MAX, ExternalFence};
use arbiter_core::{GroupId, RegionId, State, Token, external_fence_wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::sleep;

/// How often State is looked at for a fence to run.
const LOOK_EVERY: Duration = Duration::from_millis(100);

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
        self.look(external_fence_wanted).unwrap_or_default()
    }

    async fn cut(self: Arc<Self>, wanted: Wanted, running: Arc<Mutex<BTreeSet<Wanted>>>) {
        let (group, region, token) = &wanted;
        // The command runs again until the check says so or nobody wants it any more.
        while let Some(still) = self.still_wanted(&wanted).await {
            if !still {
                sleep(CHECK_EVERY).await;
                continue;
            }
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

    /// Whether a quorum says, now, that this arbiter leads and the fence is wanted: one that is cut
    /// off does not know that the plan was undone, and that the region serves again. False: no
    /// quorum answers. None: nobody wants it here any more.
    async fn still_wanted(&self, wanted: &Wanted) -> Option<bool> {
        let Ok(confirmed) = self.raft.read_index().await else {
            return self.fences_wanted().contains(wanted).then_some(false);
        };
        let wanted = self.look(|state, view, now| {
            view.term == confirmed.term && external_fence_wanted(state, view, now).contains(wanted)
        });
        (wanted == Some(true)).then_some(true)
    }

    async fn cut_once(&self, settings: &BTreeMap<String, String>, wanted: &Wanted) -> bool {
        let (group, region, token) = wanted;
        let fence = match ExternalFence::open(group, region, settings) {
            Ok(fence) => fence,
            Err(error) => {
                tracing::error!(%group, %region, %error, "no external fence");
                sleep(CHECK_EVERY).await;
                return false;
            }
        };
        if let Err(error) = fence.cut(*token).await {
            tracing::error!(%group, %region, %error, "the external fence failed");
        }
        // Whatever the command said, only the check counts.
        for _ in 0..CHECKS_MAX {
            if fence.is_cut(Some(*token)).await {
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
