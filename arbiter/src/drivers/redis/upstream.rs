//! Whom a replica follows: its address, how it logs in there, and what it says of its history.
//!
//! Knows one upstream. Never changes anything there.

use super::Redis;
use super::info::{Info, Line};
use super::lineage::{self, Lineage};
use super::talk::{Session, Unreachable, secret, text};
use crate::drivers::DriverError;
use redis::ConnectionAddr;

/// Where nobody ever listens: a replica of this address keeps its data, takes no write, and
/// receives nothing. Port 0 of TCP cannot be bound.
pub(super) const NOBODY: (&str, u16) = ("127.0.0.1", 0);

/// What is known of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its line of history.
    Line(Line),
    /// It answers, and tells nothing: why.
    Untold(String),
}

impl Redis {
    /// Ask `upstream`, which must be a primary, for its line of history.
    pub(super) async fn identify(&self, upstream: &str) -> Result<Asked, DriverError> {
        let (host, port) = self.address_of(upstream)?;
        let asked = async {
            let addr = ConnectionAddr::Tcp(host.to_owned(), port);
            let session = Session::open(addr, &self.set.login).await?;
            let info = session.info().await?;
            // A login that may not read it knows what Redis itself tells.
            let told = session.ask(&["GET", lineage::KEY]).await;
            Ok((info, told.map(|told| Lineage::parse(&text(&told))).unwrap_or_default()))
        };
        let (info, told): (Info, Lineage) = match asked.await {
            Ok(answers) => answers,
            Err(Unreachable::Denied(why)) => return Ok(Asked::Untold(why)),
            Err(error) => return Err(self.retry(format!("cannot ask {upstream}: {error}"))),
        };
        if !info.is_primary() {
            return Err(self.retry(format!("{upstream} is not a primary yet")));
        }
        match info.line() {
            Some(mut line) => {
                line.former
                    .extend(told.former.into_iter().filter(|_| told.history == info.history()));
                Ok(Asked::Line(line))
            }
            None => Err(self.retry(format!("{upstream} does not say where it stands"))),
        }
    }

    pub(super) fn address_of<'a>(&self, upstream: &'a str) -> Result<(&'a str, u16), DriverError> {
        split(upstream)
            .ok_or_else(|| self.refuse(format!("upstream {upstream:?} is not host:port")))
    }

    /// Make the running replica follow `to`. It goes on where it was, if it can.
    pub(super) async fn follow_at(
        &self,
        session: &Session,
        (host, port): (&str, u16),
    ) -> Result<(), DriverError> {
        if (host, port) != NOBODY {
            // From now on a copy of its upstream's data may be begun over its own.
            self.memory().from_disk = None;
            self.lend_login(session).await?;
        }
        let told = session.ask(&["REPLICAOF", host, &port.to_string()]).await;
        told.map(drop).map_err(|error| self.retry(error))
    }

    /// Tell the running server how to log in at its upstream, while it runs: no command line and no
    /// file shows it.
    pub(super) async fn lend_login(&self, session: &Session) -> Result<(), DriverError> {
        let login = &self.set.replication;
        let Some(file) = &login.password_file else { return Ok(()) };
        let password = secret(file).map_err(|why| self.refuse(why))?;
        let set = async {
            session.set("masteruser", login.user.as_deref().unwrap_or("")).await?;
            session.set_secret("masterauth", &password).await
        };
        set.await.map_err(|error| self.retry(error))
    }
}

/// Host and port of `host:port`, an IPv6 address in brackets.
pub(super) fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?)).filter(|_| !host.is_empty())
}

/// The other way.
pub(super) fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
