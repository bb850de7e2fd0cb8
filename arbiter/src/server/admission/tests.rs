//! Limits, and who gives way.

use super::super::table;
use super::*;
use crate::tls::{Role, Via};
use http_body_util::Full;

fn person(name: &str) -> Caller {
    Caller { name: name.to_owned(), role: Some(Role::Viewer), via: Via::Socket, expires: None }
}

fn reason(refused: &Status) -> &str {
    refused.metadata().get(refusal::REASON).unwrap().to_str().unwrap()
}

fn places(admission: &Arc<Admission>, pool: Pool, caller: &Caller, count: usize) -> Vec<Place> {
    (0..count).map(|_| admission.admit(pool, caller).unwrap()).collect()
}

/// What is counted is what people call; and no call of a pool may be larger than is decoded.
#[test]
fn every_call_of_people_is_counted_and_no_renewal_is() {
    for (path, roles) in table::TABLE {
        let counted = Pool::of(path).is_some();
        let of_people = roles.iter().any(|role| !role.is_process());
        assert_eq!(counted, of_people, "{path}");
    }
    assert_eq!(Pool::of("nothing"), None);
    for pool in Pool::ALL {
        let Limits { calls, of_one, .. } = pool.limits();
        assert!(0 < of_one && of_one < calls, "{pool:?}: one caller leaves room for another");
    }
}

#[test]
fn one_caller_leaves_room_and_all_together_have_a_limit() {
    let admission = Arc::new(Admission::default());
    let Limits { calls, of_one, .. } = Pool::Changes.limits();
    let kept = places(&admission, Pool::Changes, &person("a"), of_one);
    let refused = admission.admit(Pool::Changes, &person("a")).unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, "too-busy"));
    assert!(refused.message().contains("the viewer a"), "{refused}");
    assert!(refused.metadata().contains_key(refusal::NEXT));
    // Another pool, and another caller, are as before.
    drop(admission.admit(Pool::Questions, &person("a")).unwrap());
    let others: Vec<_> = (1..calls / of_one)
        .flat_map(|n| places(&admission, Pool::Changes, &person(&n.to_string()), of_one))
        .collect();
    let refused = admission.admit(Pool::Changes, &person("last")).unwrap_err();
    assert!(refused.message().starts_with(&calls.to_string()), "{refused}");
    drop(kept);
    drop(admission.admit(Pool::Changes, &person("last")).unwrap());
    drop(others);
    assert_eq!(admission.under_way(), BTreeMap::new(), "every place is free again");
    assert_eq!(admission.refused(), 2);
    assert!(admission.held().of_one.is_empty() && admission.held().calls.is_empty());
}

/// In plaintext one name stands for everybody.
#[test]
fn who_has_no_name_shares_the_limit_of_all() {
    let admission = Arc::new(Admission::default());
    let Limits { calls, .. } = Pool::Questions.limits();
    let kept = places(&admission, Pool::Questions, &Caller::plaintext(), calls);
    assert!(admission.admit(Pool::Questions, &Caller::plaintext()).is_err());
    drop(kept);
    assert!(admission.admit(Pool::Questions, &Caller::plaintext()).is_ok());
}

async fn frame(body: &mut Body) -> Option<Result<Frame<Bytes>, Status>> {
    body.frame().await
}

fn answer(place: Place) -> Body {
    place.answer(Body::new(Full::new(Bytes::from_static(b"answer"))))
}

/// Only when their places are needed: a slow reader harms nobody while there is room.
#[tokio::test]
async fn answers_that_nobody_reads_give_way() {
    let admission = Arc::new(Admission::default());
    let Limits { of_one, .. } = Pool::Questions.limits();
    let caller = person("deaf");
    let kept = places(&admission, Pool::Questions, &caller, of_one);
    let mut unread: Vec<Body> = kept.into_iter().map(answer).collect();
    let mut read = unread.pop().unwrap();
    assert!(admission.admit(Pool::Questions, &caller).is_err(), "they are young");
    for call in admission.held().calls.values_mut() {
        let (since, _) = call.answer.as_mut().unwrap();
        *since = since.before(UNREAD_MAX);
    }
    assert_eq!(frame(&mut read).await.unwrap().unwrap().into_data().unwrap(), "answer");
    drop(read);
    let more = admission.admit(Pool::Questions, &caller).unwrap();
    assert_eq!(admission.held().calls.len(), of_one, "there was room without any of them");
    drop(admission.admit(Pool::Questions, &caller).unwrap());
    assert_eq!(admission.held().calls.len(), 1, "they gave way; what is being answered stays");
    let ended = frame(&mut unread[0]).await.unwrap().unwrap_err();
    assert_eq!((ended.code(), reason(&ended)), (Code::Aborted, "not-read"));
    drop((more, unread));
    assert_eq!(admission.under_way(), BTreeMap::new());
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_as_it_arrives() {
    let most = Pool::Questions.limits().bytes;
    let body = |bytes: usize| Body::new(Full::new(Bytes::from(vec![0; bytes])));
    let mut fits = bounded(Pool::Questions, body(most));
    assert_eq!(frame(&mut fits).await.unwrap().unwrap().into_data().unwrap().len(), most);
    let mut large = bounded(Pool::Questions, body(most + 1));
    let refused = frame(&mut large).await.unwrap().unwrap_err();
    assert_eq!((refused.code(), reason(&refused)), (Code::ResourceExhausted, "too-large"));
}
