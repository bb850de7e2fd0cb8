//! External fences that the leader runs itself, where no agent of the target can: `fence_command`,
//! then `fence_check` until true. Knows how one is run; when one is, the core's seat says.

use super::Leader;
use crate::drivers::command::{CHECK_EVERY, CHECKS_MAX, ExternalFence};
use arbiter_core::leader::{Cut, SeatEvent};
use arbiter_core::{State, external_fence_wanted};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, MutexGuard, PoisonError};
use tokio::time::sleep;

impl Leader {
    /// Run it once. One that runs still, for an earlier term, is not run beside itself.
    pub(super) async fn cut(self: Arc<Self>, term: u64, cut: Cut) {
        let alone = self.cutting().insert(cut.clone());
        let off = alone && self.cut_once(&cut).await;
        if alone {
            self.cutting().remove(&cut);
        }
        if off {
            tracing::warn!(group = %cut.group, region = %cut.region, token = %cut.token,
                "the external fence check is true");
        }
        self.step(SeatEvent::CutEnded { term, cut, off });
        self.decide_wake.notify_one();
    }

    fn cutting(&self) -> MutexGuard<'_, BTreeSet<Cut>> {
        self.cutting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn cut_once(&self, cut: &Cut) -> bool {
        let Cut { group, region, token } = cut;
        let Some(settings) = self.raft.state().with(|state| settings(state, cut)) else {
            return false;
        };
        let fence = match ExternalFence::open(group, region, &settings) {
            Ok(fence) => fence,
            Err(error) => {
                tracing::error!(%group, %region, %error, "no external fence");
                return false;
            }
        };
        tracing::warn!(%group, %region, %token, "running the external fence");
        if let Err(error) = fence.cut(*token).await {
            tracing::error!(%group, %region, %error, "the external fence failed");
        }
        // Whatever the command said, only the check counts.
        for _ in 0..CHECKS_MAX {
            if fence.is_cut(Some(*token)).await {
                return true;
            }
            sleep(CHECK_EVERY).await;
            if !self.is_wanted(cut) {
                return false;
            }
        }
        false
    }

    fn is_wanted(&self, Cut { group, region, token }: &Cut) -> bool {
        let wanted = self.look(external_fence_wanted).unwrap_or_default();
        wanted.iter().any(|known| (&known.0, &known.1, &known.2) == (group, region, token))
    }
}

fn settings(state: &State, cut: &Cut) -> Option<BTreeMap<String, String>> {
    state.spec.groups.get(&cut.group)?.policy.external_fence.get(&cut.region).cloned()
}
