//! What a machine can be started again with.

use serde_json::json;

use crate::line::Peer;

/// Longest command line that is kept.
const BYTES_MAX: usize = 200 << 10;

/// The command line of the process at the other end of the monitor's socket, as JSON `{"arguments": […]}`; none where the system does not
/// show it (another host's process, or another user's).
pub(crate) fn of(peer: Option<Peer>) -> Option<String> {
    let bytes = std::fs::read(format!("/proc/{}/cmdline", peer?.process?)).ok()?;
    let arguments: Vec<String> =
        bytes.strip_suffix(&[0])?.split(|byte| *byte == 0).map(|text| String::from_utf8_lossy(text).into_owned()).collect();
    let text = json!({ "arguments": arguments }).to_string();
    (text.len() <= BYTES_MAX).then_some(text)
}
