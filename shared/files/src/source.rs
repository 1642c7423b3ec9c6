use std::{
    cell::Cell,
    io::{self, Read, Seek, SeekFrom, Write},
    rc::Rc,
    sync::Arc,
};

use stillpoint_model::{Error, Result};

/// The bytes of a disk, read at any place; a call blocks until they are there.
pub trait Source: Send + Sync {
    /// Size.
    fn size_bytes(&self) -> u64;

    /// Fills `buffer` from `offset` on.
    ///
    /// # Errors
    /// As whatever holds the bytes.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()>;
}

/// Read at once and kept, since file systems ask for few bytes here and few bytes there.
const BLOCK_BYTES: u64 = 64 * 1024;

/// A part of a [`Source`], for the parsers: a stream that can be moved in, and refuses to be written to. Copies share the budget and
/// what went wrong.
#[derive(Clone)]
pub struct Window {
    source: Arc<dyn Source>,
    start: u64,
    length: u64,
    at: u64,
    block: Rc<Block>,
    budget: Rc<Cell<u64>>,
    failure: Rc<Cell<Option<Error>>>,
}

#[derive(Default)]
struct Block {
    number: Cell<Option<u64>>,
    bytes: Cell<Vec<u8>>,
}

impl Window {
    /// `length` bytes of `source` from `start` on, as far as it reaches; without a budget yet.
    pub fn new(source: Arc<dyn Source>, start: u64, length: u64) -> Self {
        let start = start.min(source.size_bytes());
        let length = length.min(source.size_bytes() - start);
        Self { source, start, length, at: 0, block: Rc::default(), budget: Rc::default(), failure: Rc::default() }
    }

    /// Its size.
    #[must_use]
    pub const fn size_bytes(&self) -> u64 {
        self.length
    }

    /// Allows `bytes` to be read from here on: what makes a parser go round in circles ends it.
    pub fn allow(&self, bytes: u64) {
        self.budget.set(bytes);
        self.failure.set(None);
    }

    /// What the source answered, where a parser fails because it could not be read.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        self.failure.take()
    }

    /// Fills `buffer` from `offset` of the window on.
    ///
    /// # Errors
    /// `corrupt` beyond its end or budget; as the source.
    pub fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        let wanted = buffer.len() as u64;
        if offset.checked_add(wanted).is_none_or(|end| end > self.length) {
            return Err(Error::corrupt("the file system reaches beyond the end of its partition"));
        }
        let left = self.budget.get().checked_sub(wanted);
        self.budget.set(left.ok_or_else(|| Error::corrupt("the file system makes its reader go round in circles"))?);
        let mut done = 0;
        while done < buffer.len() {
            done += self.read_some(offset + done as u64, &mut buffer[done..])?;
        }
        Ok(())
    }

    /// At most to the end of a block, and whole blocks without keeping them.
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        let (number, skipped) = (offset / BLOCK_BYTES, (offset % BLOCK_BYTES) as usize);
        if skipped == 0 && buffer.len() as u64 >= BLOCK_BYTES {
            let whole = buffer.len() - buffer.len() % BLOCK_BYTES as usize;
            self.source.read_at(self.start + offset, &mut buffer[..whole])?;
            return Ok(whole);
        }
        let mut block = self.block.bytes.take();
        if self.block.number.replace(None) != Some(number) {
            let start = number * BLOCK_BYTES;
            block.resize((self.length - start).min(BLOCK_BYTES) as usize, 0);
            self.source.read_at(self.start + start, &mut block)?;
        }
        let taken = buffer.len().min(block.len() - skipped);
        buffer[..taken].copy_from_slice(&block[skipped..skipped + taken]);
        self.block.number.set(Some(number));
        self.block.bytes.set(block);
        Ok(taken)
    }

    /// As an error of the standard library, with the original kept aside.
    fn io(&self, error: Error) -> io::Error {
        let text = error.one_line();
        self.failure.set(Some(error));
        io::Error::other(text)
    }
}

impl Read for Window {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = (self.length.saturating_sub(self.at)).min(buffer.len() as u64) as usize;
        self.read_at(self.at, &mut buffer[..length]).map_err(|error| self.io(error))?;
        self.at += length as u64;
        Ok(length)
    }
}

impl Seek for Window {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
            SeekFrom::End(by) => self.length.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

/// `fatfs` asks for it and, reading, never uses it.
impl Write for Window {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ext4_view::Ext4Read for Window {
    fn read(&mut self, start: u64, buffer: &mut [u8]) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.read_at(start, buffer).map_err(|error| self.io(error).into())
    }
}
