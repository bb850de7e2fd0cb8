//! Whether alerts of several services of a region fire at once, as an Alertmanager tells (API v2,
//! openapi.yaml of prometheus/alertmanager: `GET /api/v2/alerts`). Knows alerts; never what they
//! mean for a plan.
//!
//! An alert that is silenced or inhibited does not count: somebody, or another alert, has explained
//! it. How long one has fired is told by this host's clock since it was first seen here: `startsAt`
//! is another host's wall clock, which is shown and never decides.

use super::{Kind, Look, Looking, Seen, fetch};
use crate::clock;
use crate::credentials::{BASIC_AUTH_FILE, BEARER_FILE, Credentials};
use arbiter_core::{Instant, ProbeSpec};
use cluster_config::{ProbeKind, Setting, Signal, Written, Wrong, duration, http_url, may};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// An alert of this name counts where none is set.
const ALERT_DEFAULT: &str = "ServiceDown";
/// One service that is down is no region that is lost.
const SERVICES_MIN_DEFAULT: usize = 2;
/// An alert that fires shorter than this may be a scrape that was late.
const FIRING_FOR_DEFAULT: Duration = Duration::from_secs(10);
/// Greatest answer: about ten thousand alerts.
const BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Services named in the text of a look.
const NAMED_MAX: usize = 6;

const SETTINGS: &[Setting] = &[
    may("alert", "ServiceDown", "Name of the alert that counts; by default ServiceDown."),
    may("services_min", "3", "So many different services must be alerted of; by default 2."),
    may("firing_for", "30s", "For so long each, as seen from here; by default 10s."),
    may("service_label", "job", "Label that names the service; by default service."),
    may("region_label", "dc", "Label that names the region; by default region."),
    may("region_value", "eu1", "What that label holds; by default the name of the region."),
    may(BEARER_FILE, "/etc/arbiter/alertmanager.token", "File with a token, sent as Bearer."),
    may(BASIC_AUTH_FILE, "/etc/arbiter/alertmanager.auth", "File with user:password."),
];

/// Several services of a region are alerted of at once.
pub const KIND: Kind = Kind {
    config: ProbeKind {
        name: "alertmanager",
        doc: "Fewer services than services_min are alerted of. Silenced and inhibited ones do not \
              count.",
        signal: Signal::Alerts,
        target: "http://10.0.3.9:9093",
        settings: SETTINGS,
        check,
    },
    look: |look| Box::pin(seen(look)) as Looking<'_>,
    every: None,
};

fn check(written: &Written<'_>) -> Vec<Wrong> {
    let faults = http_url(written.target).err();
    let mut found: Vec<Wrong> =
        faults.map(|(what, remedy)| Wrong::new("target", what, remedy)).into_iter().collect();
    if let Some(text) = written.settings.get("services_min")
        && text.parse::<usize>().ok().is_none_or(|least| least == 0)
    {
        let what = format!("{text:?} is no number of services");
        found.push(Wrong::new("services_min", what, "write a whole number from 1"));
    }
    if let Some(text) = written.settings.get("firing_for")
        && duration(text).is_none()
    {
        let what = format!("{text:?} is not a duration");
        found.push(Wrong::new("firing_for", what, "write such as \"10s\""));
    }
    if written.settings.contains_key(BEARER_FILE) && written.settings.contains_key(BASIC_AUTH_FILE)
    {
        let what = "is beside bearer_file, and one request has one Authorization";
        found.push(Wrong::new(BASIC_AUTH_FILE, what, "leave one of the two out"));
    }
    found
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    alert: String,
    services_min: usize,
    firing_for: Duration,
    service_label: String,
    region_label: String,
    region: String,
}

impl Wanted {
    pub(crate) fn of(probe: &ProbeSpec) -> Self {
        let text = |key: &str| probe.settings.get(key).cloned();
        let least = text("services_min").and_then(|text| text.parse().ok());
        let firing_for = text("firing_for").and_then(|text| duration(&text));
        Self {
            alert: text("alert").unwrap_or_else(|| ALERT_DEFAULT.to_owned()),
            services_min: least.unwrap_or(SERVICES_MIN_DEFAULT),
            firing_for: firing_for.unwrap_or(FIRING_FOR_DEFAULT),
            service_label: text("service_label").unwrap_or_else(|| "service".to_owned()),
            region_label: text("region_label").unwrap_or_else(|| "region".to_owned()),
            region: text("region_value").unwrap_or_else(|| probe.region.0.clone()),
        }
    }

    /// The question to the Alertmanager at `target`; none where that is no URL.
    fn url(&self, target: &str) -> Option<String> {
        let mut url = reqwest::Url::parse(target).ok()?;
        let path = format!("{}/api/v2/alerts", url.path().trim_end_matches('/'));
        url.set_path(&path);
        url.query_pairs_mut()
            .append_pair("active", "true")
            .append_pair("silenced", "false")
            .append_pair("inhibited", "false")
            .append_pair("unprocessed", "false")
            .append_pair("filter", &matcher("alertname", &self.alert))
            .append_pair("filter", &matcher(&self.region_label, &self.region));
        Some(url.into())
    }

