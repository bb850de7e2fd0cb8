//! Answers of DNS servers, key files, and profiles of Traffic Manager.

use super::{Input, tells};
use arbiter::fuzzing::dns::{RecordKind, answer, key, written};
use arbiter::fuzzing::traffic_manager::{
    Change, Reader, RrSet, Settings, Verdict, after, judge, seen,
};
use arbiter_core::{Instance, Terms, Token};
use serde_json::{Value, json};

const KEY: &str = "arbiter:hmac-sha256:c2VjcmV0IGh1bnRlcjIgc2VjcmV0";

/// An answer is understood or refused in words; without our signature none is taken for signed; a
/// record's text is read as it was written. A key file's error holds nothing of the file.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let kind = [RecordKind::A, RecordKind::Aaaa, RecordKind::Cname][input.below(3)];
    let signed = input.flip();
    let rest = input.rest();
    if let Err(why) = key(&String::from_utf8_lossy(rest)) {
        tells(why);
    }
    let name = "app.example.test.";
    let found = match answer(name, kind, signed.then_some(KEY), rest) {
        Ok(found) => found,
        Err(error) => return tells(&error.to_string()),
    };
    assert!(!found.verified, "nobody could sign this");
    for (text, again) in written(&found) {
        assert!(again.is_none_or(|again| again == text), "{text:?} is read as another");
    }
}

fn settings() -> Settings {
    let settings = [
        ("name", "shop.trafficmanager.net."),
        ("value.eu-west", "eu.example.test"),
        ("value.us-east", "us.example.test"),
    ];
    let instance: Instance = serde_json::from_value(json!({
        "resource": "dns", "region": "eu-west", "agent": "agent-eu", "kind": "traffic-manager",
        "layer": "traffic", "fencing": "best-effort", "control": "api", "address": "",
        "settings": settings.into_iter().collect::<std::collections::BTreeMap<_, _>>(),
    }))
    .expect("it is an instance");
    let read = Reader::new(&"dns-eu".into(), &instance).zoneless(&"default".into(), &instance);
    read.expect("its settings are whole")
}

/// A profile is understood or refused in words; a change written into it is read back as that
/// change, and is then done.
pub fn traffic_manager(bytes: &[u8]) {
    let Ok(profile) = serde_json::from_slice::<Value>(bytes) else { return };
    // Every profile has one; without it no TTL could be written.
    if !profile.pointer("/properties/dnsConfig").is_some_and(Value::is_object) {
        return;
    }
    let settings = settings();
    let before = match seen(&settings, &profile) {
        Ok(before) => before,
        Err(why) => return tells(why),
    };
    let (region, token) = ("us-east".into(), Token::new(3, 77));
    let terms = Terms { may_create: true, adopt: true, ..Terms::default() };
    let change: Change = match judge(&settings, &before, &region, token, &terms) {
        Verdict::Swap(change) => *change,
        Verdict::Refused(why) => return tells(&why),
        Verdict::Done | Verdict::Stale(_) => return,
    };
    let next = after(&settings, &profile, &change);
    let read = seen(&settings, &next).expect("it was written");
    assert_eq!(read.token, Some(RrSet::one(settings.ttl, format!("\"{token}\""))), "{next}");
    assert_eq!(judge(&settings, &read, &region, token, &terms), Verdict::Done, "{next}");
}
