//! What monitors and providers answer.

use super::{Input, tells};
use arbiter::fuzzing::pages::{alerts, incidents};
use arbiter_core::{ProbeSpec, SignalKind};
use std::time::Duration;

fn probe(settings: &[(&str, &str)]) -> ProbeSpec {
    ProbeSpec {
        region: "eu-west".into(),
        kind: String::new(),
        signal: SignalKind::Provider,
        target: "https://status.test/".to_owned(),
        limit: Duration::from_secs(1),
        settings: settings.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect(),
    }
}

/// A page names incidents or says why it cannot be read; never both, never nothing.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let which = input.byte() % 4;
    let page = input.rest();
    let words = ("match", "eu-west, Ireland");
    let read = match which {
        0 => return alerts(page, &probe(&[])).iter().for_each(|told| tells(told)),
        1 => incidents(page, &probe(&[words, ("pointer", "")])),
        2 => incidents(page, &probe(&[words, ("pointer", "/a/list")])),
        _ => incidents(page, &probe(&[words])),
    };
    if let Err(why) = read {
        tells(why);
    }
}
