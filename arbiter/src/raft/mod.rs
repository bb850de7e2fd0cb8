//! Consensus: openraft, its store and its transport. Knows terms, positions, peers and bytes; never
//! what a command means. The only place that names openraft.

mod change;
mod channel;
pub(crate) mod codec;
pub(crate) mod frame;
mod handle;
#[cfg_attr(not(feature = "rocksdb"), allow(dead_code, reason = "the file is the RocksDB store's"))]
mod identity;
mod leadership;
pub(crate) mod machine;
mod members;
mod network;
#[cfg(feature = "rocksdb")]
mod offline;
mod reads;
pub(crate) mod service;
#[cfg(feature = "simulated")]
mod simulated;
mod state;
#[cfg(any(feature = "rocksdb", feature = "simulated"))]
mod store;
#[cfg(all(test, feature = "rocksdb"))]
mod tests;
mod timing;
pub(crate) mod types;

/// How much of its log is worth reading, unless somebody asks for more.
pub const LOG_FILTER: &str = "openraft=error";

pub use change::{ChangeError, Members, Stage};
pub use handle::{OpenError, PROPOSAL_BYTES_MAX, ProposeError, RaftHandle, RaftOptions};
pub use identity::{Identity, IdentityError};
pub use leadership::Leadership;
pub use machine::{SnapshotStore, StateMachine};
pub use members::{InitializeError, PeerStatus, RaftStatus, TransferError};
#[cfg(feature = "rocksdb")]
pub use offline::{OfflineError, read as read_offline};
pub use reads::{Confirmed, ReadError};
pub use service::RaftService;
pub use state::{Applied, StateCell};
#[cfg(feature = "rocksdb")]
pub use store::StoreError;
#[cfg(feature = "simulated")]
pub use store::memory;
pub use timing::{
    ElectionWindow, VoterAt, WindowsDoNotFit, election_span_min, election_windows, voters,
};
