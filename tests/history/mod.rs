//! Histories of what clients asked and were told, and whether one register explains them.
//!
//! Knows when each call began and ended; never how it was carried. A call without an outcome may
//! have been done at any time after it began, or never.

pub mod group;
pub mod linear;
pub mod register;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, PoisonError};

/// One call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A> {
    /// Who called, for people.
    pub by: String,
    /// When it began, in the order of all beginnings and ends.
    pub invoked: u64,
    /// When its outcome was known; none: never, and it may still be done.
    pub returned: Option<u64>,
    /// What it did, with what was answered.
    pub action: A,
}

/// A history that many clients write.
#[derive(Clone, Debug)]
pub struct History<A> {
    inner: Arc<Mutex<(u64, Vec<Operation<A>>)>>,
}

impl<A> Default for History<A> {
    fn default() -> Self {
        Self { inner: Arc::default() }
    }
}

impl<A: Clone> History<A> {
    /// A call begins now; its number in the order.
    pub fn begins(&self) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += 1;
        inner.0
    }

    /// A call that began at `invoked` has this outcome now.
    pub fn ends(&self, by: &str, invoked: u64, action: A) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.0 += 1;
        let returned = Some(inner.0);
        inner.1.push(Operation { by: by.to_owned(), invoked, returned, action });
    }

    /// What began at `invoked` may be done at any time after.
    pub fn may_happen(&self, by: &str, invoked: u64, action: A) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.1.push(Operation { by: by.to_owned(), invoked, returned: None, action });
    }

    /// Every call so far, by its beginning.
    pub fn operations(&self) -> Vec<Operation<A>> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = inner.1.clone();
        all.sort_by_key(|operation| operation.invoked);
        all
    }
}
