//! What is kept on disk and sent between arbiters: frames, entries, snapshots, votes.

use super::{Input, tells};
use arbiter::fuzzing::raft;
use arbiter_proto::v1 as pb;
use prost::Message;

/// What is read is written as the same; a frame with one bit flipped is none; a snapshot that this
/// build cannot read is refused in words.
pub fn target(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    match input.byte() % 5 {
        0 => framed(input.rest()),
        1 => entry(pb::LogEntry::decode(input.rest()).ok()),
        2 => snapshot(&mut input),
        3 => appended(input.rest()),
        _ => votes(input.rest()),
    }
}

fn framed(frame: &[u8]) {
    match raft::open::<pb::LogEntry>(frame) {
        Ok(found) => entry(Some(found)),
        Err(error) => tells(&error.to_string()),
    }
    // What is sealed is opened; with a bit flipped it is not.
    let stored =
        pb::StoredState { applied: None, state: frame.to_vec().into(), ..Default::default() };
    let mut sealed = raft::seal(&stored);
    assert_eq!(raft::open::<pb::StoredState>(&sealed).as_ref(), Ok(&stored));
    let at = frame.iter().fold(0usize, |sum, byte| sum * 31 % 65_521 + usize::from(*byte));
    let at = at % sealed.len();
    sealed[at] ^= 1 << (at % 8);
    assert!(raft::open::<pb::StoredState>(&sealed).is_err(), "a flipped bit at {at} is not seen");
}

fn entry(found: Option<pb::LogEntry>) {
    let Some(found) = found else { return };
    let read = match raft::entry_from(found) {
        Ok(read) => read,
        Err(error) => return tells(&error.to_string()),
    };
    let again = raft::entry_from(raft::entry_to(&read));
    assert_eq!(again.as_ref(), Ok(&read), "an entry is read back as another");
}

fn snapshot(input: &mut Input<'_>) {
    let meta = pb::SnapshotMeta::decode(input.line()).unwrap_or_default();
    let Ok(meta) = raft::meta_from(Some(&meta)) else { return };
    assert_eq!(
        raft::meta_from(Some(&raft::meta_to(&meta))).map(|m| m.last_log_id),
        Ok(meta.last_log_id)
    );
    let state = pb::StoredState {
        applied: meta
            .last_log_id
            .as_ref()
            .map(|at| pb::LogPosition { term: at.leader_id.term, index: at.index }),
        state: input.rest().to_vec().into(),
        ..Default::default()
    };
    match raft::decode_state(&meta, &raft::seal(&state)) {
        Ok(state) => super::survives_json(&state),
        Err(error) => tells(&error.to_string()),
    }
}

fn appended(bytes: &[u8]) {
    let Ok(ask) = pb::AppendRequest::decode(bytes) else { return };
    let prev = ask.prev;
    match raft::appended(prev.as_ref(), ask.entries) {
        Ok(entries) => {
            let mut next = prev.map_or(0, |prev| prev.index.saturating_add(1));
            for entry in entries {
                assert_eq!(entry.log_id.index, next, "a gap between entries");
                next = next.saturating_add(1);
            }
        }
        Err(status) => tells(status.message()),
    }
}

fn votes(bytes: &[u8]) {
    if let Ok(found) = pb::RaftVote::decode(bytes)
        && let Ok(vote) = raft::vote_from(Some(&found))
    {
        assert_eq!(raft::vote_to(&vote), found);
    }
    if let Ok(found) = pb::StoredMembership::decode(bytes)
        && let Ok(stored) = raft::stored_membership_from(Some(&found))
    {
        let again = raft::stored_membership_from(Some(&raft::stored_membership_to(&stored)));
        assert_eq!(again, Ok(stored));
    }
}
