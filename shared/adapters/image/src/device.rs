//! What the kernel tells about block devices.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
};

use rustix::fs::{SeekFrom, major, minor, seek};

/// Columns of `/sys/dev/block/<major>:<minor>/stat` (Documentation/block/stat.rst).
const READ_REQUESTS: usize = 0;
const SECTORS_WRITTEN: usize = 6;
const SECTORS_DISCARDED: usize = 13;

/// Size in bytes.
pub(crate) fn size_bytes(device: &File) -> io::Result<u64> {
    Ok(seek(device, SeekFrom::End(0))?)
}

/// Sectors ever written to or discarded from the device `rdev`, once everything written before has been synced.
///
/// Two equal numbers show that nothing was written between, through this kernel and this device; writes to the whole
/// disk past its partition, or from another host to shared storage, are not seen. `None` when the kernel does not count.
pub(crate) fn sectors_written(device: &File, rdev: u64) -> Option<u64> {
    // From here on a device that is counted shows at least one read.
    device.read_at(&mut [0; 512], 0).ok()?;
    let folder = format!("/sys/dev/block/{}:{}", major(rdev), minor(rdev));
    // A partition has its disk's queue.
    let counts = fs::read_to_string(format!("{folder}/queue/iostats"))
        .or_else(|_| fs::read_to_string(format!("{folder}/../queue/iostats")))
        .is_ok_and(|switch| switch.trim() == "1");
    let columns = fs::read_to_string(format!("{folder}/stat")).ok()?;
    counts.then(|| written_of(&columns)).flatten()
}

fn written_of(columns: &str) -> Option<u64> {
    let columns: Vec<u64> = columns.split_ascii_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    // Some drivers keep no counts and show zeros.
    (*columns.get(READ_REQUESTS)? > 0).then_some(())?;
    Some(columns.get(SECTORS_WRITTEN)?.wrapping_add(columns.get(SECTORS_DISCARDED).copied().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_and_discarded_sectors_count_and_flushes_do_not() {
        let columns = "     210        0     6727       21      646     5775   257109      903        0      192      970        5        0      400        0       22       45\n";
        assert_eq!(written_of(columns), Some(257_509));
        assert_eq!(written_of("1 0 8 0 2 0 16 0 0 0 0"), Some(16), "kernels before 4.18 do not show discards");
        assert_eq!(written_of("0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0"), None, "a driver that does not count");
        assert_eq!(written_of(""), None);
    }
}
