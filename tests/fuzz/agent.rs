//! What an agent reads of its own host, and what its deadman is told over the socket.

use super::{Input, survives_json, tells};
use arbiter::agent::link::{self, Ask, Reply, Request};
use arbiter::fuzzing::agent::{Kept, saved, stat, units};
use arbiter::fuzzing::command::Reply as Printed;
use arbiter_core::agent::{Deadman, DeadmanEvent};
use arbiter_core::{Instant, Layer};

/// Files and texts are read or refused in words; whatever a deadman is told, it kills no later than
/// the deadline that it was told last.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 5 {
        0 => match saved(input.rest()) {
            Ok(told) => tells(&told),
            Err(why) => tells(&why),
        },
        1 => drop(units(&input.text())),
        2 => drop(stat(&input.text())),
        3 => drop(serde_json::from_slice::<Kept>(input.rest())),
        _ => deadman(input.rest()),
    }
}

/// What comes over the socket, however it is cut.
fn deadman(bytes: &[u8]) {
    let (mut unread, mut deadman) = (bytes.to_vec(), Deadman::new());
    let mut now = Instant::from_millis(1000);
    loop {
        let before = unread.len();
        match link::decode::<Request>(&mut unread) {
            Ok(Some(request)) => {
                assert!(unread.len() < before, "a message that takes no bytes");
                survives_json(&request);
                request.asks.into_iter().for_each(|ask| told(&mut deadman, ask, &mut now));
            }
            Ok(None) => break,
            Err(error) => return tells(&error.to_string()),
        }
    }
    let mut reply = bytes.to_vec();
    if let Ok(Some(reply)) = link::decode::<Reply>(&mut reply) {
        survives_json(&reply);
    }
}

fn told(deadman: &mut Deadman, ask: Ask, now: &mut Instant) {
    let event = match ask {
        Ask::Arm { group } => DeadmanEvent::Arm(group),
        Ask::Disarm { group } => DeadmanEvent::Disarm(group),
        Ask::Renew { group, deadline, timing } => DeadmanEvent::Renew { group, deadline, timing },
        Ask::Clear { group } => DeadmanEvent::Clear(group),
        Ask::Pause { group } => DeadmanEvent::Pause(group),
        Ask::Continue { group } => DeadmanEvent::Continue(group),
        _ => DeadmanEvent::Tick,
    };
    let _ = deadman.step(event, *now);
    // I4: what is armed and not frozen is due no later than its deadline.
    for hold in deadman.holds().values().filter(|hold| hold.armed && !hold.frozen) {
        if let (Some(kill), Some(deadline)) = (hold.kill_at(), hold.deadline) {
            assert!(kill <= deadline, "killed after the deadline: {hold:?}");
        }
    }
    if let Some(wake) = deadman.next_wake() {
        *now = (*now).max(wake);
        let _ = deadman.step(DeadmanEvent::Tick, *now);
        assert!(deadman.next_wake().is_none_or(|next| next > *now), "due at once, again and again");
    }
}

/// What a script prints: read, or refused without a word of it.
pub fn command(bytes: &[u8]) {
    const SECRET: &str = "hunter2";
    match Printed::read(bytes) {
        Ok(reply) => {
            for layer in [Layer::Data, Layer::Workload, Layer::Traffic] {
                survives_json(&reply.fact(layer));
            }
            let shown = [vec![reply.message], reply.obstacles].concat();
            assert!(shown.iter().all(|text| !text.chars().any(char::is_control)), "{shown:?}");
        }
        Err(why) => {
            tells(&why);
            assert!(!why.contains(SECRET), "{why}");
        }
    }
}
