/// Bytes that one segment in flight may hold: a page of disk, a pack, map pages and frames.
const SEGMENT_MEMORY_BYTES: u64 = 112 << 20;
/// Bytes that all segments in flight may hold by default.
const MEMORY_BYTES_DEFAULT: u64 = 384 << 20;

/// Segments to work on at once: one more than there are processors, so that one may wait for its store, within the memory.
#[must_use]
pub fn segments_in_flight(processors: usize) -> usize {
    (processors + 1).min(segments_within(MEMORY_BYTES_DEFAULT))
}

/// Segments whose pages and packs fit into this much memory at once; at least one, or nothing would ever be done.
#[must_use]
pub fn segments_within(memory_bytes: u64) -> usize {
    usize::try_from(memory_bytes / SEGMENT_MEMORY_BYTES).unwrap_or(1).max(1)
}

/// What tells this machine from others in job requests: the node name and the start of the machine id.
#[must_use]
pub fn host_name() -> String {
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    // Cloned machines and containers often share a node name.
    let id = std::fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let short: String = id.trim().chars().take(8).collect();
    if short.is_empty() { node } else { format!("{node}/{short}") }
}
