//! What a provider says of itself: its status page, as a feed or as JSON. Knows pages; never what
//! follows, which is nothing: it corroborates and never decides (docs/decisions).
//!
//! # Layout
//! - `feed`: RSS and Atom
//! - `json`: a Statuspage summary, or a list at a JSON pointer
//! - `words`: what names the region, and what says that an incident is over

mod feed;
mod json;
mod words;

use super::{Kind, Look, Looking, Seen, fetch};
use crate::clock;
use arbiter_core::{ProbeSpec, WallMillis};
use cluster_config::{ProbeKind, Setting, Signal, Written, Wrong, duration, http_url, may, must};
use std::time::Duration;
use words::Words;

/// Setting with what names the region.
const MATCH: &str = "match";
/// Setting with where in a JSON document the incidents are.
const POINTER: &str = "pointer";
/// Setting with how often the page is read.
const EVERY: &str = "every";
/// Setting with how old an entry of a feed may be.
const WITHIN: &str = "within";
/// A status page is everybody's: it is read seldom.
const EVERY_DEFAULT: Duration = Duration::from_secs(60);
const EVERY_MIN: Duration = Duration::from_secs(10);
/// An entry of a feed that nobody has touched for this long is about no outage of now.
const WITHIN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// Greatest page.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Incidents named in the text of a look.
const NAMED_MAX: usize = 3;

const SETTINGS: &[Setting] = &[
    must(MATCH, "eu-west-1, Ireland", "What names the region on the page; any of these."),
    may(POINTER, "/incidents", "RFC 6901 pointer to a list of incidents, where the page is JSON."),
    may(EVERY, "60s", "How often it is read, from 10s; by default 60s."),
    may(WITHIN, "24h", "How old an entry of a feed may be; by default 24h."),
];

/// The provider's status page names an incident of the region.
pub const KIND: Kind = Kind {
    config: ProbeKind {
        name: "provider-status",
        doc: "The provider's page (RSS, Atom, Statuspage summary.json or a list in JSON) has no \
              open incident that names the region. It is shown and never decides.",
        signal: Signal::Provider,
        target: "https://status.example.com/history.rss",
        settings: SETTINGS,
        check,
    },
    look: |look| Box::pin(seen(look)) as Looking<'_>,
    every: Some(every),
};

fn check(written: &Written<'_>) -> Vec<Wrong> {
    let faults = http_url(written.target).err();
    let mut found: Vec<Wrong> =
        faults.map(|(what, remedy)| Wrong::new("target", what, remedy)).into_iter().collect();
    let setting = |key: &str| written.settings.get(key).map(String::as_str);
    if setting(MATCH).is_some_and(|text| Words::new(text).is_empty()) {
        let remedy = "write what names the region on the page, such as \"eu-west-1, Ireland\"";
        found.push(Wrong::new(MATCH, "names nothing", remedy));
    }
    if let Some(text) = setting(POINTER)
        && !text.is_empty()
        && !text.starts_with('/')
    {
        let what = format!("{text:?} is no JSON pointer");
        found.push(Wrong::new(POINTER, what, "begin it with /, such as \"/incidents\""));
    }
    for (key, least) in [(EVERY, EVERY_MIN), (WITHIN, Duration::from_secs(1))] {
        let Some(text) = setting(key) else { continue };
        if duration(text).is_none_or(|duration| duration < least) {
            let what = format!("{text:?} is no duration of {least:?} or more");
            found.push(Wrong::new(key, what, "write such as \"60s\""));
        }
    }
    found
}

fn set(probe: &ProbeSpec, key: &str, default: Duration) -> Duration {
    probe.settings.get(key).and_then(|text| duration(text)).unwrap_or(default)
}

fn every(probe: &ProbeSpec) -> Duration {
    set(probe, EVERY, EVERY_DEFAULT).max(EVERY_MIN)
}

/// How a page is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    words: Words,
    pointer: Option<String>,
    /// An entry that was last touched before this is about no outage of now.
    since: WallMillis,
}

impl Reading {
    pub(crate) fn of(probe: &ProbeSpec, now: WallMillis) -> Self {
        let words = Words::new(probe.settings.get(MATCH).map_or("", String::as_str));
        let within = set(probe, WITHIN, WITHIN_DEFAULT).as_millis();
        let within = u64::try_from(within).unwrap_or(u64::MAX);
        let pointer = probe.settings.get(POINTER).cloned();
        Self { words, pointer, since: WallMillis(now.0.saturating_sub(within)) }
    }

    /// Titles of the open incidents that name the region; none where the page cannot be read.
    ///
    /// # Errors
    /// Why not, in words.
    pub(crate) fn incidents(&self, page: &[u8]) -> Result<Vec<String>, &'static str> {
        let page = page.trim_ascii_start();
        // A byte order mark is no part of JSON, and XML readers know it.
        match page.strip_prefix(b"\xef\xbb\xbf").unwrap_or(page).first() {
            Some(b'{' | b'[') => json::incidents(page, self),
            Some(_) => feed::incidents(page, self),
            None => Err("the page is empty"),
        }
    }
}

async fn seen(look: Look<'_>) -> Seen {
    let shown = fetch::shown(&look.probe.target);
    let body = match fetch::read(&look.probe.target, None, BODY_BYTES_MAX, look.resolved).await {
        Ok(body) => body,
        Err(seen) => return seen,
    };
    let reading = Reading::of(look.probe, clock::wall());
    // A long page takes its time, and Raft runs on this thread.
    let read = tokio::task::spawn_blocking(move || reading.incidents(&body)).await;
    match read {
        Ok(Ok(incidents)) if incidents.is_empty() => {
            Seen::up(format!("{shown} names no open incident of {}", look.probe.region))
        }
        Ok(Ok(incidents)) => Seen::down(told(&incidents)),
        Ok(Err(why)) => Seen::unknown(format!("{shown}: {why}")),
        Err(_) => Seen::unknown(format!("{shown}: the page cannot be read")),
    }
}

