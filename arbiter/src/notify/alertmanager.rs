//! Events as alerts of an Alertmanager (API v2, openapi.yaml of prometheus/alertmanager:
//! `POST /api/v2/alerts`). Knows labels and times; never why something happened.
//!
//! Every event becomes one alert, told apart by its id, so that none hides another. It fires for
//! [`FIRES_FOR`]; what lasts is posted again before that ends, and ended when it does not last any
//! more. A leader that is lost leaves alerts that end by themselves, unless the next one repeats
//! them.

use super::post::{place, post};
use super::{Source, Told};
use crate::credentials::Credentials;
use crate::{calendar, clock, wire};
use arbiter_core::{Event, EventKind, Instant, WallMillis};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How long an alert fires that is not repeated: longer than Alertmanager waits to group it.
const FIRES_FOR: Duration = Duration::from_secs(300);
/// How often what lasts is repeated.
const REPEAT_EVERY: Duration = Duration::from_secs(60);
/// Events that last at most, of one source; a group has a handful.
const LASTING_MAX: usize = 4096;

/// One alert, as it is posted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<&'static str, String>,
    annotations: BTreeMap<&'static str, String>,
    starts_at: String,
    ends_at: String,
}

/// One Alertmanager.
pub(super) struct Alertmanager {
    url: String,
    credentials: Credentials,
    cluster: String,
    standing: Mutex<Standing>,
}

/// What lasts.
#[derive(Default)]
struct Standing {
    lasting: BTreeMap<Source, Vec<Told>>,
    /// What does not last any more, and was not yet said to have ended.
    ended: Vec<Told>,
    /// When what lasts was posted last; none: something is new.
    repeated: Option<Instant>,
}

impl Alertmanager {
    pub(super) fn new(url: &str, credentials: Credentials, cluster: &str) -> Self {
        let url = format!("{}/api/v2/alerts", url.trim_end_matches('/'));
        Self { url, credentials, cluster: cluster.to_owned(), standing: Mutex::default() }
    }

