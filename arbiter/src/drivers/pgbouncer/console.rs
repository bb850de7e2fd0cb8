//! Short conversations with PgBouncer's admin console.
//!
//! Knows connections, limits, commands and their answers. Never knows why it is asked. The console
//! speaks the simple protocol only. Each command has a limit, so that a hung pooler is one that
//! cannot be seen.

use super::PgBouncer;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow};

/// Limit of making a connection, login included.
const CONNECT_LIMIT: Duration = Duration::from_millis(800);
/// Limit of one command.
const COMMAND_LIMIT: Duration = Duration::from_millis(1_500);
/// Limit of taking leave.
const LEAVE_LIMIT: Duration = Duration::from_secs(60);
/// Name of the console among the databases.
pub const CONSOLE: &str = "pgbouncer";
/// Characters of an answer that are shown.
const ANSWER_SHOWN_MAX: usize = 240;

/// Why a conversation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreachable {
    /// Nobody listens.
    #[error("nobody listens on {0}")]
    Down(String),
    /// No answer within the limit.
    #[error("the admin console does not answer within {0:?}")]
    Hung(Duration),
    /// It answered with an error.
    #[error("the admin console says: {0}")]
    Answered(String),
    /// Anything else.
    #[error("no conversation with the admin console: {0}")]
    Failed(String),
}

impl From<tokio_postgres::Error> for Unreachable {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) => Self::Answered(db.message().chars().take(ANSWER_SHOWN_MAX).collect()),
            None => {
                let source = std::error::Error::source(&error);
                let why = source.map_or_else(|| error.to_string(), ToString::to_string);
                Self::Failed(why)
            }
        }
    }
}

/// A database as PgBouncer has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Host; empty: a Unix socket.
    pub host: String,
    /// Port.
    pub port: String,
    /// Its pool mode; empty: the default.
    pub pool_mode: String,
    /// Connections to servers.
    pub connections: u64,
    /// Nobody is let through.
    pub paused: bool,
}

/// Databases by name.
pub type Rows = BTreeMap<String, Row>;

/// An open conversation; closed when dropped.
pub struct Session {
    client: Client,
    connection: Option<JoinHandle<()>>,
    /// A command had no answer: what comes next may be the answer to it.
    failed: AtomicBool,
}

impl Drop for Session {
    /// It takes its leave, unless that takes too long: what ends without is noted in the log of the
    /// pooler, each time.
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else { return };
        let Ok(runtime) = Handle::try_current() else { return connection.abort() };
        runtime.spawn(async move {
            if tokio::time::timeout(LEAVE_LIMIT, &mut connection).await.is_err() {
                connection.abort();
            }
        });
    }
}

impl Session {
    fn is_usable(&self) -> bool {
        !self.client.is_closed() && !self.failed.load(Ordering::Relaxed)
    }

    async fn ask(&self, command: &str) -> Result<Vec<SimpleQueryRow>, Unreachable> {
        let asked = async { Ok(self.client.simple_query(command).await?) };
        let answer = within(COMMAND_LIMIT, asked).await;
        if !matches!(answer, Ok(_) | Err(Unreachable::Answered(_))) {
            self.failed.store(true, Ordering::Relaxed);
        }
        Ok(answer?
            .into_iter()
            .filter_map(|message| match message {
                SimpleQueryMessage::Row(row) => Some(row),
                _ => None,
            })
            .collect())
    }

    /// Every database but the console.
    pub async fn databases(&self) -> Result<Rows, Unreachable> {
        let rows = self.ask("SHOW DATABASES").await?;
        let text = |row: &SimpleQueryRow, column| {
            row.try_get(column).ok().flatten().unwrap_or_default().to_owned()
        };
        let row = |row: &SimpleQueryRow| {
            let found = Row {
                host: text(row, "host"),
                port: text(row, "port"),
                pool_mode: text(row, "pool_mode"),
                connections: text(row, "current_connections").parse().unwrap_or(u64::MAX),
                paused: text(row, "paused") != "0",
            };
            (text(row, "name"), found)
        };
        Ok(rows.iter().map(row).filter(|(name, _)| name != CONSOLE).collect())
    }

