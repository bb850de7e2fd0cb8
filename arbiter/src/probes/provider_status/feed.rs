//! Incidents in RSS and Atom. Knows entries and how providers mark them; never a region.

use super::Reading;
use super::words::over;
use feed_rs::model::Entry;
use std::collections::BTreeMap;

/// Where in the body of an entry its newest status stands, in characters: Statuspage begins with
/// the date and that word.
const STATUS_CHARS_MAX: usize = 64;
/// Entries that are looked at, newest first.
const ENTRIES_MAX: usize = 1000;

/// Titles of the open incidents that name the region.
pub(super) fn incidents(page: &[u8], reading: &Reading) -> Result<Vec<String>, &'static str> {
    let feed = feed_rs::parser::parse(page).map_err(|_| "it is neither a feed nor JSON")?;
    let mut entries: Vec<&Entry> = feed.entries.iter().collect();
    entries.sort_by_key(|entry| std::cmp::Reverse(touched(entry)));
    // The newest entry of an incident decides: some providers write one for each update.
    let mut newest: BTreeMap<String, &Entry> = BTreeMap::new();
    let mut titles = Vec::new();
    for entry in entries.into_iter().take(ENTRIES_MAX) {
        let (title, body) = (title(entry), body(entry));
        if !reading.words.name(title)
            && !reading.words.name(&body)
            && !named_by_link(entry, reading)
        {
            continue;
        }
        if newest.insert(incident(title), entry).is_some() {
            continue;
        }
        let fresh = touched(entry).is_none_or(|at| at >= reading.since.0);
        let status: String = body.chars().take(STATUS_CHARS_MAX).collect();
        if fresh && !over(title) && !over(&status) {
            titles.push(title.to_owned());
        }
    }
    Ok(titles)
}

/// AWS names service and region in the part of a link behind the `#`.
fn named_by_link(entry: &Entry, reading: &Reading) -> bool {
    let links = entry.links.iter().map(|link| link.href.as_str());
    links.chain([entry.id.as_str()]).any(|link| reading.words.name(link))
}

/// When it was last changed, in milliseconds; none where it says nothing.
fn touched(entry: &Entry) -> Option<u64> {
    let at = entry.updated.or(entry.published)?;
    u64::try_from(at.timestamp_millis()).ok()
}

fn title(entry: &Entry) -> &str {
    entry.title.as_ref().map_or("", |title| title.content.trim())
}

/// Its text, without the marks of HTML.
fn body(entry: &Entry) -> String {
    let summary = entry.summary.as_ref().map(|text| text.content.as_str());
    let content = entry.content.as_ref().and_then(|content| content.body.as_deref());
    plain(content.or(summary).unwrap_or_default())
}

/// Tags become blanks, blanks become one.
fn plain(html: &str) -> String {
    let mut out = String::new();
    let mut in_tag = false;
    for c in html.chars() {
        match c {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                out.push(' ');
            }
            _ if in_tag => {}
            _ => out.push(c),
        }
    }
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// What the entries of one incident share: the title without its state, which stands before a
/// colon or in brackets.
fn incident(title: &str) -> String {
    let bare = title.rsplit_once(": ").map_or(title, |(_, bare)| bare);
    let bare = bare.rsplit_once(']').map_or(bare, |(_, bare)| bare);
    bare.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_one_incident_are_one() {
        for title in [
            "Increased API Error Rates",
            "Service disruption: Increased API Error Rates",
            "Service is operating normally: [RESOLVED] Increased API Error Rates",
            "RESOLVED: Increased API error rates",
        ] {
            assert_eq!(incident(title), "increased api error rates", "{title}");
        }
    }

    #[test]
    fn marks_are_no_text() {
        let html = "<p><small>Nov <var>28</var></small><br><strong>Resolved</strong> - done.</p>";
        assert_eq!(plain(html), "Nov 28 Resolved - done.");
    }
}
