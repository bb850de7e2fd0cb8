//! Inputs that are kept, and inputs changed from them by a seed.

use super::{INPUT_BYTES_MAX, TARGETS};
use std::path::{Path, PathBuf};

/// An input of one target.
pub struct Kept {
    /// The target.
    pub target: &'static str,
    /// Where it stands; what it is called, for one that was made.
    pub name: String,
    /// What is fed.
    pub bytes: Vec<u8>,
}

/// The folders of kept inputs: what reaches far, and what once broke something.
const FOLDERS: [&str; 2] = ["corpus", "regressions"];

/// Every input that is kept, in a fixed order.
///
/// # Panics
/// Where a folder cannot be read, or is of no target.
pub fn kept() -> Vec<Kept> {
    let mut found = Vec::new();
    for folder in FOLDERS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz").join(folder);
        for place in listed(&folder) {
            let name = place.file_name().map(|name| name.to_string_lossy().into_owned());
            let known = TARGETS.iter().find(|(known, _)| Some(*known) == name.as_deref());
            let (target, _) = known.unwrap_or_else(|| panic!("{place:?} is of no target"));
            found.extend(listed(&place).into_iter().map(|file| Kept {
                target,
                name: file.display().to_string(),
                bytes: std::fs::read(&file).expect("a kept input can be read"),
            }));
        }
    }
    found
}

fn listed(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    found.sort();
    found
}

/// Numbers that are at an end of something, as they are written.
const ENDS: &[&[u8]] = &[
    b"0",
    b"-1",
    b"4294967296",
    b"18446744073709551615",
    b"9223372036854775808",
    b"1e308",
    b"null",
    b"{}",
    b"[]",
    b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    b"\n",
];

/// The input of this number: some kept one of `target` with a few places changed. The same for the
/// same seed, number and kept inputs.
pub fn random(target: &'static str, kept: &[Kept], seed: u64, number: u64) -> Kept {
    let mut dice = Dice(seed ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let of: Vec<&Kept> = kept.iter().filter(|one| one.target == target).collect();
    let pick = |dice: &mut Dice| of.get(dice.below(of.len())).map(|one| one.bytes.as_slice());
    let mut bytes = pick(&mut dice).unwrap_or_default().to_vec();
    for _ in 0..=dice.below(6) {
        let at = dice.below(bytes.len() + 1);
        let to = (at + 1 + dice.below(16)).min(bytes.len());
        match dice.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
            1 if at < bytes.len() => bytes[at] = dice.next() as u8,
            2 if at < to => drop(bytes.drain(at..to)),
            3 => drop(bytes.splice(at..at, ENDS[dice.below(ENDS.len())].iter().copied())),
            4 if at < to => {
                let part = bytes[at..to].to_vec();
                bytes.splice(at..at, part);
            }
            5 => {
                let other = pick(&mut dice).unwrap_or_default();
                let from = dice.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.insert(at, dice.next() as u8),
        }
    }
    bytes.truncate(INPUT_BYTES_MAX);
    Kept { target, name: format!("number {number} of seed {seed}"), bytes }
}

/// Xorshift64*: small, and the same everywhere.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 8
    }

    fn below(&mut self, count: usize) -> usize {
        (self.next() % count.max(1) as u64) as usize
    }
}
