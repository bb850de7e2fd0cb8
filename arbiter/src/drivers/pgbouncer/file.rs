//! The text of a file with `[databases]`, as PgBouncer reads it: which names lead where, and the
//! same text leading elsewhere. Knows text; never a pooler.

use super::settings::Place;

/// The section that is read. A file that is included by it has no header of its own.
const SECTION: &str = "databases";
/// The entry for every name that has none.
const ANY: &str = "*";

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The database as clients name it.
    pub name: String,
    /// Host as written; empty: a Unix socket.
    pub host: String,
    /// Port as written; empty: PgBouncer's default.
    pub port: String,
}

/// Every entry, in its order.
///
/// # Errors
/// Why the text cannot be understood, with its line.
pub fn entries(text: &str) -> Result<Vec<Entry>, String> {
    let mut found = Vec::new();
    for (number, line) in numbered(text) {
        let Some((name, start)) = entry(line).map_err(|why| at(number, why))? else { continue };
        let pairs = pairs(line, start).map_err(|why| at(number, why))?;
        let value = |key| {
            // Of two, PgBouncer takes the last.
            let last = pairs.iter().rfind(|pair| pair.key == key);
            last.map(|pair| pair.value.clone()).unwrap_or_default()
        };
        found.push(Entry { name, host: value("host"), port: value("port") });
    }
    if found.iter().any(|entry| entry.name == ANY) {
        return Err(
            "it has an entry *: clients of a database without a name of its own cannot be \
                    held back, so write an entry for each"
                .to_owned(),
        );
    }
    Ok(found)
}

/// The text with the entries for which `led` holds leading to `place`. Everything else stays.
///
/// # Errors
/// As [`entries`].
pub fn leading(text: &str, place: &Place, led: impl Fn(&str) -> bool) -> Result<String, String> {
    let mut lines: Vec<String> = text.split('\n').map(str::to_owned).collect();
    for (number, line) in numbered(text) {
        let Some((name, start)) = entry(line).map_err(|why| at(number, why))? else { continue };
        if led(&name) {
            lines[number - 1] = led_to(line, start, place).map_err(|why| at(number, why))?;
        }
    }
    Ok(lines.join("\n"))
}

fn at(number: usize, why: &str) -> String {
    format!("line {number}: {why}")
}

/// The lines of the section, with their numbers from 1.
fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut ours = true;
    text.split('\n').enumerate().filter_map(move |(index, line)| {
        let bare = line.trim();
        if let Some(header) = bare.strip_prefix('[') {
            let name = header.split(']').next().unwrap_or_default();
            ours = name.trim().eq_ignore_ascii_case(SECTION);
            return None;
        }
        let comment = bare.is_empty() || bare.starts_with([';', '#']);
        (ours && !comment).then_some((index + 1, line))
    })
}

/// The name of an entry, and where its connection string starts; none for an `%include`, whose
/// entries are another file's.
fn entry(line: &str) -> Result<Option<(String, usize)>, &'static str> {
    let bare = line.trim_start();
    let from = line.len() - bare.len();
    if bare.starts_with('%') {
        return Ok(None);
    }
    let (name, used) = match bare.strip_prefix('"') {
        Some(quoted) => {
            let end = closing(quoted, '"').ok_or("a quoted name does not end")?;
            (quoted[..end].replace("\"\"", "\""), end + 2)
        }
        None => {
            let end = bare.find(|c: char| c == '=' || c.is_whitespace()).ok_or("it has no =")?;
            (bare[..end].to_owned(), end)
        }
    };
    let rest = &bare[used..];
    let value = rest.trim_start().strip_prefix('=').ok_or("it has no =")?;
    Ok(Some((name, from + bare.len() - value.len())))
}

/// Where the quoted text ends: its quote, not doubled.
fn closing(text: &str, quote: char) -> Option<usize> {
    let mut chars = text.char_indices().peekable();
    while let Some((index, c)) = chars.next() {
        if c == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return Some(index);
        }
    }
    None
}

/// A part of a connection string.
struct Pair<'a> {
    key: &'a str,
    value: String,
    /// Where the value stands in the line, quotes included.
    span: std::ops::Range<usize>,
}

