//! What agent and deadman say to each other, over a unix socket: a length, then JSON.
//!
//! Knows the messages and their framing. Never knows who is right: the deadman's machine judges.

use super::spawn::Place;
use crate::drivers::Command;
use arbiter_core::agent::Hold;
use arbiter_core::{GroupId, Instant, Timing};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// Version of these messages and of the state that a deadman hands to its next image.
pub const LINK_VERSION: u32 = 2;
/// Longest message in bytes; a longer one ends the connection.
pub const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// Bytes of the length in front of each message, least significant first.
const LENGTH_BYTES: usize = 4;

/// One thing that an agent asks. See `arbiter_core::agent::DeadmanEvent` for those that bear its
/// names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs, reason = "fields are named by their types")]
pub enum Ask {
    /// Everything that is held.
    Status,
    /// Make the group's cgroup and PID namespace, so that a server can be started there.
    Hold { group: GroupId },
    /// Have the group's reaper start a server: where there is one, nobody else can start something
    /// that it holds.
    Start { group: GroupId, program: Command },
    /// Hold an existing cgroup as well, such as a systemd unit's.
    Include { group: GroupId, cgroup: PathBuf },
    /// May kill from now on.
    Arm { group: GroupId },
    /// Only count from now on.
    Disarm { group: GroupId },
    /// The lease was renewed.
    Renew { group: GroupId, deadline: Instant, timing: Timing },
    /// Nothing in the group is writable any more.
    Clear { group: GroupId },
    /// Freeze what runs, alive.
    Pause { group: GroupId },
    /// Let it go on.
    Continue { group: GroupId },
    /// Kill what the group runs now, without freezing it.
    Kill { group: GroupId },
    /// Replace this deadman's image with this program, keeping everything it holds.
    Upgrade { program: PathBuf },
}

/// What an agent sends: asks that are carried out in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the agent; the answer carries it.
    pub id: u64,
    /// What is asked.
    pub asks: Vec<Ask>,
}

/// One group as the deadman holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Deadline and arming.
    pub hold: Hold,
    /// Where a server is to run; none before it was asked to hold.
    pub place: Option<Place>,
    /// Existing cgroups that are held as well.
    pub included: Vec<PathBuf>,
}

/// What the deadman answers, or tells unasked when it killed (id 0).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Of the request; 0: unasked.
    pub id: u64,
    /// See [`LINK_VERSION`].
    pub version: u32,
    /// Process id of the deadman.
    pub pid: i32,
    /// Where cgroup v2 is mounted for the deadman, whose view of mounts may differ from its
    /// agent's.
    pub mount: Option<PathBuf>,
    /// The groups asked about (all, for `Status`).
    pub groups: BTreeMap<GroupId, Held>,
    /// The first ask that failed, in one sentence; those after it were not carried out.
    pub error: Option<String>,
}

/// A message as it goes over the socket.
///
/// # Errors
/// `InvalidInput` when it is too long.
pub fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    let body = serde_json::to_vec(message)?;
    if body.len() > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
    }
    let mut bytes = (body.len() as u32).to_le_bytes().to_vec();
    bytes.extend(body);
    Ok(bytes)
}

/// Take the first whole message out of `buffer`; none while it is not all there.
///
/// # Errors
/// `InvalidData` when it is too long or not what it should be: the connection is of no more use.
pub fn decode<T: for<'a> Deserialize<'a>>(buffer: &mut Vec<u8>) -> io::Result<Option<T>> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > MESSAGE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the message is too long"));
    }
    let Some(body) = buffer.get(LENGTH_BYTES..LENGTH_BYTES + length) else { return Ok(None) };
    let message = serde_json::from_slice(body)?;
    buffer.drain(..LENGTH_BYTES + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_any_cut_and_nonsense_is_refused() {
        let request = Request { id: 7, asks: vec![Ask::Status, Ask::Kill { group: "g".into() }] };
        let bytes = encode(&request).unwrap();
        let mut buffer = Vec::new();
        for byte in &bytes[..bytes.len() - 1] {
            buffer.push(*byte);
            assert_eq!(decode::<Request>(&mut buffer).unwrap(), None);
        }
        buffer.push(bytes[bytes.len() - 1]);
        buffer.extend(&bytes);
        assert_eq!(decode(&mut buffer).unwrap(), Some(request.clone()));
        assert_eq!(decode(&mut buffer).unwrap(), Some(request));
        assert!(decode::<Request>(&mut vec![0xff; 8]).is_err());
        assert!(decode::<Request>(&mut vec![1, 0, 0, 0, b'{']).is_err());
    }
}
