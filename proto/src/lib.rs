//! The generated messages and services of package `arbiter.v1`: the wire, and what is on disk.
//!
//! Knows no core type: `arbiter/src/wire.rs` and `arbiter/src/raft` translate.

/// Package `arbiter.v1`.
#[allow(missing_docs, clippy::all, reason = "generated; the .proto files carry the comments")]
pub mod v1 {
    tonic::include_proto!("arbiter.v1");
}

/// The package described, for gRPC reflection: an encoded `FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/arbiter.v1.bin"));
