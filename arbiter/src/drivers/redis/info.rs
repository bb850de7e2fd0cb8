//! What `INFO` says, and what it says of histories.
//!
//! Knows its text (<https://redis.io/docs/latest/commands/info/>), and is the one file with Redis's
//! own words for primary and replica. Never asks and never decides.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// What the log of a replica calls its primary.
pub const UPSTREAM_IN_LOG: &str = "MASTER";
/// What a replica counts from that has synchronised with nobody since it was started.
const NO_OFFSET: u64 = 1;

/// A place in a history of changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The replication id: whoever has the same one has the same changes up to the same offset.
    pub history: String,
    /// Bytes of the stream.
    pub offset: u64,
}

/// A server's history: where it is, and which ones that grew out of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Where it is.
    pub now: Point,
    /// The ends of what it shares with former histories, the newest first.
    pub former: Vec<Point>,
}

impl Line {
    /// Whether everything that leads to `point` is on this line too.
    pub fn holds(&self, point: &Point) -> bool {
        let within = |end: &Point| end.history == point.history && point.offset <= end.offset;
        within(&self.now) || self.former.iter().any(within)
    }

    /// Where `history` was left; none where that is not known.
    pub fn left(&self, history: &str) -> Option<&Point> {
        self.former.iter().find(|end| end.history == history)
    }
}

/// A replica as its primary sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Follower {
    /// It gets the stream.
    pub online: bool,
    /// What it acknowledged.
    pub offset: u64,
    /// Seconds since it last did.
    pub lag_seconds: u64,
}

/// An answer to `INFO`.
#[derive(Clone, Debug, Default)]
pub struct Info(BTreeMap<String, String>);

impl Info {
    /// Parse the text.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let pairs = lines.filter_map(|line| line.trim_end().split_once(':'));
        Self(pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }

    /// A value as it stands; empty where there is none.
    pub fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// A number; none where there is none, or a negative one.
    pub fn number(&self, key: &str) -> Option<u64> {
        self.text(key).parse().ok()
    }

    /// Whether a flag is set.
    pub fn is(&self, key: &str) -> bool {
        self.text(key) == "1"
    }

    /// Whether it is a primary.
    pub fn is_primary(&self) -> bool {
        self.text("role") == "master"
    }

    /// The first number of the version; 0 where it says none.
    pub fn major(&self) -> u32 {
        let version = self.text("redis_version").split('.').next();
        version.and_then(|major| major.parse().ok()).unwrap_or(0)
    }

    /// It reads its data, or its upstream's: it is part of a whole.
    pub fn is_loading(&self) -> bool {
        self.is("loading") || self.is("async_loading")
    }

    /// A replica that copies everything anew.
    pub fn is_copying(&self) -> bool {
        self.is("master_sync_in_progress")
    }

    /// Whom a replica follows.
    pub fn upstream(&self) -> (&str, u16) {
        let port = self.number("master_port").unwrap_or(0);
        (self.text("master_host"), u16::try_from(port).unwrap_or(0))
    }

    /// Seconds since a replica last heard from its primary; none while it does not.
    pub fn heard_seconds(&self) -> Option<u64> {
        self.number("master_last_io_seconds_ago")
    }

    /// Bytes of the stream that a replica received.
    pub fn received(&self) -> Option<u64> {
        self.number("slave_read_repl_offset")
    }

    /// Bytes that are left of a copy.
    pub fn copy_left_bytes(&self) -> u64 {
        self.number("master_sync_left_bytes").unwrap_or(0)
    }

    /// A replica that takes writes of clients.
    pub fn takes_writes(&self) -> bool {
        !self.is_primary() && self.text("slave_read_only") == "0"
    }

    /// A replica that is set up never to be promoted.
    pub fn never_leads(&self) -> bool {
        !self.is_primary() && self.text("slave_priority") == "0"
    }

    /// The stream comes in.
    pub fn is_linked(&self) -> bool {
        self.text("master_link_status") == "up"
    }

    /// The history that it is on.
    pub fn history(&self) -> &str {
        self.text("master_replid")
    }

    /// Where it is in its history; none for a replica whose data is not known to be whole.
    pub fn point(&self) -> Option<Point> {
        let offset = if self.is_primary() {
            self.number("master_repl_offset")?
        } else {
            // Of the stream that it applied; without one Redis shows this constant.
            self.number("slave_repl_offset").filter(|offset| *offset != NO_OFFSET)?
        };
        let history = self.history().to_owned();
        let whole = self.is_primary() || !self.is_loading() && !self.is_copying();
        (whole && !history.is_empty()).then_some(Point { history, offset })
    }

