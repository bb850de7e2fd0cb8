//! What people are told over the webhook, while this arbiter leads: events of the log, and what the
//! leader sees that no entry says. Knows events; never how they are posted.

use crate::clock;
use crate::leader::Route;
use crate::notify::Notifier;
use crate::server::Face;
use arbiter_core::{Event, EventKind, GroupId};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::sleep;

/// How often the leader looks for what no entry says, and the posted number is kept.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Looks in a row that must show it: an election or a restart is no news.
const LOOKS_MIN: u32 = 2;
/// Where the number is kept, in the data directory.
const FILE: &str = "posted";

/// The number kept from an earlier life; 0 where there is none that can be read.
pub(super) fn kept(dir: &Path) -> u64 {
    let text = std::fs::read_to_string(dir.join(FILE)).unwrap_or_default();
    text.trim().parse().unwrap_or(0)
}

/// Keep the number. Without the file more is repeated after a restart of every arbiter.
pub(super) async fn keep(posted: Arc<AtomicU64>, dir: PathBuf) {
    let mut known = posted.load(Ordering::Relaxed);
    loop {
        sleep(LOOK_EVERY).await;
        let now = posted.load(Ordering::Relaxed);
        if now != known {
            known = now;
            if let Err(error) = tokio::fs::write(dir.join(FILE), format!("{now}\n")).await {
                tracing::warn!(%error, "the number of the last posted event was not kept");
            }
        }
    }
}

/// Post events while this arbiter leads. State keeps the newest, so that a new leader repeats what
/// its predecessor may not have posted.
pub(super) async fn tell(face: Arc<Face>, notifier: Notifier) {
    let (mut route, mut index) = (face.leader.route(), face.raft.state().watch_index());
    let mut told = None;
    loop {
        if matches!(*route.borrow_and_update(), Route::Here(_)) {
            let state = face.raft.state().get();
            let from = match &told {
                Some(last) => {
                    state.events.iter().rposition(|e| e.id == *last).map_or(0, |at| at + 1)
                }
                None => 0,
            };
            told = state.events.last().map(|event| event.id.clone()).or(told);
            notifier.post(state.events[from..].iter().cloned());
        } else if told.take().is_some() {
            notifier.clear();
        }
        let changed = tokio::select! {
            changed = route.changed() => changed,
            changed = index.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
    }
}

/// What the leader sees that no entry says: a lost quorum margin, a mode that is not in effect.
pub(super) async fn warn(face: Arc<Face>, notifier: Notifier) {
    let mut seen: BTreeSet<Warning> = BTreeSet::new();
    let mut told: BTreeSet<Warning> = BTreeSet::new();
    let mut looks = 0;
    loop {
        sleep(LOOK_EVERY).await;
        if !matches!(*face.leader.route().borrow(), Route::Here(_)) {
            (seen, told, looks) = Default::default();
            continue;
        }
        let now = warnings(&face);
        looks = if now == seen { looks + 1 } else { 0 };
        seen = now;
        if looks < LOOKS_MIN {
            continue;
        }
        let wall = clock::wall();
        let news = seen.difference(&told).enumerate().map(|(n, warning)| Event {
            id: format!("seen-{}-{n}", wall.0),
            kind: if warning.group.is_some() {
                EventKind::ModeNotInEffect
            } else {
                EventKind::MarginLost
            },
            group: warning.group.clone(),
            plan: None,
            message: warning.message.clone(),
            next: warning.next.clone(),
            wall,
        });
        notifier.post(news);
        told.clone_from(&seen);
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Warning {
    group: Option<GroupId>,
    message: String,
    next: String,
}

fn warnings(face: &Face) -> BTreeSet<Warning> {
    let status = face.own_status("", false);
    let lost = status.voters.iter().filter(|voter| voter.role == "unreachable");
    let lost = lost.map(|voter| Warning {
        group: None,
        message: format!(
            "arbiter {} is unreachable: one more lost and nothing can be decided",
            voter.name
        ),
        next: "arbiter members list".to_owned(),
    });
    let idle = status.groups.iter().filter(|group| !group.mode_in_effect);
    let idle = idle.map(|group| Warning {
        group: Some(GroupId::from(group.group.as_str())),
        message: format!("mode {} is not in effect: {}", group.mode, group.mode_blocked_by),
        next: format!("arbiter arm --group {}", group.group),
    });
    lost.chain(idle).collect()
}
