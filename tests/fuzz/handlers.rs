//! Every handler of a running arbiter: all RPCs through the real router, the operations port, and
//! agents' streams, in scripts of a few calls.

use super::calls;
use super::grpc::METHODS;
use super::rig::{CLUSTER, Rig, Stands, simulated};
use super::worlds::worlds;
use super::{Input, tells};
use arbiter::server::refusal::{NEXT, REASON};
use arbiter::wire;
use arbiter_core::{STATE_VERSION_MAX, State};
use arbiter_proto::v1 as pb;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use prost::Message;
use prost::bytes::Bytes;
use std::cell::Cell;
use std::sync::Once;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming};
use tower::ServiceExt;

/// Calls of one script.
const CALLS_MAX: usize = 12;
/// Longest body of the operations port.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Longest that a script waits altogether.
const WAIT_MAX: Duration = Duration::from_secs(120);
/// What a script may do beside calling a method.
pub const GET: usize = METHODS.len();
/// See [`GET`].
pub const WAIT: usize = GET + 1;
/// In a policy: what the leader itself would run on this host.
const RUNS: [&[u8]; 2] = [b"fence_command", b"fence_check"];

/// An arbiter of some State that leads, follows or is new answers whatever it is asked: no task of
/// it panics, whatever it refuses it refuses in words with what to do next, and afterwards it says
/// still which region is active.
pub fn target(bytes: &[u8]) {
    let before = panics();
    simulated(script(bytes));
    assert_eq!(panics(), before, "a task of the arbiter panicked");
}

thread_local! {
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// Panics of this thread so far: one of a task ends nothing but the task.
fn panics() -> u64 {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let former = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.set(PANICS.get() + 1);
            former(info);
        }));
    });
    PANICS.get()
}

struct Script {
    rig: Rig,
    operations: Option<axum::Router>,
    session: Option<(mpsc::UnboundedSender<Bytes>, Streaming<Bytes>)>,
    /// A peer spoke: what it says of log and term is believed.
    peer_spoke: bool,
    begun_as: Stands,
    waited: Duration,
}

async fn script(bytes: &[u8]) {
    let mut input = Input::new(bytes);
    let (state, stands) = begin(&mut input);
    let mut script = Script {
        rig: Rig::boot(&state, stands).await,
        operations: None,
        session: None,
        peer_spoke: false,
        begun_as: stands,
        waited: Duration::ZERO,
    };
    for _ in 0..CALLS_MAX {
        if input.is_over() || script.would_run() {
            break;
        }
        match input.below(WAIT + 1) {
            GET => script.get(input.part()).await,
            WAIT => script.wait(Duration::from_millis(input.number())).await,
            at => script.call(METHODS[at].0, &mut input).await,
        }
    }
    script.end().await;
}

/// The first two bytes: which State, how the arbiter stands, and whether State is of the newest
/// version.
fn begin(input: &mut Input<'_>) -> (State, Stands) {
    let at = input.below(worlds().len());
    let how = input.below(8);
    let stands = [Stands::Leads, Stands::Leads, Stands::Follows, Stands::New][how % 4];
    let mut state = worlds()[at].clone();
    if state.cluster_id.is_none() {
        return (worlds()[1].clone(), Stands::New);
    }
    if how < 4 {
        state.version = STATE_VERSION_MAX;
    }
    for group in state.spec.groups.values_mut() {
        group.policy.external_fence.clear();
    }
    (state, stands)
}

impl Script {
    /// Whether the leader might run a program of this host: then nothing more happens.
    fn would_run(&self) -> bool {
        let state = self.rig.state();
        state.spec.groups.values().any(|group| !group.policy.external_fence.is_empty())
    }

    async fn wait(&mut self, time: Duration) {
        let time = time.min(WAIT_MAX.saturating_sub(self.waited));
        self.waited += time;
        sleep(time).await;
    }

    async fn call(&mut self, method: &str, input: &mut Input<'_>) {
        match method {
            "Agent.Session" => self.report(input).await,
            "Raft.Snapshot" => {
                self.peer_spoke = true;
                let (head, data) = (input.part(), input.part());
                let parts = whole_snapshot(head, data);
                self.asked(method, parts).await;
            }
            _ => {
                self.peer_spoke |= method.starts_with("Raft.");
                let message = input.part();
                if !RUNS.iter().any(|word| message.windows(word.len()).any(|at| at == *word)) {
                    self.asked(method, vec![Bytes::copy_from_slice(message)]).await;
                }
            }
        }
    }

    async fn asked(&self, method: &str, messages: Vec<Bytes>) {
        let opened = calls::open(&self.rig, method, futures::stream::iter(messages)).await;
        let answers = match opened {
            Ok(mut answers) => calls::read(&mut answers).await,
            Err(refused) => Err(refused),
        };
        match answers {
            Ok(answers) => answers.iter().for_each(|answer| answered(method, answer)),
            Err(status) => self.refused(method, &status),
        }
    }

