//! Who asks: the caller of the call that a task answers. Knows how it was told; never what it may
//! ask.

use super::identity::{Identity, Role};
use arbiter_core::WallMillis;
use std::fmt;
use std::future::Future;

/// How it is known who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Via {
    /// By a certificate.
    Certificate,
    /// By the word of this arbiter, to which it showed one.
    Arbiter(String),
    /// By the kernel, over the socket on this arbiter's host.
    Socket,
    /// Not at all: this is plaintext.
    Plaintext,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Its name; empty in plaintext.
    pub name: String,
    /// What it is; none in plaintext.
    pub role: Option<Role>,
    /// How that is known.
    pub via: Via,
    /// When its certificate expires, where it has one.
    pub expires: Option<WallMillis>,
}

impl Caller {
    /// Nobody knows, and everything is allowed.
    pub fn plaintext() -> Self {
        Self { name: String::new(), role: None, via: Via::Plaintext, expires: None }
    }

    /// As its own certificate says.
    pub fn certified(identity: Identity, expires: WallMillis) -> Self {
        let Identity { role, name, .. } = identity;
        Self { name, role: Some(role), via: Via::Certificate, expires: Some(expires) }
    }

    /// Whether its name counts: it is in no message, but told by a certificate or the kernel.
    pub fn is_verified(&self) -> bool {
        self.role.is_some()
    }

    /// Its name, where it is known to be `role`.
    pub fn named(&self, role: Role) -> Option<&str> {
        (self.role == Some(role)).then_some(&self.name)
    }
}

/// For logs and refusals: the role and the name.
impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.role {
            None => write!(f, "somebody over plaintext"),
            Some(role) => write!(f, "the {role} {}", self.name),
        }
    }
}

tokio::task_local! {
    static CALLER: Caller;
}

/// Answer a call of `caller`.
pub async fn with_caller<T>(caller: Caller, answer: impl Future<Output = T>) -> T {
    CALLER.scope(caller, answer).await
}

/// The caller of the call that this task answers; none where it does something by itself.
pub fn caller() -> Option<Caller> {
    CALLER.try_with(Clone::clone).ok()
}