    /// Its configuration.
    pub async fn config(&self) -> Result<BTreeMap<String, String>, Unreachable> {
        let rows = self.ask("SHOW CONFIG").await?;
        let pair = |row: &SimpleQueryRow| Some((row.get("key")?.into(), row.get("value")?.into()));
        Ok(rows.iter().filter_map(pair).collect())
    }

    /// Let nobody through to `database`. It is asked for when this returns, and answered once every
    /// transaction has ended: who waits for that looks at the database.
    pub async fn pause(&self, database: &str) -> Result<(), Unreachable> {
        match self.ask(&format!("PAUSE {}", quoted(database))).await {
            Ok(_) | Err(Unreachable::Hung(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Let clients through to `database` again. It must be paused.
    pub async fn resume(&self, database: &str) -> Result<(), Unreachable> {
        self.ask(&format!("RESUME {}", quoted(database))).await.map(drop)
    }

    /// Close the connections to the servers of `database`, each when nobody uses it.
    pub async fn reconnect(&self, database: &str) -> Result<(), Unreachable> {
        self.ask(&format!("RECONNECT {}", quoted(database))).await.map(drop)
    }

    /// Read the files anew.
    pub async fn reload(&self) -> Result<(), Unreachable> {
        self.ask("RELOAD").await.map(drop)
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, Unreachable>>,
) -> Result<T, Unreachable> {
    tokio::time::timeout(limit, what).await.unwrap_or(Err(Unreachable::Hung(limit)))
}

impl PgBouncer {
    /// The one conversation that stands while it works: the pooler notes each in its log, and is
    /// looked at a few times a second.
    pub(super) async fn session(&self) -> Result<Arc<Session>, Unreachable> {
        let mut kept = self.session.lock().await;
        if let Some(session) = kept.as_ref().filter(|session| session.is_usable()) {
            return Ok(Arc::clone(session));
        }
        *kept = None;
        let session = Arc::new(self.own_session().await?);
        *kept = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Another one, for what is answered late.
    pub(super) async fn own_session(&self) -> Result<Session, Unreachable> {
        within(CONNECT_LIMIT, self.connect()).await
    }

    async fn connect(&self) -> Result<Session, Unreachable> {
        let mut config = Config::new();
        config.user(&self.set.admin_user).dbname(CONSOLE).application_name("arbiter");
        config.port(self.set.address.port);
        match &self.set.socket_dir {
            Some(dir) => config.host_path(dir),
            None => config.host(&self.set.address.host),
        };
        if let Some(file) = &self.set.admin_password_file {
            let text = std::fs::read_to_string(file).map_err(|error| {
                Unreachable::Failed(format!("admin_password_file {file} cannot be read: {error}"))
            })?;
            config.password(text.trim_end_matches(['\n', '\r']));
        }
        let (client, connection) = match config.connect(NoTls).await {
            Ok(connected) => connected,
            Err(error) if is_down(&error) => return Err(Unreachable::Down(self.place())),
            Err(error) => return Err(error.into()),
        };
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a conversation with PgBouncer ended");
            }
        });
        Ok(Session { client, connection: Some(connection), failed: AtomicBool::new(false) })
    }

    /// Where the console is.
    pub(super) fn place(&self) -> String {
        let address = &self.set.address;
        match &self.set.socket_dir {
            Some(dir) => format!("{}/.s.PGSQL.{}", dir.display(), address.port),
            None => address.to_string(),
        }
    }
}

/// Nobody is there: no such socket, or nobody listens.
fn is_down(error: &tokio_postgres::Error) -> bool {
    let source = std::error::Error::source(error);
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    io.is_some_and(|io| {
        matches!(io.kind(), std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound)
    })
}
