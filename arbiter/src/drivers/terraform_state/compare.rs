//! What differs between the two regions' states, each a readiness fault with its remedy. Asks
//! nobody.

use super::state::{Found, Lock, State};
use crate::drivers::DriverError;
use arbiter_core::{Condition, Fact};

/// What came of a look; none while the first goes on.
type Looked = Option<Result<Found, DriverError>>;

/// Tell of this region's state, and of how the other's compares; both by the names of their
/// backends.
pub fn compare(
    fact: &mut Fact,
    name: &str,
    own: &Result<Found, DriverError>,
    peer: Option<(&str, Looked)>,
) {
    tell(fact, "state", name);
    match own {
        Ok(found) => {
            let State { lineage, serial, terraform, .. } = &found.state;
            tell(fact, "lineage", lineage);
            tell(fact, "serial", &serial.to_string());
            tell(fact, "terraform", terraform);
            tell(fact, "lock", &found.lock.to_string());
            lock(fact, name, &found.lock);
        }
        Err(error) => {
            fact.condition = Condition::Unknown;
            fact.faults.push(error.to_string());
        }
    }
    match peer {
        None => tell(fact, "peer", "not compared: no setting peer.backend"),
        Some((_, None)) => tell(fact, "peer", "unknown: the first look goes on"),
        Some((_, Some(Err(error)))) => {
            tell(fact, "peer", "unknown");
            fact.faults.push(format!("nothing is compared with the other region's state: {error}"));
        }
        Some((other, Some(Ok(peer)))) => {
            tell(fact, "peer", &format!("serial {} in {other}", peer.state.serial));
            if let Ok(own) = own {
                fact.faults.extend(difference(name, &own.state, &peer.state));
            }
        }
    }
}

fn lock(fact: &mut Fact, name: &str, lock: &Lock) {
    if let Lock::Held { who, id } = lock {
        let unlock = format!("terraform force-unlock {id}");
        fact.faults.push(format!(
            "{name} is locked by {who}: let that run end, or, if nobody runs it: {}",
            unlock.trim_end()
        ));
    }
}

/// What is wrong with `own`, seen from `peer`. What lags there is told by the driver there.
fn difference(name: &str, own: &State, peer: &State) -> Option<String> {
    if own.lineage != peer.lineage {
        return Some(format!(
            "{name} has lineage {}, and the other region's {}: they are two states; copy the one \
             that is applied to over the other",
            own.lineage, peer.lineage
        ));
    }
    if own.serial < peer.serial {
        return Some(format!(
            "{name} stands at serial {}, and the other region's at {}: wait for its replication, or \
             copy that one over",
            own.serial, peer.serial
        ));
    }
    (own.serial == peer.serial && own.sum != peer.sum).then(|| {
        format!(
            "{name} and the other region's differ, though both stand at serial {}: two runs \
             changed the same state; find out which is true before the next",
            own.serial
        )
    })
}

fn tell(fact: &mut Fact, key: &str, text: &str) {
    if !text.is_empty() {
        fact.detail.insert(key.to_owned(), text.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(lineage: &str, serial: u64, sum: u32) -> State {
        let (lineage, terraform) = (lineage.to_owned(), "1.11.4".to_owned());
        State { lineage, serial, terraform, sum, tag: String::new() }
    }

    #[test]
    fn what_lags_or_is_another_is_a_fault() {
        let own = state("a", 7, 1);
        assert_eq!(difference("s", &own, &own), None);
        assert_eq!(difference("s", &own, &state("a", 6, 2)), None, "the other one lags");
        for (peer, said) in [
            (state("a", 9, 1), "serial 7, and the other region's at 9"),
            (state("b", 7, 1), "two states"),
            (state("a", 7, 2), "two runs"),
        ] {
            let why = difference("s", &own, &peer).unwrap();
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_unknown_and_told() {
        let mut fact = Fact { condition: Condition::Healthy, ..Fact::default() };
        let unread = || Err(DriverError::Retry("unreadable".to_owned()));
        compare(&mut fact, "eu", &unread(), Some(("us", Some(unread()))));
        assert_eq!(fact.condition, Condition::Unknown);
        assert_eq!(fact.faults.len(), 2, "{:?}", fact.faults);
        assert_eq!(fact.detail["peer"], "unknown");
    }
}
