//! Calls that never became commands, and what was done outside the log, on their way into it: a
//! queue with a limit, and who carries it to the leader. Knows no call in particular.

use crate::clock;
use crate::leader::Route;
use crate::server::admin::by;
use crate::server::peers::forwarded;
use crate::server::{Face, refusal};
use arbiter_core::{By, Command, GroupId, Instant, Proposal, RequestId, WallMillis};
use arbiter_proto::v1 as pb;
use pb::vantage_client::VantageClient;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::{Code, Status};

/// Notes that wait; more are counted only.
const WAITING_MAX: usize = 256;
/// As many at once, then one in [`NOTE_EVERY`]: a flood of refused calls is no flood of entries.
const BURST_MAX: u32 = 30;
/// See [`BURST_MAX`].
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// Time limit of handing notes to the leader.
const CARRY_LIMIT: Duration = Duration::from_secs(3);
/// Pause before a note that was not taken is tried again.
const CARRY_AGAIN: Duration = Duration::from_millis(500);
/// Notes that an arbiter may hand over in one message.
const HANDED_MAX: usize = 16;
/// Longest field of a note that comes from another arbiter, in bytes.
const FIELD_BYTES_MAX: usize = 8192;

/// A call, as the audit log names it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Call<'a> {
    /// Such as `set-mode`.
    pub name: &'a str,
    /// The group asked for; empty: the cluster.
    pub group: &'a str,
    /// Who asks and why, as they say it.
    pub asked: Option<&'a pb::Asked>,
    /// Its particulars.
    pub detail: &'a str,
}

/// What waits for its way into the log.
#[derive(Default)]
pub struct Notes {
    held: Mutex<Held>,
    wake: Notify,
    made: AtomicU64,
}

#[derive(Default)]
struct Held {
    waiting: VecDeque<pb::CallNote>,
    /// Not noted since the last that was.
    left_out: u64,
    spent: u32,
    since: Option<Instant>,
}

impl Held {
    /// Whether one more may be noted at `now`.
    fn admits(&mut self, now: Instant) -> bool {
        let since = *self.since.get_or_insert(now);
        let earned = now.since(since).as_millis() / NOTE_EVERY.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.spent = self.spent.saturating_sub(earned);
            self.since = Some(now);
        }
        if self.spent >= BURST_MAX || self.waiting.len() >= WAITING_MAX {
            self.left_out += 1;
            return false;
        }
        self.spent += 1;
        true
    }
}

impl Notes {
    fn add(&self, mut note: pb::CallNote, now: Instant) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.admits(now) {
            return;
        }
        let left_out = std::mem::take(&mut held.left_out);
        if left_out > 0 {
            let more = format!("{left_out} refused calls before it were not noted");
            note.detail =
                if note.detail.is_empty() { more } else { format!("{}; {more}", note.detail) };
        }
        held.waiting.push_back(note);
        drop(held);
        self.wake.notify_one();
    }

    fn first(&self) -> Vec<pb::CallNote> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.waiting.iter().take(HANDED_MAX).cloned().collect()
    }

    fn taken(&self, count: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = count.min(held.waiting.len());
        held.waiting.drain(..count);
    }
}

impl Face {
    /// For the audit log: `caller` may not make this call. The outer layers call it, on any
    /// arbiter; it returns at once.
    pub fn refused(&self, caller: &str, call: &str, why: &str) {
        if self.before_audit() {
            return;
        }
        let call = Call { name: call, ..Call::default() };
        let note = pb::CallNote { who: cut(caller.to_owned()), ..self.note_of(&call, why) };
        self.notes.add(note, clock::now());
    }

    /// The end of `work`; where it is a refusal that no log entry tells of, the audit log does.
    pub(in crate::server) async fn audited<T>(
        &self,
        call: &Call<'_>,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<T, Status> {
        let ended = work.await;
        if let Err(status) = &ended {
            self.note_refusal(call, status);
        }
        ended
    }

