//! How a table of keys is declared once and serves three: the struct, the reader, the reference.
//! Knows tables and keys; never a key in particular.

use crate::fault::{Book, suggest};
use crate::scalar::Scalar;
use toml::de::{DeTable, DeValue};

/// What stands for a key that the file leaves out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// It must be there; the text is an example.
    Required(&'static str),
    /// This value, as TOML.
    Default(String),
    /// Nothing; the text says what that means.
    Unset(&'static str, &'static str),
}

/// One key as `reference.toml` shows it.
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) notation: String,
    pub(crate) absent: Absent,
}

/// A table of the file while it is read.
pub(crate) struct Table<'a, 'i> {
    pub(crate) path: String,
    pub(crate) table: &'a DeTable<'i>,
}

/// `path.key`, or `key` at the root.
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl<'a, 'i> Table<'a, 'i> {
    /// The value of `key`, if the file has it.
    pub(crate) fn raw(&self, key: &str) -> Option<&'a DeValue<'i>> {
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value.get_ref())
    }

    /// Read a scalar; a fault and none when it is wrong, none when it is absent.
    pub(crate) fn scalar<T: Scalar>(&self, key: &str, book: &mut Book<'_>) -> Option<T> {
        let path = join(&self.path, key);
        match T::read(self.raw(key)?) {
            Ok(value) => Some(value),
            Err((what, remedy)) => {
                book.fault(&path, what, remedy);
                None
            }
        }
    }

    /// Read a key that must be there.
    pub(crate) fn required<T: Scalar>(&self, key: &str, like: &str, book: &mut Book<'_>) -> T {
        if self.raw(key).is_none() && !book.broken {
            book.fault(&join(&self.path, key), "is missing", format!("add {key} = {like}"));
        }
        self.scalar(key, book).unwrap_or_else(T::placeholder)
    }

    /// The sub-table `key`; a fault when it is no table.
    pub(crate) fn sub(&self, key: &str, book: &mut Book<'_>) -> Option<Table<'a, 'i>> {
        let path = join(&self.path, key);
        match self.raw(key)? {
            DeValue::Table(table) => Some(Table { path, table }),
            other => {
                let what = format!("is a {}", other.type_str());
                book.fault(&path, what, format!("write a table: [{path}]"));
                None
            }
        }
    }

    /// Each named sub-table of the sub-table `key`.
    pub(crate) fn named(&self, key: &str, book: &mut Book<'_>) -> Vec<(String, Table<'a, 'i>)> {
        let Some(outer) = self.sub(key, book) else { return Vec::new() };
        let names = outer.table.keys().map(|name| name.get_ref().to_string());
        names
            .collect::<Vec<_>>()
            .into_iter()
            .filter_map(|name| {
                let inner = outer.sub(&name, book)?;
                check_name(&inner.path, &name, book);
                Some((name, inner))
            })
            .collect()
    }

    /// A fault for each key that is neither in `known` nor in `tables`.
    pub(crate) fn refuse_unknown(&self, known: &[&'static str], book: &mut Book<'_>) {
        for name in self.table.keys() {
            let name = name.get_ref().as_ref();
            if !known.contains(&name) {
                book.fault(&join(&self.path, name), "unknown key", suggest(name, known));
            }
        }
    }
}

/// Longest name: it becomes part of host names, cgroup names and TXT records.
const NAME_CHARS_MAX: usize = 63;

fn check_name(path: &str, name: &str, book: &mut Book<'_>) {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let edges = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= NAME_CHARS_MAX
        && name.chars().all(letters)
        && name.starts_with(edges)
        && name.ends_with(edges);
    if !good {
        let what = format!("the name {name:?} cannot be used");
        let remedy = "use a-z, 0-9, - and _, a letter or digit first and last, at most 63";
        book.fault(path, what, remedy);
    }
}

/// Declares a table: documentation, type and default of each key in one place.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        $name:ident {
            $($(#[doc = $d:literal])* $key:ident : $type:ty [$absent:ident $value:expr],)*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $name { $($(#[doc = $d])* pub $key: $type,)* }

        impl $name {
            pub(crate) const NAMES: &[&'static str] = &[$(stringify!($key)),*];

            pub(crate) fn about() -> &'static str {
                concat!($($doc, "\n"),*)
            }

            pub(crate) fn keys() -> Vec<$crate::section::Key> {
                vec![$($crate::section::Key {
                    name: stringify!($key),
                    doc: concat!($($d, "\n"),*),
                    notation: <$type as $crate::scalar::Scalar>::notation(),
                    absent: $crate::section::absent!($absent, $type, $value),
                }),*]
            }

            pub(crate) fn read(
                table: &$crate::section::Table<'_, '_>,
                book: &mut $crate::fault::Book<'_>,
            ) -> Self {
                Self { $($key: $crate::section::value!(
                    $absent, $type, $value, table, stringify!($key), book
                )),* }
            }
        }
    };
}

macro_rules! absent {
    (required, $type:ty, $value:expr) => {
        $crate::section::Absent::Required($value)
    };
    (default, $type:ty, $value:expr) => {
        $crate::section::Absent::Default($crate::scalar::Scalar::show(&<$type>::from($value)))
    };
    (unset, $type:ty, $value:expr) => {
        $crate::section::Absent::Unset($value.0, $value.1)
    };
}

macro_rules! value {
    (required, $type:ty, $value:expr, $table:ident, $key:expr, $book:ident) => {
        $table.required::<$type>($key, $value, $book)
    };
    (default, $type:ty, $value:expr, $table:ident, $key:expr, $book:ident) => {
        $table.scalar::<$type>($key, $book).unwrap_or_else(|| <$type>::from($value))
    };
    (unset, $type:ty, $value:expr, $table:ident, $key:expr, $book:ident) => {
        $table.scalar::<$type>($key, $book).flatten()
    };
}
pub(crate) use {absent, section, value};
