//! Histories that are explained, and such that are not.

use super::group::{Action, Group};
use super::linear::{Wrong, check};
use super::{History, Operation};

fn called(invoked: u64, returned: u64, action: Action) -> Operation<Action> {
    Operation { by: "c".into(), invoked, returned: Some(returned), action }
}

fn perhaps(invoked: u64, action: Action) -> Operation<Action> {
    Operation { by: "c".into(), invoked, returned: None, action }
}

fn mode(mode: &str) -> Action {
    let region = "eu-west".to_owned();
    Action::Status { mode: mode.to_owned(), region, epoch: 1, open: false }
}

fn set(mode: &str) -> Action {
    Action::SetMode(mode.to_owned())
}

fn region(region: &str, epoch: u64, open: bool) -> Action {
    Action::Region { region: region.to_owned(), epoch, open }
}

fn linear(history: &[Operation<Action>]) -> Result<(), Wrong> {
    check(Group::begun(), history)
}

#[test]
fn what_one_register_can_have_answered_is_explained() {
    let history = [
        called(1, 8, set("manual")),
        called(2, 4, mode("observe")),
        called(3, 6, mode("manual")),
        called(7, 9, mode("manual")),
    ];
    assert_eq!(linear(&history), Ok(()));
}

#[test]
fn an_answer_from_before_an_acknowledged_change_is_not() {
    let history = [called(1, 2, set("manual")), called(3, 4, mode("observe"))];
    assert!(matches!(linear(&history), Err(Wrong::NoOrder(_))));
    let back =
        [called(1, 9, set("manual")), called(2, 3, mode("manual")), called(4, 5, mode("observe"))];
    assert!(matches!(linear(&back), Err(Wrong::NoOrder(_))), "new, then old again");
}

#[test]
fn what_has_no_outcome_may_happen_late_or_never_and_not_before_it_began() {
    let late = [
        perhaps(1, set("manual")),
        called(2, 3, mode("observe")),
        called(4, 5, set("observe")),
        called(6, 7, mode("observe")),
        called(8, 9, mode("manual")),
    ];
    assert_eq!(linear(&late), Ok(()));
    assert_eq!(linear(&late[..4]), Ok(()));
    let early = [called(1, 2, mode("manual")), perhaps(3, set("manual"))];
    assert!(linear(&early).is_err());
}

#[test]
fn a_change_that_would_change_nothing_yet_may_be_done_later() {
    let later = [
        called(1, 8, set("observe")),
        called(2, 3, set("manual")),
        called(4, 5, mode("manual")),
        called(6, 7, mode("observe")),
    ];
    assert_eq!(linear(&later), Ok(()));
}

#[test]
fn one_call_is_done_once() {
    let twice = [
        called(1, 12, set("manual")),
        called(2, 3, mode("manual")),
        called(4, 5, set("observe")),
        called(6, 7, mode("observe")),
        called(8, 9, mode("manual")),
    ];
    assert!(matches!(linear(&twice), Err(Wrong::NoOrder(_))));
}

#[test]
fn a_plan_opens_advances_and_ends_in_this_order_and_at_most_once() {
    let history = History::default();
    let at = history.begins();
    history.ends("a", at, set("manual"));
    let open = history.begins();
    history.opens("a", open, 7, true);
    for seen in
        [region("eu-west", 1, true), region("us-east", 2, true), region("us-east", 2, false)]
    {
        let at = history.begins();
        history.ends("b", at, seen);
    }
    assert_eq!(linear(&history.operations()), Ok(()));
    let at = history.begins();
    history.ends("b", at, region("eu-west", 3, false));
    assert!(linear(&history.operations()).is_err(), "one plan moves once");
}

#[test]
fn two_plans_are_never_open_at_once_nor_any_in_observe() {
    let opened = |number| called(number, number + 1, Action::Open(number));
    let modes = [called(1, 2, set("manual"))];
    let both: Vec<_> = modes.iter().cloned().chain([opened(3), opened(5)]).collect();
    assert!(linear(&both).is_err());
    let one: Vec<_> = both[..2].to_vec();
    assert_eq!(linear(&one), Ok(()));
    assert!(linear(&[opened(3)]).is_err(), "the mode is observe");
}

/// Many calls at once, with as many that have no outcome: what was tried is not tried again.
#[test]
fn a_long_history_under_faults_is_checked_in_time() {
    let mut all = Vec::new();
    for round in 0..150u64 {
        let at = round * 10;
        let word = ["manual", "observe", "automatic"][(round % 3) as usize];
        all.push(called(at + 1, at + 9, set(word)));
        all.push(called(at + 2, at + 14, mode(word)));
        if round % 15 == 0 {
            all.push(perhaps(at + 3, set("manual")));
        }
    }
    all.sort_by_key(|operation| operation.invoked);
    assert_eq!(linear(&all), Ok(()));
}

#[test]
fn the_epoch_rises_by_itself_and_never_back() {
    use super::register::{Action, Register};
    let history = History::default();
    let see = |epoch, region: &str| {
        let at = history.begins();
        history.ends("r", at, Action::Region { epoch, region: region.to_owned() });
        check(Register::new("automatic", 1, "eu-west"), &history.with_rises(1))
    };
    assert_eq!(see(1, "eu-west"), Ok(()));
    assert_eq!(see(2, "us-east"), Ok(()));
    assert_eq!(see(4, "us-east"), Ok(()));
    assert!(see(3, "eu-west").is_err(), "back");
}
