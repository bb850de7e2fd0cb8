//! What a script prints: one JSON object, every key optional.
//!
//! Knows the keys and their ranges. A key that is none of them is refused, since a misspelt one
//! would be an answer that is not given. Nothing but `message` is ever shown: all else may hold
//! secrets, and so does a text that is no JSON.

use arbiter_core::{Condition, EvidenceKind, Fact, Layer, Position, Role, Token, Upstream};
use serde_json::{Map, Value};
use std::time::Duration;

/// Characters of a message that are kept.
const MESSAGE_CHARS_MAX: usize = 240;
/// Obstacles that are kept.
const OBSTACLES_MAX: usize = 8;
/// Characters of an identity of data that are kept.
const DATA_ID_CHARS_MAX: usize = 128;
/// Most seconds that a lag may have.
const LAG_SECS_MAX: f64 = 366.0 * 24.0 * 3600.0;
/// Every key.
const KEYS: &[&str] = &[
    "state",
    "position",
    "replayed",
    "fork",
    "streaming",
    "lag",
    "data_id",
    "obstacles",
    "clean",
    "evidence",
    "seen",
    "message",
];

/// State of a resource, in a script's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Serves as the active region's.
    Active,
    /// Serves as the standby region's.
    Standby,
    /// On its way up.
    Starting,
    /// Replays after a crash.
    Recovering,
    /// Stopped, drained or fenced, as asked.
    Stopped,
    /// Not running, though nobody asked it to stop.
    Dead,
    /// Could not be seen.
    Unknown,
}

impl State {
    const WORDS: &[(&str, State)] = &[
        ("active", State::Active),
        ("standby", State::Standby),
        ("starting", State::Starting),
        ("recovering", State::Recovering),
        ("stopped", State::Stopped),
        ("dead", State::Dead),
        ("unknown", State::Unknown),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, state)| *state == self).map_or("unknown", |(word, _)| word)
    }
}

/// A script's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reply {
    /// How it stands.
    pub state: Option<State>,
    /// A primary's written end, or what a replica has received.
    pub position: Option<Position>,
    /// What a replica has replayed.
    pub replayed: Option<Position>,
    /// Where the present timeline began.
    pub fork: Option<Position>,
    /// Whether it follows its upstream now.
    pub streaming: Option<bool>,
    /// How long ago it last heard of its upstream.
    pub lag: Option<Duration>,
    /// Identity of the data.
    pub data_id: String,
    /// Why the goal in force cannot be reached as things are.
    pub obstacles: Vec<String>,
    /// A stop was clean.
    pub clean: bool,
    /// What its word counts as, before it is capped.
    pub evidence: Option<EvidenceKind>,
    /// The highest token that the resource has seen.
    pub seen: Option<Token>,
    /// For people.
    pub message: String,
}