fn told(incidents: &[String]) -> String {
    let named: Vec<&str> = incidents.iter().take(NAMED_MAX).map(String::as_str).collect();
    let more = match incidents.len() - named.len() {
        0 => String::new(),
        more => format!("; {more} more"),
    };
    format!("incident: {}{more}", named.join("; "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::probe;
    use super::*;

    const STATUSPAGE: &str = include_str!("samples/statuspage-summary.json");
    const STATUSPAGE_RSS: &str = include_str!("samples/statuspage-history.rss");
    const AWS_RSS: &str = include_str!("samples/aws-all.rss");
    const GOOGLE_ATOM: &str = include_str!("samples/google-cloud.atom");
    const GOOGLE_JSON: &str = include_str!("samples/google-cloud-incidents.json");

    /// A little after everything in the samples.
    const NOW: WallMillis = WallMillis(1_795_867_200_000);

    fn read(page: &str, words: &str, pointer: Option<&str>) -> Result<Vec<String>, &'static str> {
        let mut probe = probe("provider-status", "https://status.test/");
        probe.settings.insert(MATCH.to_owned(), words.to_owned());
        if let Some(pointer) = pointer {
            probe.settings.insert(POINTER.to_owned(), pointer.to_owned());
        }
        Reading::of(&probe, NOW).incidents(page.as_bytes())
    }

    #[test]
    fn a_statuspage_summary_names_incidents_and_components() {
        let eu = read(STATUSPAGE, "eu-west", None).unwrap();
        assert_eq!(
            eu,
            ["Errors in eu-west (investigating)", "API eu-west (major_outage)"],
            "neither what is resolved nor what is planned"
        );
        assert_eq!(read(STATUSPAGE, "us-east", None), Ok(Vec::new()));
        assert_eq!(read(STATUSPAGE, "Ireland", None).unwrap().len(), 1, "by the text of an update");
    }

    #[test]
    fn a_statuspage_feed_names_what_is_not_resolved() {
        let eu = read(STATUSPAGE_RSS, "eu-west", None).unwrap();
        assert_eq!(eu, ["Errors in eu-west"]);
        assert_eq!(read(STATUSPAGE_RSS, "us-east", None), Ok(Vec::new()), "resolved");
        assert_eq!(read(STATUSPAGE_RSS, "ap-south", None), Ok(Vec::new()), "long ago");
    }

    #[test]
    fn the_newest_entry_of_an_incident_decides_where_each_update_is_one() {
        let eu = read(AWS_RSS, "eu-west-1, Ireland", None).unwrap();
        assert_eq!(eu, ["Service disruption: Increased API Error Rates"]);
        assert_eq!(read(AWS_RSS, "us-east-1", None), Ok(Vec::new()), "[RESOLVED] came later");
        let all = read(GOOGLE_ATOM, "europe-west1", None).unwrap();
        assert_eq!(all, ["UPDATE: Persistent Disk is slow in europe-west1"]);
        assert_eq!(read(GOOGLE_ATOM, "us-central1", None), Ok(Vec::new()), "RESOLVED: came later");
    }

    #[test]
    fn a_list_at_a_pointer_names_what_has_not_ended() {
        let eu = read(GOOGLE_JSON, "europe-west1", Some("")).unwrap();
        assert_eq!(eu, ["Persistent Disk is slow"]);
        assert_eq!(read(GOOGLE_JSON, "us-central1", Some("")), Ok(Vec::new()), "it has an end");
        let nested = format!(r#"{{"feed":{{"list":{GOOGLE_JSON}}}}}"#);
        assert_eq!(read(&nested, "europe-west1", Some("/feed/list")).unwrap().len(), 1);
    }

    #[test]
    fn what_is_no_page_says_nothing() {
        for page in [
            "",
            "   ",
            "{",
            "{}",
            "[]",
            "null",
            "not a page",
            "<html><body>503</body></html>",
            "<?xml version=\"1.0\"?><rss version=\"2.0\"><channel>",
            r#"{"page":{},"status":{"indicator":"none"}}"#,
        ] {
            assert!(read(page, "eu-west", None).is_err(), "{page}");
        }
        assert!(read("{\"a\":1}", "eu-west", Some("/a")).is_err());
        assert!(read("{\"a\":1}", "eu-west", Some("/b")).is_err());
        let deep = "[".repeat(100_000);
        assert!(read(&deep, "eu-west", Some("")).is_err());
        for end in (0..AWS_RSS.len()).step_by(13).filter(|end| AWS_RSS.is_char_boundary(*end)) {
            let _ = read(&AWS_RSS[..end], "eu-west", None);
        }
    }

    #[test]
    fn a_feed_without_entries_names_no_incident() {
        let feed = "<rss version=\"2.0\"><channel><title>Status</title></channel></rss>";
        assert_eq!(read(feed, "eu-west", None), Ok(Vec::new()));
    }

    #[test]
    fn only_some_incidents_are_named() {
        let incidents = ["a", "b", "c", "d", "e"].map(str::to_owned);
        assert_eq!(told(&incidents), "incident: a; b; c; 2 more");
        assert_eq!(told(&incidents[..1]), "incident: a");
    }

    #[test]
    fn what_is_written_wrong_is_told_by_its_key() {
        let settings = [("match", " , "), ("pointer", "x"), ("every", "1s"), ("within", "now")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
        let wrong = check(&Written { target: "status.test", settings: &settings });
        let keys: Vec<&str> = wrong.iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["target", "match", "pointer", "every", "within"]);
    }
}
