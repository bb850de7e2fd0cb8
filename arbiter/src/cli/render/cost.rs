//! `arbiter cost`: each row with what it was computed from, and the total.

use super::{Look, next_line, or_dash, row};
use crate::cost::{Bill, HOURS, Part, Row};

/// Above the amounts, which end where it ends.
const HEAD: &str = "A MONTH";

pub(in crate::cli) fn cost(bill: &Bill, look: Look) -> String {
    let currency = &bill.currency;
    let mut out = format!("the standby, a month of {HOURS} h, in {currency}\n\n");
    let amounts = bill.rows.iter().map(|row| amount(row)).chain([bill.total.to_string()]);
    let amounts: Vec<String> = amounts.collect();
    let width = amounts.iter().map(String::len).max().unwrap_or_default().max(HEAD.len());
    let mut rows = vec![row(&["ITEM", &format!("{HEAD:>width$}"), "FROM"])];
    for (item, amount) in bill.rows.iter().zip(&amounts) {
        rows.push(row(&[item.item, &format!("{amount:>width$}"), &from(item)]));
    }
    let total = amounts.last().cloned().unwrap_or_default();
    let partial = if bill.partial { "partial: at least so much" } else { "" };
    rows.push(row(&["total", &format!("{total:>width$}"), partial]));
    out.push_str(&look.columns(&rows));
    out.push('\n');
    let next = if bill.partial {
        "add the keys named above to [cost] of the cluster file, then: arbiter cost"
    } else {
        "arbiter status"
    };
    out + &next_line(next)
}

fn amount(row: &Row) -> String {
    if row.parts.is_empty() && (row.absent || !row.missing.is_empty()) {
        return "-".to_owned();
    }
    row.amount.to_string()
}

fn from(row: &Row) -> String {
    if row.absent {
        return "none in this cluster".to_owned();
    }
    let parts: Vec<String> = row.parts.iter().map(part).collect();
    let missing = format!("add {}", row.missing.join(", "));
    match (parts.as_slice(), row.missing.as_slice()) {
        ([], []) => or_dash(""),
        ([], _) => missing,
        (parts, []) => parts.join(" + "),
        (parts, _) => format!("{}; {missing}", parts.join(" + ")),
    }
}

fn part(part: &Part) -> String {
    let (size, unit, price) = (part.size.0, part.unit, part.price.0);
    let observed = if part.observed { " (observed)" } else { "" };
    let hours = if part.hourly { format!(" × {HOURS} h") } else { String::new() };
    format!("{size} {unit}{observed}{hours} × {price}")
}
