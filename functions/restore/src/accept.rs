use stillpoint_events::{Envelope, RestoreOrdered};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_jobs::{Engine, Job, Operation, OrderId, Place};
use stillpoint_model::{DiskName, Error, ErrorKind, Result};
use stillpoint_ports::TargetDisk;
use stillpoint_vault::Vault;

use crate::{
    order::{DiskFormat, Order},
    source::SourceDisk,
    wanted::resolve,
};

/// Makes jobs of what other systems order.
pub struct Accept {
    engine: Engine,
    place: Place,
}

impl Accept {
    /// The handler over its ports; its jobs run at `place`.
    #[must_use]
    pub const fn new(engine: Engine, place: Place) -> Self {
        Self { engine, place }
    }
}

/// Makes the job of an order that was opened. The same order again gives the same job, however far that is.
///
/// # Errors
/// `missing` or `invalid` when there is no such point, or it cannot be written there; as the store.
pub async fn accept(engine: &Engine, place: &Place, order: &Order) -> Result<Job> {
    let id = order.job()?;
    match engine.job(id).await {
        Err(error) if error.kind() == ErrorKind::Missing => {}
        known => return known,
    }
    let what = operation(engine.vault(), order).await?;
    match engine.create(id, place.request(what)).await {
        // Another delivery was faster.
        Err(error) if error.kind() == ErrorKind::Conflict => engine.job(id).await,
        created => created,
    }
}

async fn operation(vault: &Vault, order: &Order) -> Result<Operation> {
    let point = resolve(vault, &order.machine, &order.point).await?;
    let manifest = vault.manifest(&point).await?;
    let disk = |source: SourceDisk| {
        Ok(TargetDisk {
            location: within(&order.to, &source.name, order.format)?,
            name: source.name,
            size_bytes: source.size_bytes,
            data_bytes: source.data_bytes,
            overwrite: order.overwrite,
            keep_replaced: false,
            limits: None,
        })
    };
    Ok(Operation::Restore {
        item: order.machine.clone(),
        point: point.id,
        disks: SourceDisk::of(&manifest, |_| true).into_iter().map(disk).collect::<Result<_>>()?,
        snapshot: None,
        estimated_ms: None,
        order: Some(OrderId { requester: order.iss.clone(), id: order.jti.clone() }),
    })
}

/// The location of a disk in a folder, as [`TargetDisk::location`] has it.
fn within(folder: &str, disk: &DiskName, format: DiskFormat) -> Result<String> {
    let folder = folder.trim_end_matches('/');
    match format {
        DiskFormat::Raw => Ok(format!("{folder}/{disk}.raw")),
        DiskFormat::Qcow2 if folder.contains("://") => Err(Error::invalid("a store takes raw disks only")),
        DiskFormat::Qcow2 => Ok(format!("qcow2:{folder}/{disk}.qcow2")),
    }
}

impl Handler for Accept {
    type Event = RestoreOrdered;

    async fn handle(&self, event: Envelope<RestoreOrdered>, _invocation: &Invocation) -> Result<Effects> {
        let order = Order::open(self.engine.vault(), &event.data.order).await?;
        let job = accept(&self.engine, &self.place, &order).await?;
        tracing::info!(job = %job.id, requester = %order.iss, order = order.jti, machine = %order.machine, to = order.to, "ordered");
        let events = if job.state().is_end() { Vec::new() } else { vec![job.requested()] };
        Ok(Effects { events })
    }
}
