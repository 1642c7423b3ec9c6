use std::collections::VecDeque;

use stillpoint_events::{Envelope, Function, Outgoing, all};
use stillpoint_testkit::TestRandom;

use crate::{
    Faults,
    agenda::{Agenda, Item},
    report::Tally,
    time::{MINUTE, SECOND},
};

/// Messages that can come again.
const REMEMBERED_MAX: usize = 200;
/// What a forged message takes from another.
const GRAFTED: [&str; 5] = ["job", "item", "point", "segment", "alarm"];

/// A message on its way to a function.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) function: Function,
    pub(crate) event_type: String,
    pub(crate) body: Vec<u8>,
    pub(crate) redelivered: bool,
}

impl Delivery {
    /// Puts what another message names in place of what this one names; whether that is another message now.
    pub(crate) fn graft(&mut self, other: &Self) -> bool {
        let parse = |body: &[u8]| serde_json::from_slice::<serde_json::Value>(body).ok();
        let (Some(mut body), Some(other)) = (parse(&self.body), parse(&other.body)) else { return false };
        for field in GRAFTED {
            if let (Some(mine), Some(theirs)) =
                (body.pointer_mut(&format!("/data/{field}")), other.pointer(&format!("/data/{field}")))
            {
                *mine = theirs.clone();
            }
        }
        let Ok(body) = serde_json::to_vec(&body) else { return false };
        std::mem::replace(&mut self.body, body.clone()) != body
    }
}

/// Brings events to functions, as badly as the seed wants.
#[derive(Debug, Default)]
pub(crate) struct Broker {
    serial: u64,
    /// Nothing comes or goes before.
    pub(crate) out_until: i64,
    /// Messages that were sent, the newest last.
    sent: VecDeque<Delivery>,
}

impl Broker {
    /// Publishes events; each consumer has its own copy, or several, or none.
    pub(crate) fn publish(
        &mut self,
        events: &[Outgoing],
        now: i64,
        random: &TestRandom,
        faults: &Faults,
        (agenda, tally): (&mut Agenda, &mut Tally),
    ) {
        for event in events {
            let consumers = all().into_iter().find(|known| known.event_type == event.event_type).map(|known| known.consumers);
            for function in consumers.unwrap_or_default() {
                let Some(delivery) = self.seal(event, *function, now) else { continue };
                if faults.forged > 0 {
                    self.sent.push_back(delivery.clone());
                    self.sent.drain(..self.sent.len().saturating_sub(REMEMBERED_MAX));
                }
                if random.below(100) < faults.lost {
                    tally.fault("message lost");
                    continue;
                }
                if random.below(100) < faults.duplicated {
                    tally.fault("message duplicated");
                    let again = Delivery { redelivered: random.below(2) == 0, ..delivery.clone() };
                    agenda.at(now + delay(random, faults), Item::Deliver(again));
                }
                agenda.at(now + delay(random, faults), Item::Deliver(delivery));
            }
        }
    }

    /// A message that was sent before.
    pub(crate) fn remembered(&self, random: &TestRandom) -> Option<Delivery> {
        let place = random.below(self.sent.len() as u64) as usize;
        self.sent.get(place).cloned()
    }

    pub(crate) fn seal(&mut self, event: &Outgoing, function: Function, now: i64) -> Option<Delivery> {
        self.serial += 1;
        let time = jiff::Timestamp::from_millisecond(now).unwrap_or_default();
        let envelope = Envelope::seal(event.clone(), format!("event-{}", self.serial), "stillpoint/simulation", time);
        let body = serde_json::to_vec(&envelope).ok()?;
        let event_type = event.event_type.trim_start_matches("io.stillpoint.").to_owned();
        Some(Delivery { function, event_type, body, redelivered: false })
    }
}

/// How long a message is on its way: mostly so short that any order comes up.
fn delay(random: &TestRandom, faults: &Faults) -> i64 {
    let longest = if random.below(100) < faults.late { 40 * MINUTE } else { SECOND };
    random.below(longest.unsigned_abs()).cast_signed()
}