    /// The server filters too; one that does not must not make a region look lost.
    fn counts(&self, alert: &Alert) -> bool {
        let has = |label: &str, value: &str| alert.labels.get(label).is_some_and(|v| v == value);
        alert.status.state == "active"
            && alert.status.silenced_by.is_empty()
            && alert.status.inhibited_by.is_empty()
            && has("alertname", &self.alert)
            && has(&self.region_label, &self.region)
    }
}

/// `label="value"`, as the matchers of Alertmanager are written.
fn matcher(label: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{label}=\"{value}\"")
}

/// One of the answer's alerts (`gettableAlert`).
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    labels: BTreeMap<String, String>,
    starts_at: String,
    status: Status,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    state: String,
    #[serde(default)]
    silenced_by: Vec<String>,
    #[serde(default)]
    inhibited_by: Vec<String>,
}

/// The services that are alerted of, each with the earliest `startsAt`; and how many alerts name
/// none.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Firing {
    services: BTreeMap<String, String>,
    unnamed: usize,
}

async fn seen(look: Look<'_>) -> Seen {
    let settings = &look.probe.settings;
    let shown = fetch::shown(&look.probe.target);
    let wanted = Wanted::of(look.probe);
    let Some(url) = wanted.url(&look.probe.target) else {
        return Seen::unknown(format!("{shown} is no URL to GET"));
    };
    let credentials = Credentials::of(settings.get(BEARER_FILE), settings.get(BASIC_AUTH_FILE));
    let authorization = match credentials.header().await {
        Ok(header) => header,
        Err(why) => return Seen::unknown(why),
    };
    let body = match fetch::read(&url, authorization, BODY_BYTES_MAX, look.resolved).await {
        Ok(body) => body,
        Err(seen) => return seen,
    };
    // A long answer takes its time, and Raft runs on this thread.
    let asked = wanted.clone();
    let parsed = tokio::task::spawn_blocking(move || firing(&body, &asked)).await;
    let Ok(Some(firing)) = parsed else {
        return Seen::unknown(format!("{shown}: the answer is no list of alerts"));
    };
    let names = firing.services.keys().cloned().collect();
    let now = clock::now();
    judged(&wanted, &firing, &look.memory.seen(names, now), now)
}

/// None: that is no answer of an Alertmanager.
pub(crate) fn firing(body: &[u8], wanted: &Wanted) -> Option<Firing> {
    let alerts: Vec<Alert> = serde_json::from_slice(body).ok()?;
    let mut found = Firing::default();
    for alert in alerts.into_iter().filter(|alert| wanted.counts(alert)) {
        let Some(service) = alert.labels.get(&wanted.service_label) else {
            found.unnamed += 1;
            continue;
        };
        let oldest = found.services.entry(service.clone()).or_insert(alert.starts_at.clone());
        if alert.starts_at < *oldest {
            *oldest = alert.starts_at;
        }
    }
    Some(found)
}

/// Down, where enough services have been alerted of for long enough.
fn judged(
    wanted: &Wanted,
    firing: &Firing,
    since: &BTreeMap<String, Instant>,
    now: Instant,
) -> Seen {
    let held: BTreeSet<&String> = since
        .iter()
        .filter(|(_, since)| now.since(**since) >= wanted.firing_for)
        .map(|(service, _)| service)
        .collect();
    let text = told(wanted, firing, held.len());
    if held.len() >= wanted.services_min { Seen::down(text) } else { Seen::up(text) }
}

