//! What people are told, while this arbiter leads: events of the log, what of it lasts, and what
//! the leader sees that no entry says. Knows events; never how they are posted.

use crate::clock;
use crate::leader::Route;
use crate::notify::{Source, Told};
use crate::server::Face;
use arbiter_core::{Event, EventKind, Group, GroupId, LagMark, State, WallMillis};
use std::collections::{BTreeMap, BTreeSet};
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

/// Post events while this arbiter leads, and say which last. State keeps the newest, so that a new
/// leader repeats what its predecessor may not have posted.
pub(super) async fn tell(face: Arc<Face>) {
    let (mut route, mut index) = (face.leader.route(), face.raft.state().watch_index());
    let notifier = &face.notifier;
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
            notifier.post(state.events[from..].iter().map(|event| about(&state, event)));
            notifier.stand(Source::Log, &lasting(&state));
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

/// An event with the region that it is about: the target of its plan, else the active one.
fn about(state: &State, event: &Event) -> Told {
    let target = event.plan.and_then(|plan| state.plan(plan)).map(|(_, plan)| plan.target.clone());
    let group = event.group.as_ref().and_then(|group| state.groups.get(group));
    let region = target.or_else(|| group?.active().cloned());
    Told { event: event.clone(), region }
}

/// Events whose state still lasts: of each group and kind the newest one that began it.
fn lasting(state: &State) -> Vec<Told> {
    let mut newest: BTreeMap<(&GroupId, EventKind), &Event> = BTreeMap::new();
    for event in &state.events {
        if let Some(group) = &event.group {
            newest.insert((group, event.kind), event);
        }
    }
    let lasts = |event: &&&Event| {
        let group = event.group.as_ref().and_then(|group| state.groups.get(group));
        group.is_some_and(|group| lasts(group, event))
    };
    newest.values().filter(lasts).map(|event| about(state, event)).collect()
}

/// Whether what `event` began in its group is so still.
fn lasts(group: &Group, event: &Event) -> bool {
    let plan = group.plan.as_ref().filter(|plan| Some(plan.id) == event.plan);
    match event.kind {
        EventKind::PlanOpened => plan.is_some(),
        EventKind::PlanHalted => plan.is_some_and(|plan| plan.halt.is_some()),
        EventKind::LagChanged => group.lag != LagMark::Within,
        EventKind::Drift => !group.drift.is_empty(),
        EventKind::WouldHave => group.judged_lost,
        _ => false,
    }
}

/// What the leader sees that no entry says: a lost quorum margin, a mode that is not in effect.
pub(super) async fn warn(face: Arc<Face>) {
    let notifier = &face.notifier;
    let mut seen: BTreeSet<Warning> = BTreeSet::new();
    let mut told: BTreeMap<Warning, Told> = BTreeMap::new();
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
        let news: Vec<&Warning> = seen.iter().filter(|one| !told.contains_key(one)).collect();
        let (wall, state) = (clock::wall(), face.raft.state().get());
        let news = news.into_iter().enumerate().map(|(n, warning)| {
            let id = format!("seen-{}-{n}", wall.0);
            (warning.clone(), about(&state, &warning.event(id, wall)))
        });
        let news: Vec<(Warning, Told)> = news.collect();
        notifier.post(news.iter().map(|(_, told)| told.clone()));
        told.retain(|warning, _| seen.contains(warning));
        told.extend(news);
        notifier.stand(Source::Seen, &told.values().cloned().collect::<Vec<_>>());
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Warning {
    group: Option<GroupId>,
    message: String,
    next: String,
}

impl Warning {
    fn event(&self, id: String, wall: WallMillis) -> Event {
        let kind = match self.group {
            Some(_) => EventKind::ModeNotInEffect,
            None => EventKind::MarginLost,
        };
        Event {
            id,
            kind,
            group: self.group.clone(),
            plan: None,
            message: self.message.clone(),
            next: self.next.clone(),
            wall,
        }
    }
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