impl Reply {
    /// Read what a script printed; nothing is an answer without a key.
    ///
    /// # Errors
    /// What is wrong and what is right, without a word of what was printed.
    pub fn read(printed: &[u8]) -> Result<Self, String> {
        if printed.iter().all(u8::is_ascii_whitespace) {
            return Ok(Self::default());
        }
        let value: Value = serde_json::from_slice(printed).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("what it printed is no JSON from line {line}, column {column} on")
        })?;
        let Value::Object(map) = value else {
            return Err("what it printed is JSON, and no object".to_owned());
        };
        if map.keys().any(|key| !KEYS.contains(&key.as_str())) {
            return Err(format!("it printed a key that is none of {}", KEYS.join(", ")));
        }
        Self::from_map(&map)
    }

    fn from_map(map: &Map<String, Value>) -> Result<Self, String> {
        let reply = Self {
            state: word(map, "state", State::WORDS)?,
            position: position(map, "position")?,
            replayed: position(map, "replayed")?,
            fork: position(map, "fork")?,
            streaming: boolean(map, "streaming")?,
            lag: lag(map)?,
            data_id: text(map, "data_id", DATA_ID_CHARS_MAX)?.unwrap_or_default(),
            obstacles: texts(map, "obstacles")?,
            clean: boolean(map, "clean")?.unwrap_or(false),
            evidence: word(map, "evidence", EVIDENCE)?,
            seen: seen(map)?,
            message: text(map, "message", MESSAGE_CHARS_MAX)?.unwrap_or_default(),
        };
        if reply.streaming == Some(true) && reply.lag.is_none() {
            return Err("streaming asks for lag: the seconds since it last heard".to_owned());
        }
        Ok(reply)
    }

    /// The observation that it is.
    pub fn fact(&self, layer: Layer) -> Fact {
        let state = self.state.unwrap_or(State::Unknown);
        let data = layer == Layer::Data;
        let condition = match state {
            State::Active | State::Standby => Condition::Healthy,
            State::Starting => Condition::Starting,
            State::Recovering => Condition::Recovering,
            State::Stopped => Condition::Stopped,
            State::Dead => Condition::Dead,
            State::Unknown => Condition::Unknown,
        };
        let role = match state {
            State::Active if data => Role::Primary,
            State::Standby if data => Role::Replica,
            _ => Role::None,
        };
        let upstream = self.streaming.map(|streaming| Upstream {
            position: self.position.unwrap_or_default(),
            age: self.lag.unwrap_or_default(),
            streaming,
        });
        let mut fact = Fact {
            condition,
            role,
            writable: data && state == State::Active,
            position: self.position,
            replayed: self.replayed,
            fork: self.fork,
            upstream,
            data_id: self.data_id.clone(),
            obstacles: self.obstacles.clone(),
            ..Fact::default()
        };
        if !self.message.is_empty() {
            fact.detail.insert("message".to_owned(), self.message.clone());
        }
        fact
    }
}

/// Kinds of evidence, by their words.
const EVIDENCE: &[(&str, EvidenceKind)] = &[
    ("attested", EvidenceKind::Attested),
    ("provider-asserted", EvidenceKind::ProviderAsserted),
    ("lease-expired", EvidenceKind::LeaseExpired),
    ("power-off", EvidenceKind::PowerOff),
    ("confirmed", EvidenceKind::Confirmed),
];

fn word<T: Copy>(
    map: &Map<String, Value>,
    key: &str,
    words: &[(&str, T)],
) -> Result<Option<T>, String> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let found = words.iter().find(|(word, _)| value.as_str() == Some(word));
    let known = || words.iter().map(|(word, _)| *word).collect::<Vec<_>>().join(", ");
    found.map(|(_, it)| Some(*it)).ok_or_else(|| format!("{key} must be one of {}", known()))
}

fn boolean(map: &Map<String, Value>, key: &str) -> Result<Option<bool>, String> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::Bool(yes)) => Ok(Some(*yes)),
        Some(_) => Err(format!("{key} must be true or false")),
    }
}

fn text(map: &Map<String, Value>, key: &str, max: usize) -> Result<Option<String>, String> {
    match map.get(key) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(plain(text, max))),
        Some(_) => Err(format!("{key} must be text")),
    }
}

fn texts(map: &Map<String, Value>, key: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("{key} must be a list of texts");
    let Some(value) = map.get(key) else { return Ok(Vec::new()) };
    let list = value.as_array().ok_or_else(wrong)?.iter().take(OBSTACLES_MAX);
    let read = |value: &Value| value.as_str().map(|text| plain(text, MESSAGE_CHARS_MAX));
    list.map(|value| read(value).ok_or_else(wrong)).collect()
}

/// One line, and not a long one: it is shown on terminals.
fn plain(text: &str, max: usize) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().map(shown).take(max).collect()
}

fn lag(map: &Map<String, Value>) -> Result<Option<Duration>, String> {
    let Some(value) = map.get("lag") else { return Ok(None) };
    let seconds = value.as_f64().filter(|seconds| (0.0..=LAG_SECS_MAX).contains(seconds));
    let wrong = || format!("lag must be seconds, from 0 to {LAG_SECS_MAX}");
    seconds.map(|seconds| Some(Duration::from_secs_f64(seconds))).ok_or_else(wrong)
}

fn seen(map: &Map<String, Value>) -> Result<Option<Token>, String> {
    let Some(value) = map.get("seen") else { return Ok(None) };
    let token = value.as_str().and_then(|text| text.parse().ok());
    token.map(Some).ok_or_else(|| "seen must be a token, such as 7.1042".to_owned())
}

