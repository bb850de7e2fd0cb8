//! Where a saved dataset (RDB file) stands in its history.
//!
//! Knows the head of the file: `REDIS`, a version, and fields of a name and a value before the
//! first key (<https://rdb.fnordig.de/file_format.html>). Never reads a key.

use super::info::Point;
use nix::libc;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Bytes at the beginning of the file that are read: the fields are a few hundred.
const HEAD_BYTES_MAX: u64 = 16 * 1024;
/// The byte that begins a field.
const FIELD: u8 = 0xFA;
/// Where the fields begin: after `REDIS` and four digits.
const FIELDS_AT: usize = 9;

/// Where the data in `path` stands; none where it does not say, as one saved by a primary that
/// never had a replica.
///
/// # Errors
/// When the file cannot be read.
pub fn point(path: &Path) -> io::Result<Option<Point>> {
    // The server's user owns the directory: a link may lead anywhere, and a pipe never ends.
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let mut head = Vec::new();
    options.open(path)?.take(HEAD_BYTES_MAX).read_to_end(&mut head)?;
    Ok(parse(&head))
}

pub(crate) fn parse(head: &[u8]) -> Option<Point> {
    let mut bytes = head.strip_prefix(b"REDIS").and(head.get(FIELDS_AT..))?;
    let (mut history, mut offset) = (None, None);
    while let Some((&FIELD, rest)) = bytes.split_first() {
        let (name, rest) = string(rest)?;
        let (value, rest) = string(rest)?;
        match name.as_str() {
            "repl-id" => history = Some(value),
            "repl-offset" => offset = value.parse().ok(),
            _ => {}
        }
        bytes = rest;
    }
    Some(Point { history: history?, offset: offset? })
}

/// A string, and what follows it. Numbers are kept short: as an integer of one, two or four bytes.
fn string(bytes: &[u8]) -> Option<(String, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let integer = |count: usize| {
        let (raw, rest) = rest.split_at_checked(count)?;
        let mut wide = if raw.last()? & 0x80 == 0 { [0u8; 8] } else { [0xFF; 8] };
        wide[..count].copy_from_slice(raw);
        Some((i64::from_le_bytes(wide).to_string(), rest))
    };
    let (length, rest) = match (first >> 6, first & 0x3F) {
        (0, low) => (usize::from(low), rest),
        (1, low) => {
            let (&next, rest) = rest.split_first()?;
            (usize::from(low) << 8 | usize::from(next), rest)
        }
        (2, 0) => {
            let (raw, rest) = rest.split_at_checked(4)?;
            (u32::from_be_bytes(raw.try_into().ok()?) as usize, rest)
        }
        (3, kind @ 0..=2) => return integer(1 << kind),
        _ => return None,
    };
    let (text, rest) = rest.split_at_checked(length)?;
    Some((String::from_utf8_lossy(text).into_owned(), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![FIELD, name.len() as u8];
        bytes.extend(name.as_bytes());
        bytes.extend(value);
        bytes
    }

    #[test]
    fn fields_are_read_up_to_the_first_key() {
        let id = [b"\x28".as_slice(), "d7".repeat(20).as_bytes()].concat();
        let head = [
            b"REDIS0010".to_vec(),
            field("redis-ver", b"\x067.0.15"),
            field("repl-id", &id),
            // 156 as a signed integer of two bytes.
            field("repl-offset", b"\xC1\x9C\x00"),
            b"\xFE\x00\xFAgarbage".to_vec(),
        ]
        .concat();
        let point = parse(&head).unwrap();
        assert_eq!((point.history, point.offset), ("d7".repeat(20), 156));
        let long = field("repl-offset", b"\x0A5000000000");
        let head = [b"REDIS0010".to_vec(), field("repl-id", &id), long].concat();
        assert_eq!(parse(&head).unwrap().offset, 5_000_000_000);
    }

    #[test]
    fn a_file_that_does_not_say_stands_nowhere() {
        assert_eq!(parse(b"REDIS0010\xFE\x00"), None);
        assert_eq!(parse(b"REDIS00"), None);
        assert_eq!(parse(b"something else"), None);
        assert_eq!(parse(b"REDIS0010\xFA\x07repl"), None);
    }
}
