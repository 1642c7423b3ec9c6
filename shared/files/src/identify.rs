use stillpoint_model::Result;

use crate::source::Window;

/// What is looked at: up to the magic of btrfs at 64 KiB.
const LOOK_BYTES: u64 = 68 * 1024;

/// What a partition or disk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content {
    /// ext2, ext3 or ext4.
    Ext(&'static str),
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// NTFS.
    Ntfs,
    /// Something that is known by name, and not read here.
    Other(&'static str),
    /// Nothing but zeros where file systems begin.
    Empty,
    /// Something else.
    Unknown,
}

impl Content {
    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ext(name) | Self::Other(name) => name,
            Self::Fat => "FAT",
            Self::Ntfs => "NTFS",
            Self::Empty => "empty",
            Self::Unknown => "unknown",
        }
    }

    /// Whether files can be read from it.
    #[must_use]
    pub const fn is_readable(self) -> bool {
        matches!(self, Self::Ext(_) | Self::Fat | Self::Ntfs)
    }
}

/// What is known by a few bytes at one place.
const MAGICS: [(u64, &[u8], &str); 16] = [
    (0, b"LUKS\xba\xbe", "LUKS"),
    (0, b"XFSB", "XFS"),
    (0, b"hsqs", "squashfs"),
    (3, b"EXFAT   ", "exFAT"),
    (3, b"-FVE-FS-", "BitLocker"),
    (3, b"ReFS\0", "ReFS"),
    (536, b"LVM2 001", "LVM"),
    (24, b"LVM2 001", "LVM"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (4086, b"SWAPSPACE2", "swap"),
    (4086, b"SWAP-SPACE", "swap"),
    (4096, b"\xfc\x4e\x2b\xa9", "Linux RAID"),
    (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "bcache"),
    (32769, b"CD001", "ISO 9660"),
    (32769, b"NSR0", "UDF"),
    (65600, b"_BHRfS_M", "btrfs"),
];

/// Says what a window holds, from its first bytes.
///
/// # Errors
/// As the source.
pub fn identify(window: &Window) -> Result<Content> {
    let mut bytes = vec![0; window.size_bytes().min(LOOK_BYTES) as usize];
    window.allow(LOOK_BYTES);
    window.read_at(0, &mut bytes)?;
    let at = |offset: u64, magic: &[u8]| bytes.get(offset as usize..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., name)) = MAGICS.iter().find(|(offset, magic, _)| at(*offset, magic)) {
        return Ok(Content::Other(name));
    }
    Ok(match () {
        () if at(1080, b"\x53\xef") => Content::Ext(ext(&bytes)),
        () if at(3, b"NTFS    ") => Content::Ntfs,
        () if is_fat(&bytes) => Content::Fat,
        () if bytes.iter().all(|byte| *byte == 0) => Content::Empty,
        () => Content::Unknown,
    })
}

/// Which ext it is: 4 has extents or something else of its own, 3 a journal.
fn ext(bytes: &[u8]) -> &'static str {
    let feature =
        |offset: usize| bytes.get(offset..offset + 4).map_or(0, |four| u32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    let (compatible, incompatible, read_only) = (feature(1024 + 0x5c), feature(1024 + 0x60), feature(1024 + 0x64));
    match () {
        () if incompatible & !0x1f != 0 || read_only & !0x7 != 0 => "ext4",
        () if compatible & 0x4 != 0 => "ext3",
        () => "ext2",
    }
}

fn is_fat(bytes: &[u8]) -> bool {
    let Some(sector) = bytes.get(..512) else { return false };
    let sector_bytes = u16::from_le_bytes([sector[11], sector[12]]);
    matches!(sector[0], 0xeb | 0xe9)
        && sector[510..] == [0x55, 0xaa]
        && [512, 1024, 2048, 4096].contains(&sector_bytes)
        && sector[13].is_power_of_two()
        && (1..=2).contains(&sector[16])
        && (&sector[54..57] == b"FAT" || &sector[82..85] == b"FAT")
}
