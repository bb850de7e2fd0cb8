//! How each case must end: the plan table of design §6, met by what fails.
//!
//! A driver fails on the side whose turn the row is: of the source up to `prove-fence`, of the
//! target from `catch-up` on and in `preflight`. What fails for good goes on to fail in every later
//! row, and the plan ends as the table says of the first that needs it.
//!
//! A write is tried as soon as a database is promoted: what fails from `verify-target` on fails it.

use super::{Case, Part, cells};

/// One line: part, row, and in which way each cell ends.
pub type Line = (&'static str, &'static str, &'static str);

/// What is not named here completes, and nothing is left to be said.
///
/// In each pair of words: once, then for good. In each word a letter for each way to fail: it errs,
/// refuses, hangs; of an agent: it is killed, its host is without power, it is frozen.
///
/// - `R` no plan opens, `A` it is undone, `H` it halts in that row, `h` in a later one, `W` it
///   tries without end in that row, `w` in a later one, `d` it completes, `s` it completes and
///   `status` names what is not moved. Each but `d` names what failed, and is well once that is
///   mended.
/// - Where it is a race: `*` is `d` or `s`, `^` is `d` or `h`, `#` is `H` or `h`, and `~` any end
///   that the row may have, for an agent that is back in time, or is not.
#[rustfmt::skip]
pub const TABLE: &[Line] = &[
    //                              switchover failover   region lost
    ("db", "preflight",             "ddd RRR   ddd RRR   ddd RRR"),
    ("db", "stop-lease",            "dAA AAA   ddd sss   ddd ddd"),
    ("db", "fence-source",          "dAA AAA   ddd sss   ddd ddd"),
    ("db", "prove-fence",           "ddd sss   ddd sss   ddd ddd"),
    ("db", "catch-up",              "dAA AAA   dHH HHH   dHH HHH"),
    ("db", "advance-epoch",         "dhh hhh   dhh hhh   dhh hhh"),
    ("db", "promote-data",          "dHH HHH   dHH HHH   dHH HHH"),
    ("db", "activate-workloads",    "d^^ ^^^   d^^ ^^^   d^^ ^^^"),
    ("db", "verify-target",         "dHH HHH   dHH HHH   dHH HHH"),

    ("redis", "preflight",          "ddd RRR   ddd RRR   ddd RRR"),
    ("redis", "stop-lease",         "dAA AAA   ddd sss   ddd ddd"),
    ("redis", "fence-source",       "dAA AAA   ddd sss   ddd ddd"),
    ("redis", "prove-fence",        "ddd sss   ddd sss   ddd ddd"),
    ("redis", "catch-up",           "dAA AAA   dHH HHH   dHH HHH"),
    ("redis", "advance-epoch",      "dhh hhh   dhh hhh   dhh hhh"),
    ("redis", "promote-data",       "dHH HHH   dHH HHH   dHH HHH"),
    ("redis", "activate-workloads", "d^^ ^^^   d^^ ^^^   d^^ ^^^"),
    ("redis", "verify-target",      "dHH HHH   dHH HHH   dHH HHH"),

    ("bucket", "preflight",         "ddd sss   ddd sss   ddd sss"),
    ("bucket", "stop-lease",        "ddd sss   ddd sss   ddd ddd"),
    ("bucket", "fence-source",      "ddd sss   ddd sss   ddd ddd"),
    ("bucket", "prove-fence",       "ddd sss   ddd ddd   ddd ddd"),
    ("bucket", "catch-up",          "ddd sss   ddd sss   ddd sss"),
    ("bucket", "advance-epoch",     "dds sss   dds sss   dds sss"),
    ("bucket", "promote-data",      "dds sss   dds sss   dds sss"),

    ("app", "preflight",            "ddd hhh   ddd hhh   ddd hhh"),
    ("app", "stop-lease",           "ddd sss   ddd sss   ddd ddd"),
    ("app", "fence-source",         "ddd sss   ddd sss   ddd ddd"),
    ("app", "prove-fence",          "ddd sss   ddd ddd   ddd ddd"),
    ("app", "catch-up",             "dhh hhh   dhh hhh   dhh hhh"),
    ("app", "advance-epoch",        "dhh hhh   dhh hhh   dhh hhh"),
    ("app", "promote-data",         "dhh hhh   dhh hhh   dhh hhh"),
    ("app", "activate-workloads",   "dHH HHH   dHH HHH   dHH HHH"),

    ("pool", "preflight",           "ddd sss   ddd sss   ddd sss"),
    ("pool", "stop-lease",          "ddd sss   dds sss   ddd ddd"),
    ("pool", "fence-source",        "dds sss   dds sss   ddd ddd"),
    ("pool", "prove-fence",         "dds sss   dds sss   ddd ddd"),
    ("pool", "catch-up",            "dds sss   dds sss   dds sss"),
    ("pool", "advance-epoch",       "dds sss   dds sss   dds sss"),
    ("pool", "promote-data",        "dds sss   dds sss   dds sss"),
    ("pool", "activate-workloads",  "dds sss   dds sss   dds sss"),
    ("pool", "verify-target",       "dd* ***   dd* ***   dd* ***"),
    ("pool", "switch-traffic",      "dd* ***   dd* ***   dd* ***"),

    ("dns", "preflight",            "ddd whw   ddd whw   ddd whw"),
    ("dns", "catch-up",             "ddd whw   ddd whw   ddd whw"),
    ("dns", "advance-epoch",        "ddd whw   ddd whw   ddd whw"),
    ("dns", "promote-data",         "ddd whw   ddd whw   ddd whw"),
    ("dns", "activate-workloads",   "dhw whw   dhw whw   dhw whw"),
    ("dns", "verify-target",        "dhw whw   dhw whw   dhw whw"),
    ("dns", "switch-traffic",       "dHW WHW   dHW WHW   dHW WHW"),
    ("dns", "verify-service",       "ddd sss   ddd sss   ddd sss"),

    ("agent", "preflight",          "ddd RRR   ddd RRR   ddd RRR"),
    ("agent", "stop-lease",         "ddd AAA   ddd sss   ddd ddd"),
    ("agent", "fence-source",       "d~d AAA   d~d sss   d~d ddd"),
    ("agent", "prove-fence",        "ddd sss   ddd sss   ddd ddd"),
    ("agent", "catch-up",           "d~d AAA   d~d HHH   d~d HHH"),
    ("agent", "advance-epoch",      "d~d ###   d~d ###   d~d ###"),
    ("agent", "promote-data",       "d~d HHH   d~d HHH   d~d HHH"),
    ("agent", "activate-workloads", "d~d HHH   d~d HHH   d~d HHH"),
    ("agent", "verify-target",      "d~d www   d~d www   d~d www"),
    ("agent", "switch-traffic",     "ddd WWW   ddd WWW   ddd WWW"),
    ("agent", "verify-service",     "ddd sss   ddd sss   ddd sss"),
];

/// The letters of which one is that of `case`.
pub fn expected(case: Case) -> &'static str {
    let line = TABLE
        .iter()
        .find(|(part, row, _)| *part == Part::word(case.part) && *row == case.row.as_str());
    let Some((.., words)) = line else { return "d" };
    let letters = words.chars().filter(|letter| !letter.is_whitespace());
    let mut of_cells = cells(case.part, case.row).zip(letters);
    match of_cells.find(|(cell, _)| *cell == case).map(|(_, letter)| letter) {
        Some('R') => "R",
        Some('A') => "A",
        Some('H') => "H",
        Some('h') => "h",
        Some('W') => "W",
        Some('w') => "w",
        Some('d') => "d",
        Some('s') => "s",
        Some('*') => "ds",
        Some('^') => "dh",
        Some('#') => "Hh",
        Some('~') => "dAHhs",
        // No case ends so: a letter that means nothing, or a word that is too short.
        _ => "",
    }
}
