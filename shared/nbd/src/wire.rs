//! Numbers of the protocol, and the layouts that both sides use.

use bytes::{Buf, BufMut};
use stillpoint_model::{Error, ErrorKind};

pub const MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
pub const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");
pub const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;
pub const REQUEST_MAGIC: u32 = 0x2560_9513;
pub const SIMPLE_MAGIC: u32 = 0x6744_6698;
pub const STRUCTURED_MAGIC: u32 = 0x668e_33ef;

/// Of the handshake, by both sides.
pub const FIXED_NEWSTYLE: u16 = 1;
pub const NO_ZEROES: u16 = 2;

pub const OPTION_EXPORT_NAME: u32 = 1;
pub const OPTION_ABORT: u32 = 2;
pub const OPTION_LIST: u32 = 3;
pub const OPTION_STARTTLS: u32 = 5;
pub const OPTION_INFO: u32 = 6;
pub const OPTION_GO: u32 = 7;
pub const OPTION_STRUCTURED_REPLY: u32 = 8;
pub const OPTION_LIST_META_CONTEXT: u32 = 9;
pub const OPTION_SET_META_CONTEXT: u32 = 10;

pub const REPLY_ACK: u32 = 1;
pub const REPLY_SERVER: u32 = 2;
pub const REPLY_INFO: u32 = 3;
pub const REPLY_META_CONTEXT: u32 = 4;
/// Set in every reply that is a refusal.
pub const REPLY_ERROR: u32 = 1 << 31;
pub const REPLY_UNSUPPORTED: u32 = REPLY_ERROR | 1;
pub const REPLY_POLICY: u32 = REPLY_ERROR | 2;
pub const REPLY_INVALID: u32 = REPLY_ERROR | 3;
pub const REPLY_TLS_REQUIRED: u32 = REPLY_ERROR | 5;
pub const REPLY_UNKNOWN: u32 = REPLY_ERROR | 6;

pub const INFO_EXPORT: u16 = 0;
pub const INFO_BLOCK_SIZE: u16 = 3;

pub const HAS_FLAGS: u16 = 1;
pub const READ_ONLY: u16 = 1 << 1;
pub const SEND_FLUSH: u16 = 1 << 2;
pub const SEND_FUA: u16 = 1 << 3;
pub const SEND_TRIM: u16 = 1 << 5;
pub const SEND_WRITE_ZEROES: u16 = 1 << 6;
pub const SEND_DF: u16 = 1 << 7;
pub const CAN_MULTI_CONN: u16 = 1 << 8;

pub const READ: u16 = 0;
pub const WRITE: u16 = 1;
pub const DISCONNECT: u16 = 2;
pub const FLUSH: u16 = 3;
pub const TRIM: u16 = 4;
pub const WRITE_ZEROES: u16 = 6;
pub const BLOCK_STATUS: u16 = 7;

/// Flag of a request that changes something: it is on disk before the reply.
pub const FUA: u16 = 1;
/// Flag of a request to write zeroes: no hole may be made.
pub const NO_HOLE: u16 = 1 << 1;
/// Flag of a read: the reply is one chunk.
pub const NO_FRAGMENTS: u16 = 1 << 2;
/// Flag of a request for runs: one is enough.
pub const ONE_RUN: u16 = 1 << 3;

/// Error numbers; the protocol fixes them, and they are those of Linux.
pub const EPERM: u32 = 1;
pub const EIO: u32 = 5;
pub const EINVAL: u32 = 22;
pub const ENOSPC: u32 = 28;

/// Flag of a chunk: the last of its reply.
pub const DONE: u16 = 1;
pub const CHUNK_NONE: u16 = 0;
pub const CHUNK_DATA: u16 = 1;
pub const CHUNK_HOLE: u16 = 2;
pub const CHUNK_BLOCK_STATUS: u16 = 5;
/// Set in every chunk that is an error.
pub const CHUNK_ERROR: u16 = 1 << 15;
pub const CHUNK_ERROR_OFFSET: u16 = CHUNK_ERROR | 2;

/// Longest name of an export or a context.
pub const NAME_BYTES_MAX: usize = 4096;
/// Most that one request reads or writes where the two sides agree on nothing else.
pub const PAYLOAD_BYTES_MAX: u32 = 32 << 20;

pub const REQUEST_BYTES: usize = 28;

/// The fixed part of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    pub flags: u16,
    pub command: u16,
    pub cookie: u64,
    pub offset: u64,
    pub length: u32,
}

impl Request {
    pub fn put(&self, into: &mut impl BufMut) {
        into.put_u32(REQUEST_MAGIC);
        into.put_u16(self.flags);
        into.put_u16(self.command);
        into.put_u64(self.cookie);
        into.put_u64(self.offset);
        into.put_u32(self.length);
    }

    /// None for what does not begin as a request.
    pub fn get(from: &mut impl Buf) -> Option<Self> {
        if from.remaining() < REQUEST_BYTES || from.get_u32() != REQUEST_MAGIC {
            return None;
        }
        let (flags, command, cookie) = (from.get_u16(), from.get_u16(), from.get_u64());
        Some(Self { flags, command, cookie, offset: from.get_u64(), length: from.get_u32() })
    }
}

/// The next `N`-byte number of a message, or that there is none.
macro_rules! take {
    ($($name:ident: $number:ty = $get:ident),* $(,)?) => {
        $(pub fn $name(from: &mut &[u8]) -> Option<$number> {
            (from.len() >= size_of::<$number>()).then(|| from.$get())
        })*
    };
}

take! { take_u16: u16 = get_u16, take_u32: u32 = get_u32, take_u64: u64 = get_u64 }

/// The error of a number from the wire with what the server said about it.
pub fn failure(errno: u32, said: &[u8]) -> Error {
    let (kind, what) = match errno {
        EPERM | 13 => (ErrorKind::Denied, "not permitted"),
        EIO => (ErrorKind::Unavailable, "input/output error"),
        12 => (ErrorKind::Unavailable, "out of memory"),
        EINVAL => (ErrorKind::Invalid, "invalid request"),
        ENOSPC => (ErrorKind::Unavailable, "no space"),
        75 => (ErrorKind::Invalid, "too large a request"),
        95 => (ErrorKind::Invalid, "not supported"),
        108 => (ErrorKind::Unavailable, "shutting down"),
        _ => (ErrorKind::Unavailable, "error"),
    };
    Error::new(kind, format!("server: {what} ({errno}){}", quoted(said)))
}

/// What the other side said, as the end of a message; nothing where it said nothing.
pub fn quoted(said: &[u8]) -> String {
    const SHOWN_MAX: usize = 200;
    if said.is_empty() {
        return String::new();
    }
    let said = String::from_utf8_lossy(&said[..said.len().min(4 * SHOWN_MAX)]).into_owned();
    let shown: String = said.chars().take(SHOWN_MAX).flat_map(char::escape_debug).collect();
    format!(": '{shown}'")
}
