use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use stillpoint_jobs::BackupSlot;
use stillpoint_model::PolicyName;
use stillpoint_ports::Clock;

/// Longest debt that is paid at once: the rate may change meanwhile.
const NAP: Duration = Duration::from_secs(10);

/// Makes those who read for a policy wait, so that in this process its rate is not exceeded for longer than one read takes.
#[derive(Default)]
pub(crate) struct Throttle {
    /// Until when each policy's reads so far have used up its rate.
    used: Mutex<HashMap<PolicyName, Timestamp>>,
}

impl Throttle {
    /// Pays for `bytes` that were read for the slot's policy.
    pub(crate) async fn pay(&self, slot: Option<&BackupSlot>, bytes: u64, clock: &dyn Clock) {
        let Some((slot, pace)) = slot.and_then(|slot| Some((slot, slot.pace.as_ref()?))) else { return };
        let now = clock.now();
        let Some(rate) = pace.at(now).filter(|_| bytes > 0) else { return };
        let until = {
            let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
            let until = used.entry(slot.policy.clone()).or_insert(now);
            let cost = SignedDuration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(SignedDuration::MAX);
            *until = (*until).max(now).checked_add(cost).unwrap_or(Timestamp::MAX);
            *until
        };
        // In naps: where the limit was lifted meanwhile, nobody waits out a debt that was made under it.
        while let Ok(left) = Duration::try_from(until.duration_since(clock.now())) {
            if left.is_zero() || pace.at(clock.now()).is_none() {
                break;
            }
            clock.sleep(left.min(NAP)).await;
        }
    }
}
