//! Short conversations with a server.
//!
//! Knows connections, logins, limits, and which answers mean what. Never knows why it is asked.
//! Each has a limit, so that a hung server, or an address that never answers, is one that cannot
//! be seen. What the server answers to a command with a password in it is never shown.

use super::Redis;
use super::info::Info;
use super::settings::Login;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo};
use redis::{RedisConnectionInfo, RedisError, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;

/// Limit of making a connection, login included.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(800);
/// Limit of one command.
pub const COMMAND_LIMIT: Duration = Duration::from_millis(1_500);
/// Characters of a server's error that are shown.
const ERROR_SHOWN_MAX: usize = 240;
/// What an answer begins with that only somebody's doing changes: no login, or no right.
const DENIALS: [&str; 4] = ["NOAUTH", "WRONGPASS", "NOPERM", "DENIED"];

/// Why a conversation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreachable {
    /// Nobody listens.
    #[error("nobody listens on {0}")]
    Down(String),
    /// No answer within the limit.
    #[error("no answer within {0:?}")]
    Hung(Duration),
    /// The server does not let us.
    #[error("{0}; check the ACL user and its password file")]
    Denied(String),
    /// The server answered with an error.
    #[error("{0}")]
    Answered(String),
    /// Anything else, such as a connection that was closed.
    #[error("{0}")]
    Failed(String),
}

/// An open conversation; closed when dropped.
pub struct Session {
    connection: MultiplexedConnection,
    at: String,
    secrets: Vec<String>,
}

impl Session {
    /// Talk to the server at `addr` as `login`.
    pub async fn open(addr: ConnectionAddr, login: &Login) -> Result<Self, Unreachable> {
        let at = addr.to_string();
        let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
        let mut secrets = Vec::new();
        if let Some(file) = &login.password_file {
            let password = secret(file).map_err(Unreachable::Failed)?;
            settings = settings.set_password(&password);
            secrets.push(password);
        }
        if let Some(user) = &login.user {
            settings = settings.set_username(user);
        }
        let opened = async {
            let info = addr.into_connection_info()?.set_redis_settings(settings);
            // Limits are ours: theirs would show as errors of another kind.
            let config = AsyncConnectionConfig::new();
            let config = config.set_connection_timeout(None).set_response_timeout(None);
            Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
        };
        let opened = within(CONNECT_LIMIT, opened).await?;
        let connection = opened.map_err(|error| unreachable(&error, &at, &secrets))?;
        Ok(Self { connection, at, secrets })
    }

    /// The answer to a command.
    pub async fn ask(&self, words: &[&str]) -> Result<Value, Unreachable> {
        self.ask_within(words, COMMAND_LIMIT).await
    }

    /// The same, with another limit.
    pub async fn ask_within(&self, words: &[&str], limit: Duration) -> Result<Value, Unreachable> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.ask_bytes(&words, limit).await
    }

    /// The same of words that need not be text.
    pub async fn ask_bytes(&self, words: &[&[u8]], limit: Duration) -> Result<Value, Unreachable> {
        let mut command = redis::Cmd::new();
        for word in words {
            command.arg(*word);
        }
        let mut connection = self.connection.clone();
        let answer = within(limit, command.query_async::<Value>(&mut connection)).await?;
        answer.map_err(|error| unreachable(&error, &self.at, &self.secrets))
    }

    /// What it says of itself.
    pub async fn info(&self) -> Result<Info, Unreachable> {
        // One section by name: older servers take no list, and all of it is not long.
        Ok(Info::parse(&text(&self.ask(&["INFO"]).await?)))
    }

    /// Its settings of these names.
    pub async fn config(&self, names: &[&str]) -> Result<BTreeMap<String, String>, Unreachable> {
        let words = [&["CONFIG", "GET"], names].concat();
        let answer = self.ask(&words).await?;
        let pairs: Vec<(String, String)> = match answer {
            Value::Map(pairs) => {
                pairs.iter().map(|(name, value)| (text(name), text(value))).collect()
            }
            Value::Array(items) => {
                items.chunks_exact(2).map(|pair| (text(&pair[0]), text(&pair[1]))).collect()
            }
            _ => Vec::new(),
        };
        Ok(pairs.into_iter().collect())
    }

    /// Change a setting while it runs.
    pub async fn set(&self, name: &str, value: &str) -> Result<(), Unreachable> {
        self.ask(&["CONFIG", "SET", name, value]).await.map(drop)
    }

    /// The same where the value is a secret: a server that does not know the command repeats it.
    pub async fn set_secret(&self, name: &str, value: &str) -> Result<(), Unreachable> {
        self.set(name, value).await.map_err(|error| match error {
            Unreachable::Answered(_) => Unreachable::Answered(format!(
                "the server does not take CONFIG SET {name}: give the ACL user the right to it"
            )),
            other => other,
        })
    }

    /// How many listen to a channel.
    pub async fn listeners(&self, channel: &str) -> Result<u64, Unreachable> {
        let answer = self.ask(&["PUBSUB", "NUMSUB", channel]).await?;
        let Value::Array(items) = answer else { return Ok(0) };
        Ok(items.get(1).and_then(|count| text(count).parse().ok()).unwrap_or(0))
    }
}

/// An answer as text: of a nested one nothing.
pub fn text(value: &Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::SimpleString(text) => text.clone(),
        Value::VerbatimString { text, .. } => text.clone(),
        Value::Int(number) => number.to_string(),
        Value::Okay => "OK".to_owned(),
        _ => String::new(),
    }
}

/// The text of a file with a secret, without its last line break.
pub fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Result<T, Unreachable> {
    tokio::time::timeout(limit, work).await.map_err(|_| Unreachable::Hung(limit))
}

fn unreachable(error: &RedisError, at: &str, secrets: &[String]) -> Unreachable {
    if error.is_connection_refusal() {
        return Unreachable::Down(at.to_owned());
    }
    let answered = error.code();
    let mut said = match answered {
        Some(code) => format!("{code} {}", error.detail().unwrap_or_default()),
        None => error.to_string(),
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        said = said.replace(secret.as_str(), "…");
    }
    let said: String = said.chars().take(ERROR_SHOWN_MAX).collect();
    if error.kind() == redis::ErrorKind::AuthenticationFailed {
        return Unreachable::Denied(format!("{at} refuses the login"));
    }
    match answered {
        Some(code) if DENIALS.contains(&code) => Unreachable::Denied(said),
        Some(_) => Unreachable::Answered(said),
        None => Unreachable::Failed(said),
    }
}

impl Redis {
    /// Talk to this server.
    pub(super) async fn session(&self) -> Result<Session, Unreachable> {
        Session::open(self.address(), &self.set.login).await
    }

    /// Where it is asked.
    pub(super) fn address(&self) -> ConnectionAddr {
        match &self.set.unix_socket {
            Some(path) => ConnectionAddr::Unix(path.clone()),
            None => ConnectionAddr::Tcp(self.set.host.clone(), self.set.port),
        }
    }
}
