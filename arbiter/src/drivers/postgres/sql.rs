//! Short conversations with the server over its Unix socket.
//!
//! Knows connections, limits and quoting. Never knows what is asked or why. Each has a limit, so
//! that a hung server is a server that cannot be seen, and no statement is ever cancelled: a
//! cancelled wait for synchronous replication looks like an acknowledgement to its client.

use super::Postgres;
use super::files;
use futures::StreamExt;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};
use nix::unistd::{Uid, User};
use std::collections::BTreeMap;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;
use thiserror::Error;
use tokio::task::JoinHandle;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Config, NoTls, Row, error::SqlState};

/// Limit of making a connection, login included.
pub const CONNECT_LIMIT: Duration = Duration::from_millis(800);
/// Limit of one ordinary statement.
pub const QUERY_LIMIT: Duration = Duration::from_millis(1_500);

/// Why a conversation did not happen.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Unreachable {
    /// Nobody listens.
    #[error("nobody listens on the Unix socket of port {0}")]
    Down(u16),
    /// It is starting, recovering or stopping.
    #[error("the server does not accept connections yet or any more: {0}")]
    NotAccepting(String),
    /// No answer within the limit.
    #[error("no answer within {0:?}")]
    Hung(Duration),
    /// The server, or the way to it, refused. The state is empty where there is none.
    #[error("{message}")]
    Failed {
        /// SQLSTATE.
        state: String,
        /// In words.
        message: String,
    },
}

impl Unreachable {
    fn failed(message: impl Into<String>) -> Self {
        Self::Failed { state: String::new(), message: message.into() }
    }

    /// Whether the server answered with this SQLSTATE.
    pub fn is(&self, wanted: &SqlState) -> bool {
        matches!(self, Self::Failed { state, .. } if state == wanted.code())
    }
}

impl From<tokio_postgres::Error> for Unreachable {
    fn from(error: tokio_postgres::Error) -> Self {
        match error.as_db_error() {
            Some(db) if *db.code() == SqlState::CANNOT_CONNECT_NOW => {
                Self::NotAccepting(db.message().to_owned())
            }
            Some(db) => Self::Failed {
                state: db.code().code().to_owned(),
                message: db.message().to_owned(),
            },
            None => Self::failed(error.to_string()),
        }
    }
}

/// An open conversation; closed when dropped.
pub struct Session {
    client: Client,
    connection: JoinHandle<()>,
}

impl Drop for Session {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Session {
    /// The one row of `sql`.
    pub async fn row(&self, sql: &str) -> Result<Row, Unreachable> {
        self.row_within(sql, QUERY_LIMIT).await
    }

    /// The same, with another limit.
    pub async fn row_within(&self, sql: &str, limit: Duration) -> Result<Row, Unreachable> {
        within(limit, async { Ok(self.client.query_one(sql, &[]).await?) }).await
    }

