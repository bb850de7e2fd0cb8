//! From messages to text: pure functions, golden-tested. Knows layout and words; asks nobody.

pub(super) mod check;
pub(super) mod cost;
pub(super) mod drill;
pub(super) mod explain;
pub(super) mod guards;
pub(super) mod history;
mod instance;
mod loss;
pub(super) mod members;
pub(super) mod notify;
pub(super) mod page;
pub(super) mod plan;
mod recovered;
pub(super) mod status;
#[cfg(test)]
mod tests;

use crate::calendar;

/// How text may look.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli) struct Look {
    /// Colour for state words; only on a terminal.
    pub(in crate::cli) colour: bool,
}

/// Red, yellow or green, for the words that need an eye.
fn ansi(word: &str) -> Option<&'static str> {
    match word {
        "healthy" | "done" | "completed" | "leader" | "ok" | "delivered" => Some("32"),
        "suspect" | "running" | "degraded" | "unanswered" | "open" | "interrupted" => Some("33"),
        "unreachable" | "failed" | "halted" | "aborted" | "closed" | "fault" | "STALE"
        | "INSECURE" => Some("31"),
        _ => None,
    }
}

impl Look {
    fn paint(self, word: &str) -> String {
        match ansi(word).filter(|_| self.colour) {
            Some(code) => format!("\x1b[{code}m{word}\x1b[0m"),
            None => word.to_owned(),
        }
    }

    /// Rows in columns, two spaces apart, none trailing. The first row is the head.
    fn columns(self, rows: &[Vec<String>]) -> String {
        let count = rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        let mut out = String::new();
        for row in rows {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(&widths) {
                let gap = width - cell.chars().count() + 2;
                line.push_str(&self.paint(cell));
                line.push_str(&" ".repeat(gap));
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

/// A row of cells.
fn row(cells: &[&str]) -> Vec<String> {
    cells.iter().map(|cell| (*cell).to_owned()).collect()
}

/// `text`, or a dash where there is none.
fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}

/// The last line of what people read.
fn next_line(next: &str) -> String {
    format!("NEXT: {}\n", if next.is_empty() { "arbiter status --watch" } else { next })
}

/// A time span that reads well: `0.4 s`, `3 min 20 s`, `2 h 5 min`.
fn span(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
        _ => format!("{} h {} min", ms / 3_600_000, ms / 60_000 % 60),
    }
}

/// Bytes in the unit that reads best.
fn bytes(count: u64) -> String {
    match count {
        0..10_240 => format!("{count} B"),
        10_240..10_485_760 => format!("{} KiB", count / 1024),
        _ => format!("{} MiB", count / 1_048_576),
    }
}

/// Wall-clock milliseconds as a date and time of day, UTC.
fn wall(ms: u64) -> String {
    calendar::utc(ms)
}
