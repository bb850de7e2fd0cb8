//! The scopes that every run of the tests looks through, and the bugs that they must find.

use arbiter_core::plant::Plant;
use arbiter_tests::model::check::{Bound, Found, check};
use arbiter_tests::model::scope::{Flaw, SCOPES, scope};

/// A bug that needs more states than this is not found.
const STEPS_MAX: usize = 2_000_000;

const SHORT: Bound = Bound { full: false, depth: 0, states: 0, threads: 2, progress: false };

#[test]
fn no_scope_breaks_an_invariant_and_what_should_happen_does() {
    let found: Vec<(&str, Found)> =
        SCOPES.iter().map(|scope| (scope.name, check(scope, SHORT, None))).collect();
    found.iter().for_each(|(name, found)| println!("{name:<9} {found}"));
    for (name, found) in found {
        assert!(found.broken.is_none() && found.never.is_empty(), "{name}: {found}");
        assert!(found.exhausted, "{name} is looked through to its end");
    }
}

fn finds(name: &str, flaw: Flaw, breaks: &str) {
    let scope = scope(name).expect("a known scope");
    let found = check(scope, Bound { states: STEPS_MAX, threads: 1, ..SHORT }, Some(flaw));
    let broken = found.broken.as_ref().map(|(name, _)| name.split(':').next().unwrap_or(name));
    assert_eq!(broken, Some(breaks), "{name}: {found}");
}

macro_rules! planted {
    ($($test:ident $scope:literal $flaw:expr, $breaks:literal)*) => {
        $(#[test]
        fn $test() {
            use Flaw::*;
            finds($scope, $flaw, $breaks);
        })*
    };
}

planted! {
    finds_a_lease_counted_from_receipt "lease" Core(Plant::LeaseFromReceipt), "I3"
}
