//! Time as a value, the inequalities of design §5, and the leader's memory of leases.

use crate::testing::ms;
use crate::*;
use std::time::Duration;

#[test]
fn time_neither_overflows_nor_runs_below_the_boot() {
    let at = Instant::from_millis(5);
    assert_eq!(at, Instant::from_nanos(5_000_000));
    assert_eq!(at + ms(2), Instant::from_millis(7));
    assert_eq!((at - ms(2), at.before(ms(2))), (Instant::from_millis(3), Instant::from_millis(3)));
    assert_eq!(at - ms(6), Instant::default());
    assert_eq!(at.since(Instant::from_millis(2)), ms(3));
    assert_eq!(Instant::from_millis(2).since(at), ms(0));
    assert_eq!(at + Duration::MAX, Instant(u64::MAX));
}

/// L, F and K of design §5.
#[test]
fn a_lease_is_dead_after_its_length_by_the_slowest_clock_and_the_margin() {
    let timing = Profile::Wan.timing();
    assert_eq!(timing.dead_after(ms(8000)), ms(8000 + 80 + 500));
    assert_eq!(timing.dead_after(ms(12_000)), ms(12_000 + 120 + 500));
    assert_eq!(timing.deadman_head_start(), ms(500));
    let short = Timing { fence: ms(900), ..timing };
    assert_eq!(short.deadman_head_start(), DEADMAN_HEAD_START_MIN);
}

/// Each inequality, where it just holds and where it just does not.
#[test]
fn timers_that_break_an_inequality_are_named() {
    let rules = |timing: Timing, kill: bool| {
        let faults = timing.faults(kill);
        for fault in &faults {
            let told = fault.to_string();
            assert!(told.contains(fault.rule) && told.contains(fault.remedy), "{told}");
            assert!(told.contains(&fault.numbers), "{told}");
        }
        faults.into_iter().map(|fault| fault.rule).collect::<Vec<_>>()
    };
    for profile in [Profile::Wan, Profile::Regional, Profile::Metro] {
        assert_eq!(rules(profile.timing(), true), [""; 0], "{profile:?}");
    }
    let wan = Profile::Wan.timing();
    let losing = "r + 2*election_max + 5*rtt + fsync <= L - F";
    // 1000 + 3600 + 400 + 20 = 5020.
    assert_eq!(rules(Timing { lease: ms(7020), ..wan }, true), [""; 0]);
    assert_eq!(rules(Timing { lease: ms(7019), ..wan }, true), [losing]);
    let missing = "3r + rtt <= L - F";
    // 3 × 1900 + 80 = 5780, and 1900 + 2420 + 400 + 20 is less.
    let slow = Timing { renewal: ms(1900), election_min: ms(1000), election_max: ms(1210), ..wan };
    assert_eq!(rules(Timing { lease: ms(7780), ..slow }, true), [""; 0]);
    assert_eq!(rules(Timing { lease: ms(7779), ..slow }, true), [missing]);
    let append = "0.75*heartbeat > rtt + fsync";
    assert_eq!(rules(Timing { heartbeat: ms(136), ..wan }, true), [""; 0]);
    assert_eq!(rules(Timing { heartbeat: ms(133), ..wan }, true), [append]);
    let exactly = Timing { heartbeat: ms(400), rtt: ms(280), lease: ms(60_000), ..wan };
    assert_eq!(rules(exactly, true), [append], "it must be more");
    let windows = "election_min < election_max";
    assert_eq!(rules(Timing { election_min: ms(1799), ..wan }, true), [""; 0]);
    assert_eq!(rules(Timing { election_min: ms(1800), ..wan }, true), [windows]);
    let shorter = "F < L";
    assert!(rules(Timing { fence: ms(8000), ..wan }, true).contains(&shorter));
    assert!(!rules(Timing { fence: ms(7999), ..wan }, true).contains(&shorter));
    let slow_kill = "F >= 6 s where cgroup.kill is missing";
    let long = Timing { lease: ms(60_000), ..wan };
    assert_eq!(rules(Timing { fence: ms(6000), ..long }, false), [""; 0]);
    assert_eq!(rules(Timing { fence: ms(5999), ..long }, false), [slow_kill]);
    assert_eq!(rules(Timing { fence: ms(5999), ..long }, true), [""; 0]);
}

/// I4: what may have been renewed last is what counts, by whomever.
#[test]
fn a_lease_is_silent_since_its_last_answer_or_the_leaders_election() {
    let at = Instant::from_millis;
    let (group, other) = (GroupId::from("g"), GroupId::from("h"));
    let (agent, life) = (AgentId::from("a"), Incarnation(1));
    let mut book = LeaseBook::new(at(1000));
    let silent = |book: &LeaseBook, life| book.silent_for(&group, &agent, life, at(5000));
    assert_eq!(silent(&book, life), ms(4000));
    assert_eq!(book.group_silent_for(&group, at(5000)), ms(4000));
    book.answer(&group, &agent, life, at(3000));
    assert_eq!((silent(&book, life), silent(&book, Incarnation(2))), (ms(2000), ms(4000)));
    book.answer(&group, &"b".into(), life, at(4500));
    assert_eq!(silent(&book, life), ms(2000));
    assert_eq!(book.group_silent_for(&group, at(5000)), ms(500), "the latest of them");
    assert_eq!(book.group_silent_for(&other, at(5000)), ms(4000));
    book.answer(&group, &agent, Incarnation(3), at(10));
    assert_eq!(silent(&book, Incarnation(3)), ms(4000), "nothing before the election counts");
}
