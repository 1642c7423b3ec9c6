//! What a machine's firmware remembers, read from the flash device that it writes to.
//!
//! The device has no filter over it: its drive cannot be changed while the machine is on. So its bytes are of a moment after the disks' instant,
//! and that is good enough. Firmware writes rarely (at boot, or when an administrator changes boot entries or keys), and so that power
//! may fail after any write: whatever state the bytes had at one moment, it starts from. That they had this state is what two reads that agree
//! tell. What was written between the instant and the reads, milliseconds later, belongs to a machine that is a moment older than its disks.

use serde_json::json;
use stillpoint_model::{Error, JobId, Result};
use stillpoint_nbd::{Address, Client, Options};
use stillpoint_ports::FirmwareVariables;

use crate::{
    machine::{NodeInfo, View},
    names,
    qmp::Qmp,
};

/// Name of the export; those of disks carry an instant.
const EXPORT: &str = "firmware-variables";
/// How often it is read until two reads agree.
const READS: usize = 5;

/// Of a machine that is on: the variables, and a line for each thing of its firmware that is not kept.
pub(crate) async fn of(qmp: &mut Qmp, job: JobId, position: usize, nbd: &Address) -> (Option<FirmwareVariables>, Vec<String>) {
    let mut warnings = Vec::new();
    let variables = match View::read(qmp).await {
        Ok(view) => match view.firmware_variables() {
            Some(info) => kept(&info.file, through(qmp, info, job, position, nbd).await, &mut warnings),
            None => None,
        },
        Err(error) => kept("of an unknown file", Err(error), &mut warnings),
    };
    (variables, warnings)
}

/// Turns a failure into a warning: a point without variables is better than none.
pub(crate) fn kept(file: &str, read: Result<Vec<u8>>, warnings: &mut Vec<String>) -> Option<FirmwareVariables> {
    match read {
        Ok(bytes) => Some(FirmwareVariables { file: file.to_owned(), bytes }),
        Err(error) => {
            warnings.push(format!("firmware variables ({}) are not in the point: {}", file.escape_debug(), error.one_line()));
            None
        }
    }
}

/// Bytes that are read until two reads agree.
#[derive(Default)]
pub(crate) struct Settling {
    before: Option<Vec<u8>>,
    reads: usize,
}

impl Settling {
    /// The bytes, once they are as they were at the read before.
    ///
    /// # Errors
    /// `conflict` when they never are.
    pub(crate) fn agreed(&mut self, now: Vec<u8>) -> Result<Option<Vec<u8>>> {
        if self.before.as_ref() == Some(&now) {
            return Ok(Some(now));
        }
        self.before = Some(now);
        self.reads += 1;
        match self.reads {
            READS => Err(Error::conflict("the guest writes to them without a pause")),
            _ => Ok(None),
        }
    }
}

/// Refuses what is larger than any firmware's.
///
/// # Errors
/// `invalid`.
pub(crate) fn unless_too_large(size_bytes: u64) -> Result<()> {
    let most = FirmwareVariables::BYTES_MAX;
    if size_bytes > most {
        return Err(Error::invalid(format!("they have {size_bytes} bytes, more than {most}")));
    }
    Ok(())
}

/// Reads them through QEMU, whatever their format, and whoever may read the file. Should this process die, the export goes with those of the
/// disks.
async fn through(qmp: &mut Qmp, info: &NodeInfo, job: JobId, position: usize, nbd: &Address) -> Result<Vec<u8>> {
    unless_too_large(info.size_bytes())?;
    let id = names::export(job, position);
    let export = json!({ "type": "nbd", "id": id, "node-name": info.node_name, "name": EXPORT });
    qmp.execute("block-export-add", export).await?;
    let bytes = settled(nbd, info.size_bytes()).await;
    if let Err(error) = qmp.execute("block-export-del", json!({ "id": id, "mode": "hard" })).await {
        tracing::debug!(error = %error.one_line(), "the export of firmware variables goes with those of the disks");
    }
    bytes
}

async fn settled(nbd: &Address, size_bytes: u64) -> Result<Vec<u8>> {
    let client = Client::connect(nbd, EXPORT, &[], &Options::default()).await?;
    let size = usize::try_from(size_bytes).unwrap_or_default();
    let mut settling = Settling::default();
    let bytes = loop {
        if let Some(bytes) = settling.agreed(client.read(0, vec![0; size]).await?)? {
            break bytes;
        }
    };
    client.close().await;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_taken_once_two_reads_agree() {
        let mut settling = Settling::default();
        assert_eq!([1, 2, 1, 1].map(|state| settling.agreed(vec![state]).unwrap()), [None, None, None, Some(vec![1])]);
        let mut settling = Settling::default();
        assert!((1..5).all(|state| settling.agreed(vec![state]).unwrap().is_none()));
        assert_eq!(settling.agreed(vec![5]).unwrap_err().kind(), stillpoint_model::ErrorKind::Conflict);
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let mut warnings = Vec::new();
        assert_eq!(kept("/v", unless_too_large((16 << 20) + 1).map(|()| Vec::new()), &mut warnings), None);
        assert_eq!(warnings, ["firmware variables (/v) are not in the point: they have 16777217 bytes, more than 16777216"]);
        assert!(kept("/v", unless_too_large(16 << 20).map(|()| vec![1]), &mut warnings).is_some());
        assert_eq!(warnings.len(), 1);
    }
}
