//! The agent's side of a lease: what an answer is worth, and when it lapses.

use crate::agent::Lease;
use crate::{Instant, Profile};
use std::time::Duration;

const SENT: Instant = Instant(1_000_000_000_000);
/// L and F of the default profile.
const LENGTH: Duration = Duration::from_secs(8);
const FENCE: Duration = Duration::from_secs(2);
const MS: Duration = Duration::from_millis(1);

fn lease() -> Lease {
    Lease::new(Profile::Wan.timing())
}

/// Renewed by an answer to a Report that left at [`SENT`], and came a second later.
fn renewed() -> Lease {
    let mut lease = lease();
    assert!(lease.renew(SENT, LENGTH, SENT + Duration::from_secs(1)));
    lease
}

#[test]
fn it_counts_from_when_the_report_left() {
    let lease = renewed();
    assert_eq!(lease.deadline(), Some(SENT + LENGTH));
    assert_eq!(lease.fence_at(), Some(SENT + LENGTH - FENCE));
    assert!(lease.is_live(SENT + LENGTH - FENCE - MS));
    assert!(!lease.is_live(SENT + LENGTH - FENCE), "its fence begins then");
}

#[test]
fn without_an_answer_there_is_none() {
    let mut lease = lease();
    assert!(!lease.is_live(SENT) && !lease.lapse(SENT) && !lease.is_lapsed());
    assert_eq!((lease.deadline(), lease.fence_at()), (None, None));
}

#[test]
fn an_answer_that_was_overtaken_shortens_nothing() {
    let mut lease = renewed();
    assert!(lease.renew(SENT - MS, LENGTH, SENT + MS));
    assert_eq!(lease.deadline(), Some(SENT + LENGTH));
    assert!(lease.renew(SENT + MS, LENGTH, SENT + MS));
    assert_eq!(lease.deadline(), Some(SENT + MS + LENGTH));
}

#[test]
fn an_answer_that_comes_when_the_fence_would_begin_renews_nothing() {
    let mut late = lease();
    assert!(!late.renew(SENT, LENGTH, SENT + LENGTH - FENCE));
    assert_eq!(late.deadline(), None);
    assert!(late.renew(SENT, LENGTH, SENT + LENGTH - FENCE - MS));
}

#[test]
fn it_lapses_once_and_only_a_report_sent_since_renews_it() {
    let mut lease = renewed();
    let begins = SENT + LENGTH - FENCE;
    assert!(!lease.lapse(begins - MS));
    // The agent was late to look: what it sent meanwhile is older than its fence.
    let noted = begins + MS;
    assert!(lease.lapse(noted));
    assert!(!lease.lapse(noted), "the fence begins once");
    assert!(lease.is_lapsed() && !lease.is_live(noted));
    assert_eq!((lease.fence_at(), lease.deadline()), (None, Some(SENT + LENGTH)));
    assert!(!lease.renew(begins, LENGTH, noted));
    assert!(lease.is_lapsed());
    assert!(lease.renew(noted, LENGTH, noted + MS));
    assert!(!lease.is_lapsed() && lease.is_live(noted + MS));
    assert_eq!(lease.deadline(), Some(noted + LENGTH));
}

#[test]
fn what_a_deadman_holds_is_taken_over_and_other_timers_move_nothing() {
    let mut lease = renewed();
    assert!(lease.lapse(SENT + LENGTH));
    lease.resume(SENT + LENGTH + LENGTH);
    assert!(!lease.is_lapsed() && lease.is_live(SENT + LENGTH));
    lease.set_timing(Profile::Metro.timing());
    assert_eq!(lease.timing(), &Profile::Metro.timing());
    assert_eq!(lease.deadline(), Some(SENT + LENGTH + LENGTH));
    lease.end();
    assert_eq!((lease.deadline(), lease.fence_at()), (None, None));
    assert!(!lease.is_lapsed());
}