    /// Whether no row of `sql` begins with false, or with a truth that is not known. Rows are read
    /// one by one: nobody knows how many there are.
    pub async fn holds(&self, sql: &str, limit: Duration) -> Result<bool, Unreachable> {
        let asked = async {
            let none: [&(dyn ToSql + Sync); 0] = [];
            let mut rows = pin!(self.client.query_raw(sql, none).await?);
            while let Some(row) = rows.next().await {
                let row = row?;
                let truth =
                    row.columns().first().is_some_and(|column| *column.type_() == Type::BOOL);
                if truth && row.try_get::<_, Option<bool>>(0)? != Some(true) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        within(limit, asked).await
    }

    /// The rows of `sql`, each a name and a value.
    pub async fn pairs(&self, sql: &str) -> Result<BTreeMap<String, String>, Unreachable> {
        let rows = within(QUERY_LIMIT, async { Ok(self.client.query(sql, &[]).await?) }).await?;
        let pair = |row: &Row| -> Result<(String, String), Unreachable> {
            Ok((row.try_get(0)?, row.try_get(1)?))
        };
        rows.iter().map(pair).collect()
    }

    /// Run statements that return nothing of interest.
    pub async fn run(&self, sql: &str) -> Result<(), Unreachable> {
        self.run_within(sql, QUERY_LIMIT).await
    }

    /// The same, with another limit.
    pub async fn run_within(&self, sql: &str, limit: Duration) -> Result<(), Unreachable> {
        within(limit, async { Ok(self.client.batch_execute(sql).await?) }).await
    }
}

/// `what`, or `Hung` after `limit`.
pub async fn within<T>(
    limit: Duration,
    what: impl Future<Output = Result<T, Unreachable>>,
) -> Result<T, Unreachable> {
    tokio::time::timeout(limit, what).await.unwrap_or(Err(Unreachable::Hung(limit)))
}

/// `text` as an SQL literal.
pub fn quote(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if doubled.contains('\\') {
        format!("E'{}'", doubled.replace('\\', "\\\\"))
    } else {
        format!("'{doubled}'")
    }
}

impl Postgres {
    /// Talk to the running server as its superuser.
    pub(super) async fn session(&self) -> Result<Session, Unreachable> {
        within(CONNECT_LIMIT, self.connect()).await
    }

    async fn connect(&self) -> Result<Session, Unreachable> {
        let (dir, port) = self.socket_place();
        let path = dir.join(format!(".s.PGSQL.{port}"));
        let stream = dial(path, self.login_uid(), port).await?;
        let stream = tokio::net::UnixStream::from_std(stream)
            .map_err(|error| Unreachable::failed(error.to_string()))?;
        let mut config = Config::new();
        config.user(&self.set.admin_user).dbname(&self.set.dbname).application_name("arbiter");
        // Whatever the role's defaults are, our statements write and wait for nobody.
        config.options("-c default_transaction_read_only=off -c synchronous_commit=local");
        if let Some(file) = &self.set.admin_password_file {
            config.password(secret(file).map_err(Unreachable::failed)?);
        }
        let (client, connection) = config.connect_raw(stream, NoTls).await?;
        let connection = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::trace!(%error, "a conversation with PostgreSQL ended");
            }
        });
        Ok(Session { client, connection })
    }

    /// Directory and port of the socket: as the running server wrote them, else as set.
    pub(super) fn socket_place(&self) -> (PathBuf, u16) {
        let file = files::pid_file(&self.set.data_dir).unwrap_or_default();
        let dir = match &self.set.socket_dir {
            Some(dir) => dir.clone(),
            None if file.socket_dir.as_os_str().is_empty() => PathBuf::from("/tmp"),
            // A relative one is relative to the data directory.
            None => self.set.data_dir.join(file.socket_dir),
        };
        (dir, if file.port == 0 { self.set.port } else { file.port })
    }

    /// The system user as whom peer authentication must see us.
    fn login_uid(&self) -> Option<Uid> {
        let name = self.set.user.as_ref()?;
        User::from_name(name).ok().flatten().map(|user| user.uid).filter(|uid| !uid.is_root())
    }
}

/// The text of a file with a secret, without its last line break.
pub fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file)
        .map_err(|error| format!("cannot read the password file {}: {error}", file.display()))?;
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// Connect to the socket at `path`, as `uid` where that is another user: the server's peer
/// authentication sees who connected. A thread of its own takes that user's identity, and ends.
async fn dial(path: PathBuf, uid: Option<Uid>, port: u16) -> Result<UnixStream, Unreachable> {
    let (send, receive) = tokio::sync::oneshot::channel();
    let uid = uid.filter(|uid| Uid::effective().is_root() && !uid.is_root());
    let thread = std::thread::Builder::new().name("postgres-dial".into());
    let work = move || drop(send.send(dial_here(&path, uid)));
    thread.spawn(work).map_err(|error| Unreachable::failed(error.to_string()))?;
    let answer = receive.await.map_err(|_| Unreachable::failed("the dialling thread died"))?;
    answer.map_err(|error| match error {
        nix::Error::ECONNREFUSED | nix::Error::ENOENT => Unreachable::Down(port),
        // The queue of a server that accepts nobody is full.
        nix::Error::EAGAIN => Unreachable::Hung(CONNECT_LIMIT),
        other => Unreachable::failed(format!("cannot connect to the Unix socket: {other}")),
    })
}

fn dial_here(path: &Path, uid: Option<Uid>) -> nix::Result<UnixStream> {
    if let Some(uid) = uid {
        take_identity(uid)?;
    }
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

/// Change the effective user of this thread alone; the library call would change every thread.
fn take_identity(uid: Uid) -> nix::Result<()> {
    use nix::libc;
    let keep = -1_i64;
    let wanted = i64::from(uid.as_raw());
    // SAFETY: the call takes three numbers and changes only this thread, which ends soon.
    let result = unsafe { libc::syscall(libc::SYS_setresuid, keep, wanted, keep) };
    nix::Error::result(result).map(drop)
}
