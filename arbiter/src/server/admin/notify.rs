//! A test of the receivers of events, sent by the leader: from where events are sent.

use super::change::{NAME_BYTES_MAX, by};
use crate::server::{Face, refusal};
use arbiter_proto::v1 as pb;
use tonic::Status;

impl Face {
    /// Nothing is changed and nothing is logged: it says only what became of each post.
    pub(super) async fn test_notify(
        &self,
        request: &pb::TestNotifyRequest,
    ) -> Result<pb::TestNotifyResponse, Status> {
        if request.by.len() > NAME_BYTES_MAX {
            let text = format!("by has {} bytes, more than {NAME_BYTES_MAX}", request.by.len());
            return Err(refusal::invalid("too-long", text, "shorten it"));
        }
        let by = by(&request.by);
        let deliveries = self.notifier.test(&by).await.into_iter().map(|one| pb::Delivery {
            receiver: one.receiver.to_owned(),
            url: one.place,
            delivered: one.why.is_none(),
            why: one.why.unwrap_or_default(),
            took_ms: u64::try_from(one.took.as_millis()).unwrap_or(u64::MAX),
        });
        let sent_by = self.raft.name().to_owned();
        Ok(pb::TestNotifyResponse { sent_by, deliveries: deliveries.collect() })
    }
}
