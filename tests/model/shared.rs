//! Values that many states of the model have in common, compared by a fingerprint of what
//! `Debug` prints: the machines of the core are not hashable, and a copy each would fill memory.

use std::fmt::{self, Debug, Write};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// A value and its fingerprint. Two with one fingerprint count as one: of a million states, two
/// fall together with a chance of about one in 10⁷.
#[derive(Clone)]
pub struct Shared<T>(Arc<T>, u64);

/// Feeds what is printed to a hasher, without a text in between.
struct Printed(DefaultHasher);

impl Write for Printed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl<T: Debug> Shared<T> {
    /// Share `value`.
    pub fn new(value: T) -> Self {
        let print = fingerprint(&value);
        Self(Arc::new(value), print)
    }

    /// Share `value`, told apart by `print` alone.
    pub fn by(value: T, print: &impl Debug) -> Self {
        let print = fingerprint(print);
        Self(Arc::new(value), print)
    }
}

fn fingerprint(value: &impl Debug) -> u64 {
    let mut printed = Printed(DefaultHasher::new());
    write!(printed, "{value:?}").expect("a hasher takes everything");
    printed.0.finish()
}

impl<T> Deref for Shared<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        self.1 == other.1
    }
}

impl<T> Hash for Shared<T> {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.1.hash(hasher);
    }
}

impl<T: Debug> Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
