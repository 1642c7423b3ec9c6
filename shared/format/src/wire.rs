//! Little-endian integers and length-checked slices.

use crate::{Error, Result};

/// Reads a structure from its first byte to its last; every read is checked.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    structure: &'static str,
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(structure: &'static str, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, structure }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(Error::malformed(self.structure, "it ends early"))?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Error::malformed(self.structure, "it ends early"))
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Result<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A text of at most `bytes_max` bytes behind its 16-bit length.
    pub(crate) fn text(&mut self, bytes_max: usize) -> Result<&'a str> {
        let length = usize::from(self.u16()?);
        if length > bytes_max {
            return Err(Error::Limit { structure: self.structure, limit: "length of a name" });
        }
        std::str::from_utf8(self.take(length)?).map_err(|_| Error::malformed(self.structure, "a name is not UTF-8"))
    }

    /// A 32-bit count of elements that take at least `element_bytes` each: refused before anything is allocated for them.
    pub(crate) fn count(&mut self, max: usize, element_bytes: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        if count > max {
            return Err(Error::Limit { structure: self.structure, limit: "number of elements" });
        }
        if count.saturating_mul(element_bytes) > self.rest.len() {
            return Err(Error::malformed(self.structure, "it ends early"));
        }
        Ok(count)
    }

    pub(crate) fn end(self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(Error::malformed(self.structure, "bytes follow its end")) }
    }
}

/// Appends to a structure.
#[derive(Default)]
pub(crate) struct Writer(pub(crate) Vec<u8>);

impl Writer {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.u16(u16::try_from(text.len()).expect("names are at most 200 bytes: checked where they are made"));
        self.bytes(text.as_bytes());
    }

    pub(crate) fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("counts are below 2^21: checked by the limits of each structure"));
    }
}