fn pairs(line: &str, start: usize) -> Result<Vec<Pair<'_>>, &'static str> {
    let mut found = Vec::new();
    let mut at = start;
    loop {
        at += blanks(&line[at..]);
        if at == line.len() {
            return Ok(found);
        }
        let rest = &line[at..];
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).ok_or("a part has no =")?;
        let key = &rest[..end];
        let after = rest[end..].trim_start();
        let after = after.strip_prefix('=').ok_or("a part has no =")?.trim_start();
        let from = line.len() - after.len();
        let (value, length) = match after.strip_prefix('\'') {
            Some(quoted) => {
                let end = closing(quoted, '\'').ok_or("a quoted value does not end")?;
                (quoted[..end].replace("''", "'"), end + 2)
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), end)
            }
        };
        at = from + length;
        if at < line.len() && blanks(&line[at..]) == 0 {
            return Err("no blank stands behind a quoted value");
        }
        found.push(Pair { key, value, span: from..at });
    }
}

fn blanks(text: &str) -> usize {
    text.len() - text.trim_start().len()
}

fn led_to(line: &str, start: usize, place: &Place) -> Result<String, &'static str> {
    let (host, port) = (place.host.clone(), place.port.to_string());
    let pairs = pairs(line, start)?;
    let mut out = line.to_owned();
    // From the back, so that what was found further in front stays where it was.
    for pair in pairs.iter().rev() {
        match pair.key {
            "host" => out.replace_range(pair.span.clone(), &host),
            "port" => out.replace_range(pair.span.clone(), &port),
            _ => {}
        }
    }
    let has = |key: &str| pairs.iter().any(|pair| pair.key == key);
    let missing = [("host", &host), ("port", &port)].into_iter().filter(|(key, _)| !has(key));
    let mut missing: String = missing.map(|(key, value)| format!(" {key}={value}")).collect();
    if !missing.is_empty() && !out[start..].is_empty() && blanks(&out[start..]) == 0 {
        missing.push(' ');
    }
    out.insert_str(start, &missing);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Place {
        Place { host: "10.0.2.2".into(), port: 5433 }
    }

    const FILE: &str = "\
; ours
[databases]
app = host=10.0.1.2 port=5432 dbname=shop
  \"app-2\"=dbname='it''s host=x' host = '10.0.1.2' pool_mode=transaction\r
local =
%include /etc/pgbouncer/more.ini
# other = host=nowhere
list = port=1 host=a,b port=2

[pgbouncer]
listen_addr = *
admin_users = app";

    #[test]
    fn entries_are_what_pgbouncer_would_read() {
        let found = entries(FILE).unwrap();
        let found: Vec<(&str, &str, &str)> =
            found.iter().map(|e| (&*e.name, &*e.host, &*e.port)).collect();
        assert_eq!(
            found,
            [
                ("app", "10.0.1.2", "5432"),
                ("app-2", "10.0.1.2", ""),
                ("local", "", ""),
                ("list", "a,b", "2")
            ]
        );
        assert_eq!(entries("app = host=x").unwrap().len(), 1, "an included file has no header");
    }

    #[test]
    fn only_host_and_port_of_what_is_led_are_rewritten() {
        let found = leading(FILE, &new(), |name| name != "list").unwrap();
        let wanted = FILE
            .replace("app = host=10.0.1.2 port=5432", "app = host=10.0.2.2 port=5433")
            .replace("=dbname='it''s", "= port=5433 dbname='it''s")
            .replace("host = '10.0.1.2'", "host = 10.0.2.2")
            .replace("local =", "local = host=10.0.2.2 port=5433");
        assert_eq!(found, wanted);
        assert_eq!(leading(&found, &new(), |name| name != "list").unwrap(), found, "twice is once");
        let list = leading(FILE, &new(), |name| name == "list").unwrap();
        assert!(list.contains("list = port=5433 host=10.0.2.2 port=5433\n"), "{list}");
        let read = entries(&found).unwrap();
        let led = read.iter().filter(|e| e.host == "10.0.2.2" && e.port == "5433");
        assert_eq!(led.count(), 3);
    }

    #[test]
    fn what_cannot_be_understood_is_named_by_its_line() {
        for (text, said) in [
            ("[databases]\napp", "line 2: it has no ="),
            ("\"app = host=x", "line 1: a quoted name does not end"),
            ("app = host='x", "line 1: a quoted value does not end"),
            ("app = host", "line 1: a part has no ="),
            ("app = host=x\n* = host=x", "it has an entry *"),
        ] {
            let why = entries(text).unwrap_err();
            assert!(why.starts_with(said), "{text:?}: {why}");
        }
    }
}