fn position(map: &Map<String, Value>, key: &str) -> Result<Option<Position>, String> {
    let Some(value) = map.get(key) else { return Ok(None) };
    let found = match value {
        Value::Number(number) => number.as_u64().map(|offset| Position { timeline: 0, offset }),
        Value::String(text) => parse(text),
        _ => None,
    };
    let wrong = || {
        format!(
            "{key} must be bytes, or text such as 3:0/5000060: timeline, then what PostgreSQL \
                 writes as an LSN, or a number"
        )
    };
    found.map(Some).ok_or_else(wrong)
}

/// `timeline:high/low` as [`Position`] is shown, or `timeline:bytes`.
fn parse(text: &str) -> Option<Position> {
    let (timeline, rest) = text.split_once(':')?;
    let timeline = timeline.parse().ok()?;
    let offset = match rest.split_once('/') {
        Some((high, low)) => {
            let half = |text| u32::from_str_radix(text, 16).ok().map(u64::from);
            (half(high)? << 32) | half(low)?
        }
        None => rest.parse().ok()?,
    };
    Some(Position { timeline, offset })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Reply, String> {
        Reply::read(text.as_bytes())
    }

    #[test]
    fn every_key_arrives() {
        let reply = read(
            r#"{"state":"standby","position":"3:1/A0","replayed":160,"fork":"3:96","lag":1.5,
                "streaming":true,"data_id":"77","obstacles":["paused"],"clean":true,
                "evidence":"confirmed","seen":"7.12","message":"two\nlines"}"#,
        );
        let reply = reply.unwrap();
        let at = |timeline, offset| Some(Position { timeline, offset });
        assert_eq!((reply.position, reply.replayed), (at(3, (1 << 32) + 160), at(0, 160)));
        assert_eq!((reply.fork, reply.seen), (at(3, 96), Some(Token::new(7, 12))));
        let fact = reply.fact(Layer::Data);
        assert_eq!((fact.role, fact.writable), (Role::Replica, false));
        assert_eq!(fact.upstream.unwrap().age, Duration::from_millis(1500));
        assert_eq!(fact.detail["message"], "two lines");
        assert_eq!(read(" \n").unwrap(), Reply::default());
        assert_eq!(Reply::default().fact(Layer::Data).condition, Condition::Unknown);
    }

    #[test]
    fn only_data_that_is_active_is_writable() {
        let active = read(r#"{"state":"active"}"#).unwrap();
        assert!(active.fact(Layer::Data).writable);
        assert!(!active.fact(Layer::Workload).writable);
        assert!(!read(r#"{"state":"starting"}"#).unwrap().fact(Layer::Data).writable);
    }

    #[test]
    fn what_is_wrong_is_named_and_what_was_printed_is_not() {
        let wrong = [
            "password hunter2",
            "[\"hunter2\"]",
            r#"{"hunter2":1}"#,
            r#"{"state":"hunter2"}"#,
            r#"{"position":"hunter2"}"#,
            r#"{"position":-1}"#,
            r#"{"lag":"hunter2"}"#,
            r#"{"lag":1e300}"#,
            r#"{"clean":"hunter2"}"#,
            r#"{"evidence":"hunter2"}"#,
            r#"{"seen":"hunter2"}"#,
            r#"{"message":{"hunter2":1}}"#,
            r#"{"obstacles":"hunter2"}"#,
            r#"{"streaming":true}"#,
            r#"{"state":"active"} hunter2"#,
        ];
        for text in wrong {
            let why = read(text).unwrap_err();
            assert!(!why.contains("hunter2"), "{why}");
        }
        assert!(read(r#"{"lag":true}"#).unwrap_err().starts_with("lag must be seconds"));
    }

    #[test]
    fn a_position_is_read_as_it_is_shown() {
        let position = Position { timeline: 12, offset: 0x1_0000_00FF };
        assert_eq!(parse(&position.to_string()), Some(position));
        for text in ["", "1", "1:", "x:1", "1:g/0", "1:0/1/2", "1:1_0"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
