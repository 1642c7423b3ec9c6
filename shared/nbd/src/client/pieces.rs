/// A part of a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    pub offset: u64,
    pub length: u64,
}

impl Piece {
    /// Its length, of a piece that fits in memory.
    pub const fn bytes(self) -> usize {
        self.length as usize
    }
}

/// Cuts a range into pieces of at most `most` bytes.
pub fn pieces(offset: u64, length: u64, most: u64) -> impl Iterator<Item = Piece> {
    let mut left = length;
    std::iter::from_fn(move || {
        let piece = Piece { offset: offset + (length - left), length: left.min(most) };
        left -= piece.length;
        (piece.length > 0).then_some(piece)
    })
}