    /// Its line of history, as far as Redis knows it.
    pub fn line(&self) -> Option<Line> {
        // The first offset that is not shared.
        let second = self.number("second_repl_offset");
        let former = second.map(|first| Point {
            history: self.text("master_replid2").to_owned(),
            offset: first.saturating_sub(1),
        });
        Some(Line { now: self.point()?, former: former.into_iter().collect() })
    }

    /// Its replicas.
    pub fn followers(&self) -> Vec<Follower> {
        // As far as they are listed: the count that a server claims costs no time.
        let listed = (0..self.number("connected_slaves").unwrap_or(0))
            .map_while(|index| self.0.get(&format!("slave{index}")));
        listed.map(|text| follower(text)).collect()
    }

    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        let found =
            self.keyspace().filter_map(|(_, text)| field(text, "keys")?.parse::<u64>().ok());
        found.fold(0, u64::saturating_add)
    }

    /// The databases that have keys.
    pub fn databases(&self) -> BTreeSet<u32> {
        self.keyspace().map(|(number, _)| number).collect()
    }

    fn keyspace(&self) -> impl Iterator<Item = (u32, &str)> {
        let named = self.0.iter();
        named.filter_map(|(key, text)| Some((key.strip_prefix("db")?.parse().ok()?, text.as_str())))
    }
}

fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(',')
        .find_map(|part| part.split_once('=').filter(|(name, _)| *name == key))
        .map(|(_, value)| value)
}

fn follower(text: &str) -> Follower {
    let number = |key| field(text, key).and_then(|value| value.parse().ok());
    Follower {
        online: field(text, "state") == Some("online"),
        offset: number("offset").unwrap_or(0),
        lag_seconds: number("lag").unwrap_or(0),
    }
}

/// What a replica says that could be promoted.
#[cfg(test)]
pub const GOOD_REPLICA: &str =
    "redis_version:7.0.15\nrole:slave\nslave_priority:100\nslave_read_only:1\n";

#[cfg(test)]
mod tests {
    use super::*;

    const PRIMARY: &str = "# Server\r\nredis_version:7.0.15\r\n\r\n# Replication\r\nrole:master\r\n\
        connected_slaves:2\r\nslave0:ip=::1,port=1,state=online,offset=170,lag=0\r\n\
        slave1:ip=::1,port=2,state=wait_bgsave,offset=0,lag=3\r\nmaster_replid:a7e0\r\n\
        master_replid2:d711\r\nmaster_repl_offset:184\r\nsecond_repl_offset:157\r\n\r\n\
        # Keyspace\r\ndb0:keys=3,expires=0,avg_ttl=0\r\ndb9:keys=4,expires=0,avg_ttl=0\r\n";

    fn at(history: &str, offset: u64) -> Point {
        Point { history: history.into(), offset }
    }

    #[test]
    fn a_primary_tells_its_line_and_its_followers() {
        let info = Info::parse(PRIMARY);
        assert!(info.is_primary() && info.major() == 7 && info.keys() == 7);
        assert_eq!(info.databases(), BTreeSet::from([0, 9]));
        let line = info.line().unwrap();
        assert!(line.holds(&at("a7e0", 184)) && line.holds(&at("d711", 156)));
        assert!(!line.holds(&at("d711", 157)), "it wrote one byte past the fork");
        assert!(!line.holds(&at("a7e0", 185)) && !line.holds(&at("0000", 1)));
        let online: Vec<bool> = info.followers().iter().map(|one| one.online).collect();
        assert_eq!(online, [true, false]);
        assert_eq!(info.followers()[0].offset, 170);
    }

    #[test]
    fn what_a_server_claims_to_have_costs_nothing() {
        let many =
            format!("connected_slaves:{}\r\nslave0:state=online,offset=1,lag=0\r\n", u64::MAX);
        assert_eq!(Info::parse(&many).followers().len(), 1);
        let keys = format!("db0:keys={}\r\ndb1:keys=1\r\n", u64::MAX);
        assert_eq!(Info::parse(&keys).keys(), u64::MAX);
    }

    #[test]
    fn a_replica_is_somewhere_only_with_whole_data() {
        let text = |more: &str| {
            format!("role:slave\r\nmaster_replid:d711\r\nsecond_repl_offset:-1\r\n{more}")
        };
        let whole = Info::parse(&text("slave_repl_offset:78\r\n"));
        assert_eq!(whole.line(), Some(Line { now: at("d711", 78), former: Vec::new() }));
        for part in [
            "slave_repl_offset:1\r\n",
            "slave_repl_offset:78\r\nloading:1\r\n",
            "slave_repl_offset:78\r\nmaster_sync_in_progress:1\r\n",
        ] {
            assert_eq!(Info::parse(&text(part)).point(), None, "{part}");
        }
        assert_eq!(Info::parse("").point(), None);
    }
}
