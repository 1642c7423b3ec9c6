//! Domains that are off: libvirt takes no snapshot of one, so its disks are read as platform `qemu` reads those of a machine that is off.

use stillpoint_model::Result;
use stillpoint_ports::{Clock, MachineSource, Snapshot, SnapshotRequest, TrackingReset};

use super::{
    domain::{self, Domain, DomainDisk},
    settings::DomainSettings,
    virsh::Virsh,
};
use crate::{offline, platform::take_from};

/// A domain as a machine whose disks the record names.
pub(super) fn source(domain: &Domain, machine: &MachineSource) -> MachineSource {
    MachineSource { disks: domain.disks.iter().map(DomainDisk::source).collect(), settings: machine.settings.clone() }
}

/// Takes a snapshot. The domain cannot start until it is given back.
///
/// # Errors
/// As the daemon.
pub(super) async fn take(
    virsh: &Virsh,
    domain: &Domain,
    settings: &DomainSettings,
    request: &SnapshotRequest,
    clock: &dyn Clock,
) -> Result<Snapshot> {
    let machine = source(domain, &request.machine);
    let (mut qmp, disks) = offline::start(&settings.shared, &machine, request.job).await?;
    let whole = SnapshotRequest { since: None, ..request.clone() };
    let mut snapshot = take_from(&mut qmp, &disks, true, &whole, &settings.shared, clock).await?;
    if request.since.is_some() {
        // libvirt begins no checkpoint for a domain that is off, and knows none that others begin.
        let reason = "the domain is off, and libvirt keeps account of changes only while it is on".to_owned();
        for disk in &snapshot.disks {
            snapshot.warnings.push(format!("disk {}: all of it is read and compared, for {reason}", disk.name));
            snapshot.tracking_resets.push(TrackingReset { disk: disk.name.clone(), reason: reason.clone() });
        }
    }
    snapshot.configuration = domain::configuration(virsh, &domain.uuid).await;
    let (variables, unkept) = domain.firmware.read(false);
    snapshot.firmware_variables = variables;
    snapshot.warnings.extend(unkept);
    Ok(snapshot)
}
