//! Documents in buckets and of them: policies, ACLs, replication, canaries, Terraform's states.

use super::{Input, survives_json, tells};
use arbiter::fuzzing::bucket::{Acl, Canary, Direction, Lock, Policy, Replication, State};
use arbiter_core::Token;

const ARN: &str = "arn:aws:s3:::shop";
const TOKEN: Token = Token::new(7, 1042);

/// What is written into somebody's document stands there when it is read back, and can be taken out
/// again; what cannot be read is refused without a word of it.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 5 {
        0 => policy(&input.text()),
        1 => acl(&mut input),
        2 => replication(&input.text()),
        3 => {
            if let Ok(canary) = serde_json::from_slice::<Canary>(input.rest()) {
                survives_json(&canary);
                let _ = (canary.token(), canary.age());
            }
        }
        _ => terraform(input.rest()),
    }
}

fn policy(text: &str) {
    let policy = match Policy::parse(text) {
        Ok(policy) => policy,
        Err(why) => return tells(&why),
    };
    for admin in [None, Some("arn:aws:iam::1:role/admin")] {
        let fenced = Policy::parse(&policy.fenced(ARN, admin, TOKEN)).expect("it was written");
        assert!(fenced.holds(ARN, admin, TOKEN), "the fence is not there: {fenced:?}");
        assert_eq!(fenced.token(), Some(TOKEN));
        if let Some(lifted) = fenced.lifted() {
            let lifted = Policy::parse(&lifted).expect("it was written");
            assert!(!lifted.has_ours(), "the fence is still there: {lifted:?}");
        }
    }
}

fn acl(input: &mut Input<'_>) {
    let names = vec!["app".to_owned(), "readers".to_owned()];
    let fence = String::from_utf8_lossy(input.line()).into_owned();
    let acl = match Acl::parse(&input.text(), &fence) {
        Ok(acl) => acl,
        Err(why) => return tells(&why),
    };
    let record = acl.record_of(&names, TOKEN);
    if acl.obstacle(&names).is_none() {
        let fenced = Acl::parse(&acl.fenced(&names), &record).expect("it was written");
        assert!(fenced.is_narrow(&names), "the fence is not there: {fenced:?}");
        assert_eq!(fenced.token(), Some(TOKEN));
        let lifted = Acl::parse(&fenced.lifted(), &record).expect("it was written");
        let _ = lifted.is_narrow(&names);
    }
}

fn replication(text: &str) {
    let replication = match Replication::parse(text) {
        Ok(replication) => replication,
        Err(why) => return tells(&why),
    };
    let _ = (replication.runs(), replication.token(), replication.has_ours());
    let direction = Direction { role: "arn:aws:iam::1:role/r".into(), to: ARN.into() };
    let written = match replication.towards(&direction, TOKEN) {
        Ok(written) => Replication::parse(&written).expect("it was written"),
        Err(why) => return tells(&why),
    };
    assert!(written.has_ours() && written.runs(), "our rule is not there: {written:?}");
    assert!(written.reaches(ARN), "{written:?}");
    assert_eq!(written.token(), Some(TOKEN), "{written:?}");
    if let Some(off) = written.turned_off() {
        assert!(!Replication::parse(&off).expect("it was written").has_ours(), "{off}");
    }
}

fn terraform(bytes: &[u8]) {
    const SECRET: &str = "hunter2";
    let text = String::from_utf8_lossy(bytes);
    match State::parse(bytes, "tag") {
        Ok(state) => {
            // Lineage and version are its head, and are shown.
            let head = format!("{} {}", state.lineage, state.terraform);
            assert!(!head.chars().any(char::is_control) && head.chars().count() <= 161);
        }
        Err(why) => {
            tells(&why);
            assert!(!why.contains(SECRET) || !text.contains(SECRET), "{why}");
        }
    }
    tells(&Lock::held(bytes).to_string());
}