    pub(super) fn place(&self) -> String {
        place(&self.url)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Good news are no alert: what they are about is ended instead.
    pub(super) async fn send(&self, told: &Told) -> Result<(), String> {
        if is_good_news(&told.event) {
            return Ok(());
        }
        self.post(vec![self.alert(told, ends(clock::wall()))]).await
    }

    /// Post what lasts again, and what has ended; none: nothing is due.
    pub(super) async fn upkeep(&self) -> Option<Result<(), String>> {
        let now = clock::now();
        let (alerts, ended) = self.due(now, clock::wall())?;
        let posted = self.post(alerts).await;
        if posted.is_ok() {
            let mut standing = self.standing();
            standing.ended.retain(|told| !ended.contains(&told.event.id));
            standing.repeated = Some(now);
        }
        Some(posted)
    }

    fn due(&self, now: Instant, wall: WallMillis) -> Option<(Vec<Alert>, BTreeSet<String>)> {
        let standing = self.standing();
        let old = standing.repeated.is_none_or(|at| now.since(at) >= REPEAT_EVERY);
        let lasting: Vec<&Told> = standing.lasting.values().flatten().collect();
        if standing.ended.is_empty() && (lasting.is_empty() || !old) {
            return None;
        }
        let lasting = lasting.into_iter().map(|told| self.alert(told, ends(wall)));
        let ended = standing.ended.iter().map(|told| self.alert(told, wall));
        let alerts = lasting.chain(ended).collect();
        Some((alerts, standing.ended.iter().map(|told| told.event.id.clone()).collect()))
    }

    /// What of one source lasts now; whether that is news.
    pub(super) fn stand(&self, of: Source, lasting: &[Told]) -> bool {
        let mut standing = self.standing();
        let kept = lasting.iter().take(LASTING_MAX).cloned().collect::<Vec<_>>();
        let before = standing.lasting.insert(of, kept).unwrap_or_default();
        let id = |told: &Told| told.event.id.clone();
        let now: BTreeSet<String> = lasting.iter().map(id).collect();
        let known: BTreeSet<String> = before.iter().map(id).collect();
        standing.ended.extend(before.into_iter().filter(|told| !now.contains(&told.event.id)));
        standing.ended.retain(|told| !now.contains(&told.event.id));
        if now.iter().any(|id| !known.contains(id)) {
            standing.repeated = None;
        }
        now != known
    }

    pub(super) fn forget(&self) {
        *self.standing() = Standing::default();
    }

    async fn post(&self, alerts: Vec<Alert>) -> Result<(), String> {
        let authorization = self.credentials.header().await?;
        post(&self.url, authorization, &alerts).await
    }

    /// An alert that ends at `ends`, and no sooner than it began: clocks of hosts differ.
    fn alert(&self, told: &Told, ends: WallMillis) -> Alert {
        let Told { event, region } = told;
        let mut labels = BTreeMap::from([
            ("alertname", format!("RegionArbiter{}", camel(&wire::spelled(&event.kind)))),
            ("cluster", self.cluster.clone()),
            ("event", event.id.clone()),
            ("severity", severity(event).to_owned()),
        ]);
        labels.extend(event.group.as_ref().map(|group| ("group", group.0.clone())));
        labels.extend(region.as_ref().map(|region| ("region", region.0.clone())));
        let mut annotations =
            BTreeMap::from([("summary", event.message.clone()), ("reason", event.message.clone())]);
        if !event.next.is_empty() {
            annotations.insert("next", event.next.clone());
        }
        annotations.extend(event.plan.map(|plan| ("plan", plan.to_string())));
        let starts_at = calendar::rfc3339(event.wall.0);
        let ends_at = calendar::rfc3339(ends.0.max(event.wall.0 + 1));
        Alert { labels, annotations, starts_at, ends_at }
    }
}

/// When an alert that is posted at `wall` ends if nobody repeats it.
fn ends(wall: WallMillis) -> WallMillis {
    let fires = u64::try_from(FIRES_FOR.as_millis()).unwrap_or(u64::MAX);
    WallMillis(wall.0.saturating_add(fires))
}

/// It ends what an earlier event of its kind began: nothing is to be done.
fn is_good_news(event: &Event) -> bool {
    let both =
        matches!(event.kind, EventKind::Drift | EventKind::LagChanged | EventKind::WouldHave);
    both && event.next.is_empty()
}

/// `plan-halted` as `PlanHalted`.
fn camel(word: &str) -> String {
    let capital = |part: &str| {
        let mut chars = part.chars();
        chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
    };
    word.split('-').map(|part| -> String { capital(part) }).collect()
}

/// `critical`: somebody must act now; `warning`: somebody must look; `info`: it is so.
fn severity(event: &Event) -> &'static str {
    match event.kind {
        EventKind::PlanHalted | EventKind::MarginLost => "critical",
        EventKind::ActiveChanged
        | EventKind::ModeStays
        | EventKind::ApprovalAsked
        | EventKind::OverridesLapsed
        | EventKind::PlanOpened
        | EventKind::LagChanged
        | EventKind::LossCounted
        | EventKind::Drift
        | EventKind::WouldHave
        | EventKind::DrillFailed
        | EventKind::Restored
        | EventKind::ModeNotInEffect => "warning",
        EventKind::Initialized
        | EventKind::VersionRaised
        | EventKind::MembersChanged
        | EventKind::PolicyApplied
        | EventKind::StepEnded
        | EventKind::PlanResumed
        | EventKind::PlanEnded
        | EventKind::EvidenceRecorded
        | EventKind::DrillBegan
        | EventKind::DrillEnded
        | EventKind::ModeChanged
        | EventKind::ArmingChanged
        | EventKind::AgentBound
        | EventKind::MaintenanceChanged
        | EventKind::Approved
        | EventKind::ApprovalEnded
        | EventKind::Test => "info",
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::told;
    use super::*;

    const WALL: WallMillis = WallMillis(1_700_000_000_000);

    fn receiver() -> Alertmanager {
        Alertmanager::new("http://127.0.0.1:9093/am/", Credentials::None, "shop")
    }

    /// Ids of what is due, each with its end.
    fn due(receiver: &Alertmanager, now: Instant) -> Vec<(String, String)> {
        let alerts = receiver.due(now, WALL).map(|(alerts, _)| alerts).unwrap_or_default();
        alerts.into_iter().map(|alert| (alert.labels["event"].clone(), alert.ends_at)).collect()
    }

    #[test]
    fn an_event_is_an_alert_of_its_own() {
        let receiver = receiver();
        assert_eq!(receiver.url, "http://127.0.0.1:9093/am/api/v2/alerts");
        let halted = told("131.0", EventKind::PlanHalted);
        let alert = serde_json::to_value(receiver.alert(&halted, ends(WALL))).unwrap();
        assert_eq!(
            alert,
            serde_json::json!({
                "labels": {
                    "alertname": "RegionArbiterPlanHalted", "cluster": "shop", "event": "131.0",
                    "group": "default", "region": "us-east", "severity": "critical",
                },
                "annotations": {
                    "summary": "the plan halted", "reason": "the plan halted",
                    "next": "arbiter plan resume", "plan": "131",
                },
                "startsAt": "1970-01-01T00:00:00.001Z",
                "endsAt": "2023-11-14T22:18:20.000Z",
            })
        );
        let mut late = halted;
        late.event.wall = WallMillis(WALL.0 + 9);
        assert_eq!(receiver.alert(&late, WALL).ends_at, "2023-11-14T22:13:20.010Z");
    }

    #[test]
    fn what_lasts_is_repeated_and_ended_once() {
        let receiver = receiver();
        let (halted, drift) = (told("1.0", EventKind::PlanHalted), told("2.0", EventKind::Drift));
        let (fires, over) = ("2023-11-14T22:18:20.000Z", "2023-11-14T22:13:20.000Z");
        let of = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(id, at)| ((*id).to_owned(), (*at).to_owned())).collect::<Vec<_>>()
        };
        let begun = Instant::from_millis(1000);
        assert_eq!(due(&receiver, begun), []);
        receiver.stand(Source::Log, &[halted.clone(), drift.clone()]);
        assert_eq!(due(&receiver, begun), of(&[("1.0", fires), ("2.0", fires)]));
        receiver.standing().repeated = Some(begun);
        assert_eq!(due(&receiver, begun + Duration::from_secs(59)), []);
        assert_eq!(due(&receiver, begun + REPEAT_EVERY).len(), 2);
        receiver.stand(Source::Seen, &[]);
        receiver.stand(Source::Log, std::slice::from_ref(&drift));
        assert_eq!(due(&receiver, begun), of(&[("2.0", fires), ("1.0", over)]));
        // It lasts again before its end was told.
        receiver.stand(Source::Log, &[halted, drift]);
        assert_eq!(due(&receiver, begun), of(&[("1.0", fires), ("2.0", fires)]));
        receiver.forget();
        assert_eq!(due(&receiver, begun), [], "the next leader goes on");
    }

    #[test]
    fn good_news_are_no_alert() {
        let mut mended = told("3.0", EventKind::Drift).event;
        assert!(!is_good_news(&mended));
        mended.next = String::new();
        assert!(is_good_news(&mended));
        let mut ended = told("4.0", EventKind::PlanEnded).event;
        ended.next = String::new();
        assert!(!is_good_news(&ended));
    }
}
