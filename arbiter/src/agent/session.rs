//! The stream to an arbiter: any arbiter relays to the leader, so each is tried in turn, and one
//! that brings no answer is left for the next.
//!
//! Knows addresses and messages. Never knows what a Report says, nor what a Directive asks.

use crate::clock;
use crate::tls::Dialer;
use crate::wire::directive_from_proto;
use arbiter_core::Directive;
use arbiter_proto::v1::agent_client::AgentClient;
use arbiter_proto::v1::{self as pb};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;
use tonic::transport::Channel;

/// Reports that wait for the connection. A new one is dropped when it is full.
const REPORTS_WAITING_MAX: usize = 4;
/// First wait after every arbiter was tried in vain; doubled up to the renewal period.
const BACK_OFF_FIRST: Duration = Duration::from_millis(50);
/// An arbiter that lives, but brings no answer, is left for the next after so many renewal periods:
/// its own link to the leader may be cut. They fit into L − F, so that one broken link fences
/// nobody; and since it follows the leader by itself, most elections end within them.
const SILENT_RENEWALS: u32 = 3;
/// One that is lost itself is left sooner: it opens no stream within a renewal period, or answers
/// no HTTP/2 ping within one, and a ping is sent after this part of a period without a word.
const PING_PARTS: u32 = 2;

/// What the agent's loop is told.
#[derive(Debug)]
pub enum Told {
    /// A stream is up: send Reports here. The first is due now.
    Up(mpsc::Sender<pb::Report>),
    /// It went.
    Down,
    /// The leader spoke.
    Directive(Directive),
}

/// Keep a stream to one of `arbiters` up, as they are known by then, until the agent ends.
pub async fn run(
    arbiters: watch::Receiver<Vec<String>>,
    dialer: Dialer,
    renewal: Duration,
    told: mpsc::Sender<Told>,
) {
    let mut wait = BACK_OFF_FIRST;
    loop {
        let mut served = false;
        let known = arbiters.borrow().clone();
        for arbiter in &known {
            served |= serve(arbiter, &dialer, renewal, &told).await;
            if told.send(Told::Down).await.is_err() {
                return;
            }
        }
        wait = if served { BACK_OFF_FIRST } else { (wait * 2).min(renewal) };
        sleep(wait).await;
    }
}

/// A connection within a renewal period.
async fn dialled(arbiter: &str, dialer: &Dialer, renewal: Duration) -> Option<Channel> {
    let Ok(endpoint) = Dialer::endpoint(arbiter) else {
        tracing::error!(arbiter, "not an address of an arbiter");
        return None;
    };
    let endpoint = endpoint
        .connect_timeout(renewal)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(renewal / PING_PARTS)
        .keep_alive_timeout(renewal);
    match timeout(renewal, dialer.connect(&endpoint)).await {
        Ok(Ok(channel)) => Some(channel),
        Ok(Err(error)) => {
            tracing::debug!(arbiter, %error, "not reached");
            None
        }
        Err(_) => None,
    }
}

/// One stream from its beginning to its end. Says whether anything was heard on it.
async fn serve(
    arbiter: &str,
    dialer: &Dialer,
    renewal: Duration,
    told: &mpsc::Sender<Told>,
) -> bool {
    let Some(channel) = dialled(arbiter, dialer, renewal).await else { return false };
    let (reports, outgoing) = mpsc::channel(REPORTS_WAITING_MAX);
    // The stream opens with the first Report in it: an arbiter may answer the call only then.
    if told.send(Told::Up(reports)).await.is_err() {
        return false;
    }
    let mut client = AgentClient::new(channel);
    let call = client.session(ReceiverStream::new(outgoing));
    let mut incoming = match timeout(renewal, call).await {
        Ok(Ok(response)) => response.into_inner(),
        Ok(Err(status)) => {
            // What an operator mends is said; the rest passes.
            if matches!(status.code(), Code::PermissionDenied | Code::Unauthenticated) {
                tracing::warn!(arbiter, %status, "the session was refused");
            } else {
                tracing::debug!(arbiter, %status, "the session was refused");
            }
            return false;
        }
        Err(_) => return false,
    };
    let mut heard = false;
    // Only an answer shows that Reports arrive: orders that are pushed may come the other way
    // alone.
    let mut answered = clock::now();
    loop {
        let left = (renewal * SILENT_RENEWALS).saturating_sub(clock::now().since(answered));
        let directive = match timeout(left, incoming.message()).await {
            Ok(Ok(Some(directive))) => directive,
            Ok(Ok(None)) => return heard,
            Ok(Err(status)) => {
                tracing::info!(arbiter, %status, "lost: trying the next arbiter");
                return heard;
            }
            Err(_) => {
                tracing::info!(arbiter, "no answer: trying the next arbiter");
                return heard;
            }
        };
        match directive_from_proto(directive) {
            Ok(directive) => {
                if directive.answers.is_some() {
                    answered = clock::now();
                }
                heard = true;
                if told.send(Told::Directive(directive)).await.is_err() {
                    return heard;
                }
            }
            Err(error) => {
                tracing::warn!(arbiter, %error, "a directive that makes no sense");
                return heard;
            }
        }
    }
}