    /// One Report on a stream: on the one that is open, or on a new one.
    async fn report(&mut self, input: &mut Input<'_>) {
        const METHOD: &str = "Agent.Session";
        let anew = input.flip();
        let report = Bytes::copy_from_slice(input.part());
        if anew || self.session.is_none() {
            let (sender, receiver) = mpsc::unbounded_channel();
            let reports = UnboundedReceiverStream::new(receiver);
            match calls::open(&self.rig, METHOD, reports).await {
                Ok(directives) => self.session = Some((sender, directives)),
                Err(status) => return self.refused(METHOD, &status),
            }
        }
        let Some((sender, directives)) = &mut self.session else { return };
        // Where the arbiter ended it, that is read below.
        let _ = sender.send(report);
        match calls::read(directives).await {
            Ok(directives) => directives.iter().for_each(|directive| {
                let read = pb::Directive::decode(directive.clone()).expect("a Directive");
                wire::directive_from_proto(read).expect("an agent understands it");
            }),
            Err(status) => {
                self.session = None;
                self.refused(METHOD, &status);
            }
        }
    }

    /// Words, a reason and what to do next; between arbiters words are enough.
    fn refused(&self, method: &str, status: &Status) {
        let said = format!("{method}: {status:?}");
        assert!(!status.message().trim().is_empty(), "refused without words: {said}");
        let garbled = status.code() == Code::Internal && status.message().contains("decode");
        if garbled || method.starts_with("Raft.") {
            return;
        }
        for trailer in [REASON, NEXT] {
            let text = status.metadata().get(trailer).and_then(|text| text.to_str().ok());
            assert!(text.is_some_and(|text| !text.trim().is_empty()), "no {trailer}: {said}");
        }
    }

    async fn get(&mut self, path: &[u8]) {
        let path = format!("/{}", String::from_utf8_lossy(path).trim_start_matches('/'));
        let Ok(request) = Request::get(path.as_str()).body(Body::empty()) else { return };
        let operations = self.operations.get_or_insert_with(|| self.rig.operations()).clone();
        let response = operations.oneshot(request).await.expect("it never fails");
        let status = response.status();
        let body = to_bytes(response.into_body(), BODY_BYTES_MAX).await.expect("a body");
        let expected = [
            StatusCode::OK,
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        assert!(expected.contains(&status), "{path}: {status}");
        let text = std::str::from_utf8(&body).expect("text");
        if let Ok(json) = serde_json::from_str::<serde_json::Value>(text)
            && status != StatusCode::OK
        {
            tells(json["reason"].as_str().unwrap_or_default());
            tells(json["message"].as_str().unwrap_or_default());
        }
    }

    /// It answers still, whatever came.
    async fn end(mut self) {
        const METHOD: &str = "Query.GetActiveRegion";
        let asked = Bytes::from(pb::GetActiveRegionRequest::default().encode_to_vec());
        let opened = calls::open(&self.rig, METHOD, futures::stream::iter([asked])).await;
        let answers = match opened {
            Ok(mut answers) => calls::read(&mut answers).await,
            Err(refused) => Err(refused),
        };
        self.session = None;
        let leads = self.begun_as == Stands::Leads && !self.peer_spoke;
        match answers {
            Ok(answers) => {
                let answer = answers.first().expect("an answer").clone();
                let active = pb::ActiveRegion::decode(answer).expect("an active region");
                assert!(!leads || !active.leader.is_empty(), "nobody leads: {active:?}");
            }
            Err(status) => {
                self.refused(METHOD, &status);
                assert!(!leads || !self.rig.knows("default"), "{CLUSTER} is gone: {status:?}");
            }
        }
    }
}

/// An answer is what the method answers.
fn answered(method: &str, answer: &[u8]) {
    let (.., speaks) = METHODS.iter().find(|(name, ..)| *name == method).expect("a method");
    speaks(answer);
}

/// A snapshot that is sent whole, whatever it says.
fn whole_snapshot(head: &[u8], data: &[u8]) -> Vec<Bytes> {
    use pb::snapshot_part::Part;
    let mut head = pb::SnapshotHead::decode(head).unwrap_or_default();
    head.bytes = data.len() as u64;
    let tail = pb::SnapshotTail { crc32c: arbiter::fuzzing::raft::crc32c(data) };
    let chunk = Bytes::copy_from_slice(data);
    let parts = [Part::Head(head), Part::Chunk(chunk), Part::Tail(tail)];
    parts.map(|part| pb::SnapshotPart { part: Some(part) }.encode_to_vec().into()).into()
}
