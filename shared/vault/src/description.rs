use stillpoint_model::{PointId, Result};
use stillpoint_ports::FirmwareVariables;

use crate::{Point, PointEntry, Vault};

/// Points before and after one that are looked at for what it does not tell.
const LOOKS: usize = 64;

/// What the machine of a point can be made again from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// As its platform wrote it down.
    pub configuration: String,
    /// What its firmware remembers, where that was kept.
    pub firmware_variables: Option<FirmwareVariables>,
    /// The point that both are of.
    pub of: PointId,
}

impl Description {
    /// What is to be said where they are not of the point itself.
    #[must_use]
    pub fn notice(&self, point: PointId) -> Option<String> {
        (self.of != point).then(|| {
            format!(
                "nothing told at point {point} how the machine was started, as it was off: it is made anew as at point {}",
                self.of
            )
        })
    }
}

impl Vault {
    /// What a point's machine can be made again from: kept with the point itself or, where the machine was off and nobody could tell, with the
    /// last one before that has it, else with the first one after. `None` where none has.
    ///
    /// # Errors
    /// `corrupt` where the point's own cannot be read; as the store.
    pub async fn description(&self, point: &Point) -> Result<Option<Description>> {
        if let Some(own) = self.description_of(point)? {
            return Ok(Some(own));
        }
        let entries = self.point_entries(&point.item).await?;
        let (before, after) = entries.split_at(entries.partition_point(|entry| entry.id < point.id));
        let near = before.iter().rev().filter(|entry| entry.is_point()).take(LOOKS);
        let far = after.iter().filter(|entry| entry.is_point() && entry.id != point.id).take(LOOKS);
        for PointEntry { id, .. } in near.chain(far) {
            // One that is damaged tells nothing; another may.
            if let Ok(other) = self.point(&point.item, *id).await
                && let Ok(Some(told)) = self.description_of(&other)
            {
                return Ok(Some(told));
            }
        }
        Ok(None)
    }

    fn description_of(&self, point: &Point) -> Result<Option<Description>> {
        let Some(configuration) = self.configuration(point)? else { return Ok(None) };
        Ok(Some(Description { configuration, firmware_variables: self.firmware_variables(point)?, of: point.id }))
    }
}
