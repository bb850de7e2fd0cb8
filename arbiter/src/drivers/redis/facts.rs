//! What a server's numbers mean to whoever operates it.
//!
//! Knows an answer to `INFO` and settings. Never asks and never decides.

use super::info::Info;
use super::rivals;
use arbiter_core::SIZE_BYTES;
use std::collections::BTreeMap;

/// A backlog that holds less of the stream than this sends a replica that was away to copy
/// everything.
const BACKLOG_SECONDS_MIN: u64 = 120;
/// A clean stop that saves for longer than this uses up a switchover's drain limit.
const SAVE_SECONDS_MAX: u64 = 5;

/// What stands in the way of a plan, each with its remedy.
pub fn obstacles(info: &Info) -> Vec<String> {
    let mut found: Vec<String> = rivals::old(info).into_iter().collect();
    let mut say = |is: bool, what: &str| {
        if is {
            found.push(what.to_owned());
        }
    };
    say(info.is_copying(), "it copies its primary's data, and has only a part of it: wait");
    say(info.is_loading() && !info.is_copying(), "it loads its data: wait");
    say(
        info.never_leads(),
        "replica-priority is 0, which says that it must not be promoted: set it to 100",
    );
    say(
        info.takes_writes(),
        "replica-read-only is no, so clients may have written to it: set it to yes, and see what \
         they wrote",
    );
    found
}

/// What a failover or a crash would lose as it is set up, each with its remedy. `pace`: bytes of
/// the stream a second.
pub fn faults(
    info: &Info,
    configured: &BTreeMap<String, String>,
    pace: Option<u64>,
) -> Vec<String> {
    let text = |name: &str| configured.get(name).map_or("", String::as_str);
    let mut found = Vec::new();
    let appends = info.is("aof_enabled");
    let seconds = info.number("rdb_last_bgsave_time_sec").unwrap_or(0);
    if !appends && text("save").is_empty() {
        found
            .push("nothing is written to disk: a stop loses everything; set appendonly yes".into());
    } else if !appends {
        found.push(
            "appendonly is no: a primary that is killed comes back without what was written since \
             its last save; set appendonly yes"
                .into(),
        );
        if seconds > SAVE_SECONDS_MAX {
            found.push(format!(
                "a clean stop saves everything, the last save took {seconds} s, and a switchover \
                 waits for that: set appendonly yes, or a longer drain limit"
            ));
        }
    } else if text("appendfsync") == "no" {
        found.push(
            "appendfsync is no: a host that dies loses what its disk was not yet given; set \
                    it to everysec"
                .into(),
        );
    }
    for (key, good, what) in [
        ("aof_last_write_status", "ok", "appended changes were not written"),
        ("rdb_last_bgsave_status", "ok", "the last save failed"),
    ] {
        if !matches!(info.text(key), "" | "ok") {
            found.push(format!("{what} ({key} is not {good}): see its log and the disk"));
        }
    }
    let policy = text("maxmemory-policy");
    if policy.starts_with("allkeys") {
        found.push(format!(
            "maxmemory-policy is {policy}, so data is thrown away when memory is short: set it to \
             noeviction, or write role = \"cache\""
        ));
    }
    found.extend(backlog(text("repl-backlog-size"), pace));
    found
}

/// Whether a replica can be away for a while and go on where it was.
fn backlog(size: &str, pace: Option<u64>) -> Option<String> {
    let (size, pace) = (size.parse::<u64>().ok()?, pace.filter(|pace| *pace > 0)?);
    let holds = size / pace;
    let wanted = pace.saturating_mul(BACKLOG_SECONDS_MIN);
    (holds < BACKLOG_SECONDS_MIN).then(|| {
        format!(
            "repl-backlog-size is {size}, which holds {holds} s of the stream: a replica that was \
             away for longer copies everything; set it to {wanted} or more"
        )
    })
}

/// For people.
pub fn details(info: &Info) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut show = |name: &str, value: String| drop(found.insert(name.to_owned(), value));
    show("version", format!("Redis {}", info.text("redis_version")));
    show("keys", info.keys().to_string());
    show("memory", info.text("used_memory_human").to_owned());
    show(SIZE_BYTES, info.text("used_memory").to_owned());
    if info.is_primary() {
        let followers = info.followers();
        let online = followers.iter().filter(|follower| follower.online);
        show("replicas", online.clone().count().to_string());
        let end = info.point().map_or(0, |point| point.offset);
        if let Some(nearest) = online.max_by_key(|follower| follower.offset) {
            let behind = end.saturating_sub(nearest.offset);
            show("lag", format!("{behind} bytes, {} s", nearest.lag_seconds));
        }
    } else {
        let (host, port) = info.upstream();
        show("upstream", super::upstream::join(host, port));
        show(
            "heard",
            info.heard_seconds().map_or("not now".into(), |seconds| format!("{seconds} s ago")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::info::GOOD_REPLICA;
    use super::*;

    fn said(info: &str, configured: &[(&str, &str)], pace: Option<u64>) -> String {
        let configured = configured.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        faults(&Info::parse(info), &configured, pace).join("\n")
    }

    #[test]
    fn what_would_be_lost_is_said_with_its_remedy() {
        let good = "aof_enabled:1\naof_last_write_status:ok\nrdb_last_bgsave_status:ok\n";
        let sized =
            [("save", "60 1"), ("repl-backlog-size", "1000000"), ("appendfsync", "everysec")];
        assert_eq!(said(good, &sized, Some(1000)), "");
        assert!(said(good, &sized, Some(100_000)).contains("set it to 12000000"));
        assert_eq!(said(good, &sized, Some(0)), "", "an idle stream fits");
        assert!(said("aof_enabled:0", &sized, None).contains("appendonly is no"));
        assert!(said("aof_enabled:0", &[("save", "")], None).contains("loses everything"));
        let slow = "aof_enabled:0\nrdb_last_bgsave_time_sec:40\n";
        assert!(said(slow, &sized, None).contains("took 40 s"));
        let full = "aof_enabled:1\naof_last_write_status:err\n";
        assert!(said(full, &sized, None).contains("not written"));
        let evicts = [("maxmemory-policy", "allkeys-lru")];
        assert!(said(good, &evicts, None).contains("noeviction"));
    }

    #[test]
    fn a_replica_that_must_not_or_cannot_lead_says_so() {
        let said = |text: &str| obstacles(&Info::parse(text)).join("\n");
        assert_eq!(said(GOOD_REPLICA), "");
        assert!(said(&format!("{GOOD_REPLICA}loading:1")).contains("loads its data"));
        assert!(said(&GOOD_REPLICA.replace("7.0.15", "6.2.1")).contains("7 or newer"));
        assert!(said(&GOOD_REPLICA.replace("100", "0")).contains("must not be promoted"));
        assert!(said(&GOOD_REPLICA.replace("only:1", "only:0")).contains("clients"));
    }
}