pub(crate) fn told(wanted: &Wanted, firing: &Firing, held: usize) -> String {
    let Wanted { alert, firing_for, services_min, region, .. } = wanted;
    let count = firing.services.len();
    let unnamed = match firing.unnamed {
        0 => String::new(),
        unnamed => format!("; {unnamed} without label {}", wanted.service_label),
    };
    let Some(oldest) = firing.services.values().min() else {
        return format!("no service of {region} has {alert}, {services_min} needed{unnamed}");
    };
    let mut names: Vec<&str> = firing.services.keys().map(String::as_str).collect();
    if count > NAMED_MAX {
        names.truncate(NAMED_MAX);
        names.push("…");
    }
    let names = names.join(", ");
    let needed = format!("{held} for {firing_for:?} or longer, {services_min} needed");
    format!(
        "{count} services of {region} have {alert}, {needed}: {names}; oldest since \
         {oldest}{unnamed}"
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::probe;
    use super::*;

    fn wanted() -> Wanted {
        Wanted::of(&probe("alertmanager", "http://127.0.0.1:9093"))
    }

    /// One alert as Alertmanager 0.25 answers it.
    fn alert(labels: &str, state: &str, silenced: &str, inhibited: &str) -> String {
        format!(
            r#"{{"annotations":{{}},"endsAt":"2026-11-28T10:05:00.000Z","fingerprint":"1a","receivers":
            [{{"name":"nobody"}}],"startsAt":"2026-11-28T10:00:00.000Z","status":{{"inhibitedBy":
            [{inhibited}],"silencedBy":[{silenced}],"state":"{state}"}},"updatedAt":
            "2026-11-28T10:00:00.000Z","labels":{{{labels}}}}}"#
        )
    }

    fn labels(service: &str, region: &str) -> String {
        format!(r#""alertname":"ServiceDown","service":"{service}","region":"{region}""#)
    }

    #[test]
    fn the_question_is_escaped_and_keeps_a_path_before_it() {
        let mut wanted = wanted();
        (wanted.alert, wanted.region) = ("Down \"now\" \\".to_owned(), "eu&west".to_owned());
        assert_eq!(
            wanted.url("http://am.test:9093/prefix/").unwrap(),
            "http://am.test:9093/prefix/api/v2/alerts?active=true&silenced=false&inhibited=false\
             &unprocessed=false&filter=alertname%3D%22Down+%5C%22now%5C%22+%5C%5C%22\
             &filter=region%3D%22eu%26west%22"
        );
        assert_eq!(wanted.url("no url"), None);
    }

    #[test]
    fn only_what_fires_of_this_region_under_this_name_counts() {
        let other = r#""alertname":"Slow","service":"cart","region":"eu-west""#;
        let unnamed = r#""alertname":"ServiceDown","region":"eu-west""#;
        let alerts = [
            alert(&labels("cart", "eu-west"), "active", "", ""),
            alert(&labels("cart", "eu-west"), "active", "", ""),
            alert(&labels("login", "us-east"), "active", "", ""),
            alert(&labels("shop", "eu-west"), "suppressed", r#""silence""#, ""),
            alert(&labels("mail", "eu-west"), "active", r#""silence""#, ""),
            alert(&labels("feed", "eu-west"), "active", "", r#""other""#),
            alert(&labels("news", "eu-west"), "unprocessed", "", ""),
            alert(other, "active", "", ""),
            alert(unnamed, "active", "", ""),
        ];
        let found = firing(format!("[{}]", alerts.join(",")).as_bytes(), &wanted()).unwrap();
        assert_eq!(found.services.keys().collect::<Vec<_>>(), ["cart"]);
        assert_eq!(found.unnamed, 1);
    }

    #[test]
    fn garbage_is_no_answer() {
        for body in ["", "{}", "null", "[1]", "[{}]", "<html>", r#"[{"labels":{}}]"#] {
            assert_eq!(firing(body.as_bytes(), &wanted()), None, "{body}");
        }
        assert_eq!(firing(b"[]", &wanted()), Some(Firing::default()));
    }

    #[test]
    fn enough_services_for_long_enough_are_down() {
        let at = "2026-11-28T10:00:00.000Z".to_owned();
        let services = ["cart", "login"].map(|name| (name.to_owned(), at.clone()));
        let firing = Firing { services: services.into(), unnamed: 0 };
        let since = |login: u64| {
            let at = [("cart", 0), ("login", login)];
            at.map(|(name, at)| (name.to_owned(), Instant::from_millis(at))).into()
        };
        let now = Instant::from_millis(12_000);
        let seen = judged(&wanted(), &firing, &since(2000), now);
        assert_eq!(seen.up, Some(false));
        assert_eq!(
            seen.detail,
            "2 services of eu-west have ServiceDown, 2 for 10s or longer, 2 needed: cart, login; \
             oldest since 2026-11-28T10:00:00.000Z"
        );
        assert_eq!(judged(&wanted(), &firing, &since(2001), now).up, Some(true));
        let mut three = wanted();
        three.services_min = 3;
        assert_eq!(judged(&three, &firing, &since(0), now).up, Some(true));
        let quiet = judged(&wanted(), &Firing::default(), &BTreeMap::new(), now);
        assert_eq!(quiet.up, Some(true));
        assert_eq!(quiet.detail, "no service of eu-west has ServiceDown, 2 needed");
    }

    #[test]
    fn what_is_written_wrong_is_told_by_its_key() {
        let settings = [
            ("services_min", "0"),
            ("firing_for", "soon"),
            ("bearer_file", "/a"),
            ("basic_auth_file", "/b"),
        ];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let wrong = check(&Written { target: "am:9093", settings: &settings });
        let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["target", "services_min", "firing_for", "basic_auth_file"]);
        let good = Written { target: "http://am:9093", settings: &BTreeMap::new() };
        assert_eq!(check(&good), []);
    }
}
