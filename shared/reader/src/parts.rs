use std::{collections::BTreeMap, ops::Range};

use bytes::{Bytes, BytesMut};
use stillpoint_model::{Error, Result, geometry::CHUNK_BYTES};

use crate::{disk::chunk_range, frames::Coming, pages::Page};

/// The part of a read that lies in one page.
pub struct Part {
    /// First byte of the page.
    pub start: u64,
    /// The bytes that are read.
    pub bytes: Range<u64>,
    /// The page and its frames that hold them; `None` where all is zero.
    pub page: Option<(Page, BTreeMap<u16, Coming>)>,
}

impl Part {
    /// Waits for the bytes and puts them in their place.
    pub async fn collect(self, pieces: &mut Pieces) -> Result<()> {
        let Some((page, coming)) = self.page else {
            pieces.zeros((self.bytes.end - self.bytes.start) as usize);
            return Ok(());
        };
        let mut frames = BTreeMap::new();
        for (number, frame) in coming {
            frames.insert(number, frame.frame().await?);
        }
        let mut at = self.bytes.start;
        while at < self.bytes.end {
            let index = ((at - self.start) / CHUNK_BYTES) as usize;
            let Some(entry) = &page.entries[index] else {
                let chunk = chunk_range(self.start, index, &self.bytes);
                pieces.zeros((chunk.end - chunk.start) as usize);
                at = chunk.end;
                continue;
            };
            let frame = frames.get(&entry.frame).ok_or_else(|| Error::internal("a frame was not fetched"))?;
            let skipped = (at - self.start) % CHUNK_BYTES;
            let together = frame.bytes_from(index)?.slice(skipped as usize..);
            let length = (self.bytes.end - at).min(together.len() as u64);
            pieces.bytes(together.slice(..length as usize));
            at += length;
        }
        Ok(())
    }
}

/// Puts bytes together; what lies in one piece is not copied.
pub struct Pieces {
    length: usize,
    only: Option<Bytes>,
    joined: BytesMut,
}

impl Pieces {
    /// For `length` bytes in all.
    pub fn new(length: usize) -> Self {
        Self { length, only: None, joined: BytesMut::new() }
    }

    /// Adds bytes.
    pub fn bytes(&mut self, piece: Bytes) {
        if piece.len() == self.length {
            self.only = Some(piece);
        } else {
            self.joined.reserve(self.length - self.joined.len());
            self.joined.extend_from_slice(&piece);
        }
    }

    /// Adds zeros.
    pub fn zeros(&mut self, length: usize) {
        let end = self.joined.len() + length;
        self.joined.reserve(self.length - self.joined.len());
        self.joined.resize(end, 0);
    }

    /// All of them.
    pub fn end(self) -> Bytes {
        self.only.unwrap_or_else(|| self.joined.freeze())
    }
}