    fn note_refusal(&self, call: &Call<'_>, status: &Status) {
        let undecided = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown];
        if undecided.contains(&status.code()) {
            return;
        }
        let request = call.asked.map_or("", |asked| &asked.request_id);
        if self.state().requests.contains_key(&RequestId(request.to_owned())) {
            return;
        }
        let reason = status.metadata().get(refusal::REASON).and_then(|text| text.to_str().ok());
        self.note_later(call, reason.unwrap_or("refused"));
    }

    /// There is no audit log before every arbiter can keep it: see `Command::version`.
    fn before_audit(&self) -> bool {
        let command = Command::NoteCall {
            call: String::new(),
            group: None,
            detail: String::new(),
            result: String::new(),
        };
        self.state().version < command.version()
    }

    fn note_later(&self, call: &Call<'_>, result: &str) {
        if self.before_audit() {
            return;
        }
        self.notes.add(self.note_of(call, result), clock::now());
    }

    /// Before or after something that is done outside the log: when this returns, the audit log
    /// has it.
    ///
    /// # Errors
    /// It could not be written: what is to be recorded first must not be done.
    pub(in crate::server) async fn note(
        &self,
        call: &Call<'_>,
        result: &str,
    ) -> Result<u64, Status> {
        if self.before_audit() {
            return Ok(0);
        }
        let note = self.note_of(call, result);
        let proposal = proposal(&note);
        match self.raft.propose(&proposal).await {
            Ok(Ok(index)) => Ok(index),
            Ok(Err(refused)) => Err(refusal::rejected(&refused)),
            Err(error) => Err(refusal::unproposed(&error)),
        }
    }

    fn note_of(&self, call: &Call<'_>, result: &str) -> pb::CallNote {
        let asked = call.asked.cloned().unwrap_or_default();
        // An id of its own: what becomes of the call itself is kept under the asker's.
        let number = self.notes.made.fetch_add(1, Ordering::Relaxed);
        let request_id = format!("note-{}-{}-{number}", self.raft.name(), clock::wall().0);
        pb::CallNote {
            request_id,
            who: cut(by(&asked.by)),
            call: cut(call.name.to_owned()),
            group: cut(call.group.to_owned()),
            detail: cut(call.detail.to_owned()),
            result: cut(result.to_owned()),
            wall_ms: clock::wall().0,
            reason: cut(asked.reason),
        }
    }

    /// Notes of another arbiter, into the log.
    pub(in crate::server) async fn take_notes(
        &self,
        notes: pb::Notes,
    ) -> Result<pb::Noted, Status> {
        let mut log_index = 0;
        for note in notes.notes.into_iter().take(HANDED_MAX) {
            let proposal = proposal(&note);
            log_index = match self.raft.propose(&proposal).await {
                Ok(Ok(index)) => index,
                Ok(Err(refused)) => return Err(refusal::rejected(&refused)),
                Err(error) => return Err(refusal::unproposed(&error)),
            };
        }
        Ok(pb::Noted { log_index })
    }

    async fn hand_over(&self, notes: Vec<pb::CallNote>) -> Result<(), Status> {
        let notes = pb::Notes {
            cluster_id: self.cluster_id.clone(),
            arbiter: self.raft.name().to_owned(),
            notes,
        };
        let route = self.leader.route().borrow().clone();
        match route {
            Route::Here(_) => self.take_notes(notes).await.map(drop),
            Route::To { address, .. } => {
                let mut client = VantageClient::new(self.peers.channel(&address)?);
                client.note(forwarded(notes, CARRY_LIMIT)).await.map(drop)
            }
            Route::Nowhere => Err(refusal::no_leader()),
        }
    }
}

fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(FIELD_BYTES_MAX);
    text.truncate(end);
    text
}

fn proposal(note: &pb::CallNote) -> Proposal {
    let text = |text: &String| cut(text.clone());
    Proposal {
        request: Some(RequestId(text(&note.request_id))),
        by: By::Operator(text(&note.who)),
        reason: text(&note.reason),
        wall: WallMillis(note.wall_ms),
        command: Command::NoteCall {
            call: text(&note.call),
            group: (!note.group.is_empty()).then(|| GroupId(text(&note.group))),
            detail: text(&note.detail),
            result: text(&note.result),
        },
    }
}

/// Carry what waits to the leader, for ever: at least once, and each id is done once.
pub async fn carry(face: Arc<Face>) {
    loop {
        let notes = face.notes.first();
        if notes.is_empty() {
            face.notes.wake.notified().await;
            continue;
        }
        let count = notes.len();
        match face.hand_over(notes).await {
            Ok(()) => face.notes.taken(count),
            // Before a cluster has begun there is no log to be in.
            Err(status) if status.code() == Code::FailedPrecondition => face.notes.taken(count),
            Err(status) => {
                tracing::debug!(%status, "refused calls are not in the audit log yet");
                tokio::time::sleep(CARRY_AGAIN).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(detail: &str) -> pb::CallNote {
        pb::CallNote { detail: detail.to_owned(), ..pb::CallNote::default() }
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let notes = Notes::default();
        let start = Instant::from_millis(5_000);
        for n in 0..BURST_MAX + 70 {
            notes.add(note(&n.to_string()), start);
        }
        assert_eq!(notes.held.lock().unwrap().waiting.len(), BURST_MAX as usize);
        notes.add(note("later"), start + NOTE_EVERY);
        let held = notes.held.lock().unwrap();
        let last = held.waiting.back().unwrap();
        assert_eq!(last.detail, "later; 70 refused calls before it were not noted");
        assert_eq!(held.left_out, 0);
    }

    #[test]
    fn they_are_handed_over_in_order_and_once_taken_gone() {
        let notes = Notes::default();
        for n in 0..20 {
            notes.add(note(&n.to_string()), Instant::from_millis(5_000));
        }
        let first = notes.first();
        assert_eq!((first.len(), first[0].detail.as_str()), (HANDED_MAX, "0"));
        notes.taken(first.len());
        assert_eq!(notes.first().len(), 20 - HANDED_MAX);
    }
}
