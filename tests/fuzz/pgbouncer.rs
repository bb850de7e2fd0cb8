//! PgBouncer's file of databases, which is read and rewritten.

use super::{Input, tells};
use arbiter::fuzzing::pgbouncer::{Place, entries, leading};

/// Led elsewhere, the file has the same names, all of them lead there, and doing it again changes
/// nothing.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let place = Place::read(&String::from_utf8_lossy(input.line()));
    let place = place.filter(|place| place.host.chars().all(|c| !c.is_whitespace()));
    let place = place.unwrap_or(Place { host: "10.0.2.2".to_owned(), port: 5432 });
    let text = input.text();
    let before = match entries(&text) {
        Ok(before) => before,
        Err(why) => return tells(&why),
    };
    let led = match leading(&text, &place, |_| true) {
        Ok(led) => led,
        Err(why) => return tells(&why),
    };
    let after = entries(&led).unwrap_or_else(|why| panic!("{led:?} was written: {why}"));
    assert_eq!(after.len(), before.len(), "{led:?}");
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.name, after.name);
        let there = (place.host.as_str(), place.port.to_string());
        assert_eq!((after.host.as_str(), after.port.clone()), there, "{led:?}");
    }
    assert_eq!(leading(&led, &place, |_| true).as_deref(), Ok(led.as_str()), "led twice");
    assert_eq!(leading(&text, &place, |_| false).as_deref(), Ok(text.as_str()), "nobody is led");
}
