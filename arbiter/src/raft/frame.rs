//! The frame around everything that is stored: version, checksum, protobuf. Knows no message.

use bytes::Bytes;
use prost::Message;
use thiserror::Error;

/// The version byte of this build's frames.
pub const FRAME_VERSION: u8 = 1;
/// Version byte and crc32c, little endian.
const HEAD_BYTES: usize = 5;

/// Why stored bytes cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Fewer bytes than a frame has.
    #[error("cut short at {0} bytes")]
    Short(usize),
    /// Written by another format.
    #[error("format version {found}, this build reads {FRAME_VERSION}")]
    Version {
        /// The version byte found.
        found: u8,
    },
    /// The disk gave back other bytes than were written.
    #[error("checksum mismatch: the bytes on disk are damaged")]
    Checksum,
    /// The checksum holds, the message does not.
    #[error("not the message expected here: {0}")]
    Message(String),
}

/// `message` in a frame.
pub fn seal(message: &impl Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD_BYTES + message.encoded_len());
    out.push(FRAME_VERSION);
    out.extend_from_slice(&[0; 4]);
    message.encode(&mut out).expect("a Vec grows");
    let crc = checksum(&out);
    out[1..HEAD_BYTES].copy_from_slice(&crc.to_le_bytes());
    out
}

/// The message in `frame`.
///
/// # Errors
/// [`FrameError`]; never a message that was not sealed.
pub fn open<M: Message + Default>(frame: &[u8]) -> Result<M, FrameError> {
    if frame.len() < HEAD_BYTES {
        return Err(FrameError::Short(frame.len()));
    }
    if frame[0] != FRAME_VERSION {
        return Err(FrameError::Version { found: frame[0] });
    }
    let stored = u32::from_le_bytes([frame[1], frame[2], frame[3], frame[4]]);
    if stored != checksum(frame) {
        return Err(FrameError::Checksum);
    }
    // Decoded from `Bytes`, so that a command is a slice of it and not another copy.
    M::decode(Bytes::copy_from_slice(&frame[HEAD_BYTES..]))
        .map_err(|error| FrameError::Message(error.to_string()))
}

/// Of the version byte and the body.
fn checksum(frame: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&frame[..1]), &frame[HEAD_BYTES..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use arbiter_proto::v1::LogPosition;

    #[test]
    fn what_was_sealed_comes_back_and_no_flipped_bit_does() {
        let message = LogPosition { term: 7, index: 1 << 40 };
        let frame = seal(&message);
        assert_eq!(open::<LogPosition>(&frame), Ok(message));
        for byte in 0..frame.len() {
            for bit in 0..8 {
                let mut damaged = frame.clone();
                damaged[byte] ^= 1 << bit;
                assert!(open::<LogPosition>(&damaged).is_err(), "byte {byte} bit {bit}");
            }
        }
        for len in 0..frame.len() {
            assert!(open::<LogPosition>(&frame[..len]).is_err(), "cut at {len}");
        }
    }
}
