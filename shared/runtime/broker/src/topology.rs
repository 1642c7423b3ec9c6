//! What exists on the broker: one description that is declared at run time and written as `infra/rabbitmq/definitions.json`.

use std::{fmt, str::FromStr, time::Duration};

use serde_json::{Value, json};
use stillpoint_events::{Function, Outgoing, all};
use stillpoint_model::Error;
use stillpoint_runtime::RETRY_PAUSES;

/// The topic exchange of all events.
pub const EXCHANGE: &str = "stillpoint";
/// Queues of a sharded function. A constant, because publishers and consumers must agree on it: see decision 0005.
pub const SHARDS: u32 = 4;
/// Deliveries of one message before the broker itself parks it: each lost one was a consumer's death or a lost connection.
const DELIVERY_LIMIT: u32 = 10;

/// How long an event of an alarm waits for `notify`. The timer publishes those that nobody was told of again with each tick: where no
/// worker runs `notify` they must not pile up. Nothing is lost with them, so they go without a dead letter.
const ALARM_TTL: Duration = Duration::from_secs(600);

/// Where a platform or target can be reached from; part of queue names and routing keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site(String);

impl Site {
    /// As written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Site {
    type Err = Error;

    /// 1 to 100 of letters, digits and `- _ . /`: the rest has a meaning in routing keys, or no place in a queue's name.
    fn from_str(text: &str) -> Result<Self, Error> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte);
        if (1..=100).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::invalid(format!(
                "'{}' is no site: it has 1 to 100 letters, digits and - _ . /; give one with --site",
                text.escape_debug()
            )))
        }
    }
}

/// How many queues a function has at a site; `schedule` has none, the timer calls it.
const fn shards(function: Function) -> u32 {
    match function {
        Function::Schedule => 0,
        Function::Snapshot
        | Function::Commit
        | Function::Prune
        | Function::Collect
        | Function::Verify
        | Function::Replicate
        | Function::Notify => 1,
        Function::Transfer | Function::Restore => SHARDS,
    }
}

/// A function's queue (one shard of it) at a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The function.
    pub function: Function,
    /// The queue's name.
    pub queue: String,
    /// What is bound to it.
    routing_keys: Vec<String>,
}

impl Place {
    /// Whether messages in it keep a job from its end, as those for `notify` do not.
    pub(crate) fn holds_work(&self) -> bool {
        self.function != Function::Notify
    }
}

/// A value of a queue's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Argument<'a> {
    Text(&'a str),
    Number(u32),
}

/// A queue to be declared.
pub(crate) struct Queue<'a> {
    pub(crate) name: String,
    pub(crate) arguments: Vec<(&'static str, Argument<'a>)>,
}

/// Everything that a site needs on the broker.
#[derive(Debug, Clone)]
pub struct Topology {
    site: Site,
    places: Vec<Place>,
    dead: Vec<(Function, String)>,
}

fn ttl(time: Duration) -> (&'static str, Argument<'static>) {
    ("x-message-ttl", Argument::Number(u32::try_from(time.as_millis()).unwrap_or(u32::MAX)))
}

/// The queue where messages of `function` wait for an operator.
fn dead_queue(site: &Site, function: Function) -> String {
    format!("{EXCHANGE}.{site}.{function}.dead")
}

/// The exchange, and its queue, where messages wait for `pause`.
pub(crate) fn retry_exchange(pause: Duration) -> String {
    format!("{EXCHANGE}.retry.{}", pause.as_millis())
}

/// Which shard an event belongs to: events of one job go round, so that its segments spread over all shards.
fn shard(event: &Outgoing) -> u32 {
    let text = event.data.get("job").and_then(Value::as_str).unwrap_or_default();
    let start = text.bytes().fold(0_u32, |sum, byte| sum.wrapping_add(u32::from(byte)));
    let segment = event.data.get("segment").and_then(Value::as_u64).unwrap_or(0);
    (start % SHARDS + (segment % u64::from(SHARDS)) as u32) % SHARDS
}

impl Topology {
    /// The topology of one site.
    #[must_use]
    pub fn of(site: Site) -> Self {
        let places = Function::ALL.into_iter().flat_map(|function| {
            let types: Vec<&str> =
                all().iter().filter(|event| event.consumers.contains(&function)).map(|event| event.event_type).collect();
            let count = shards(function);
            let site = &site;
            (0..count)
                .map(move |shard| {
                    // A queue of all shards takes any last word.
                    let (suffix, last) =
                        if count == 1 { (String::new(), "*".to_owned()) } else { (format!(".{shard}"), shard.to_string()) };
                    Place {
                        function,
                        queue: format!("{EXCHANGE}.{site}.{function}{suffix}"),
                        routing_keys: types.iter().map(|event_type| format!("{event_type}.{site}.{last}")).collect(),
                    }
                })
                .collect::<Vec<_>>()
        });
        let places = places.collect();
        let queued = Function::ALL.into_iter().filter(|function| shards(*function) > 0);
        let dead = queued.map(|function| (function, dead_queue(&site, function))).collect();
        Self { site, places, dead }
    }

    /// The site.
    #[must_use]
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// The queues of functions.
    #[must_use]
    pub fn places(&self) -> &[Place] {
        &self.places
    }

    /// The queues of one function.
    pub fn places_of(&self, function: Function) -> impl Iterator<Item = &Place> {
        self.places.iter().filter(move |place| place.function == function)
    }

    /// What a function's queue is bound to besides where the vault is a replica (queue, routing key): its primary's machines are at any site.
    pub(crate) fn followed_by(&self, function: Function) -> Vec<(String, String)> {
        let followed = all().into_iter().filter(|event| event.followers.contains(&function));
        let keys: Vec<String> = followed.map(|event| format!("{}.#", event.event_type)).collect();
        self.places_of(function).flat_map(|place| keys.iter().map(|key| (place.queue.clone(), key.clone()))).collect()
    }

    /// The dead-letter queues, one per function.
    #[must_use]
    pub fn dead(&self) -> &[(Function, String)] {
        &self.dead
    }

    /// The dead-letter queue of a function.
    #[must_use]
    pub fn dead_of(&self, function: Function) -> String {
        dead_queue(&self.site, function)
    }

    /// `<type>.<site>.<shard>`.
    #[must_use]
    pub fn routing_key(&self, event: &Outgoing) -> String {
        format!("{}.{}.{}", event.event_type, self.site, shard(event))
    }

    pub(crate) fn exchanges() -> Vec<(String, &'static str)> {
        let retries = RETRY_PAUSES.iter().map(|pause| (retry_exchange(*pause), "fanout"));
        std::iter::once((EXCHANGE.to_owned(), "topic")).chain(retries).collect()
    }

    pub(crate) fn queues(&self) -> Vec<Queue<'_>> {
        // At least once also on the way to the dead-letter queue; that asks for the overflow rule, which never acts.
        let kept = |target: &'static str| {
            [
                ("x-queue-type", Argument::Text("quorum")),
                ("x-dead-letter-exchange", Argument::Text(target)),
                ("x-dead-letter-strategy", Argument::Text("at-least-once")),
                ("x-overflow", Argument::Text("reject-publish")),
            ]
        };
        let fleeting = || {
            vec![
                ("x-queue-type", Argument::Text("quorum")),
                ttl(ALARM_TTL),
                ("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)),
            ]
        };
        let of_functions = self.places.iter().map(|place| {
            if !place.holds_work() {
                return Queue { name: place.queue.clone(), arguments: fleeting() };
            }
            let dead = self.dead.iter().find(|(function, _)| *function == place.function).map_or("", |(_, queue)| queue.as_str());
            let mut arguments = kept("").to_vec();
            arguments.push(("x-dead-letter-routing-key", Argument::Text(dead)));
            arguments.push(("x-delivery-limit", Argument::Number(DELIVERY_LIMIT)));
            Queue { name: place.queue.clone(), arguments }
        });
        // An operator's look is a delivery too; newer brokers drop a message after twenty of them.
        let looks = ("x-delivery-limit", Argument::Number(1_000_000));
        let dead = self
            .dead
            .iter()
            .map(|(_, name)| Queue { name: name.clone(), arguments: vec![("x-queue-type", Argument::Text("quorum")), looks] });
        let waiting = RETRY_PAUSES.iter().map(|pause| {
            // No routing key of its own: a message comes back to the queue that it was published for.
            let mut arguments = kept("").to_vec();
            arguments.push(ttl(*pause));
            Queue { name: retry_exchange(*pause), arguments }
        });
        of_functions.chain(dead).chain(waiting).collect()
    }

    /// (queue, exchange, routing key)
    pub(crate) fn bindings(&self) -> Vec<(String, String, String)> {
        let of_functions = self
            .places
            .iter()
            .flat_map(|place| place.routing_keys.iter().map(|key| (place.queue.clone(), EXCHANGE.to_owned(), key.clone())));
        let waiting = RETRY_PAUSES.iter().map(|pause| (retry_exchange(*pause), retry_exchange(*pause), String::new()));
        of_functions.chain(waiting).collect()
    }

    /// The topology as RabbitMQ's own definitions, for the virtual host `vhost`: what `rabbitmqctl import_definitions` takes.
    #[must_use]
    pub fn definitions(&self, vhost: &str) -> Value {
        let exchanges: Vec<Value> = Self::exchanges()
            .into_iter()
            .map(|(name, kind)| {
                json!({ "name": name, "vhost": vhost, "type": kind, "durable": true, "auto_delete": false, "internal": false, "arguments": {} })
            })
            .collect();
        let queue = |queue: Queue<'_>| {
            let arguments: serde_json::Map<String, Value> =
                queue.arguments.iter().map(|(name, value)| ((*name).to_owned(), value.json())).collect();
            json!({ "name": queue.name, "vhost": vhost, "durable": true, "auto_delete": false, "arguments": arguments })
        };
        let bindings: Vec<Value> = self
            .bindings()
            .into_iter()
            .map(|(queue, exchange, key)| {
                json!({ "source": exchange, "vhost": vhost, "destination": queue, "destination_type": "queue", "routing_key": key, "arguments": {} })
            })
            .collect();
        json!({ "exchanges": exchanges, "queues": self.queues().into_iter().map(queue).collect::<Vec<_>>(), "bindings": bindings })
    }
}

impl Argument<'_> {
    fn json(self) -> Value {
        match self {
            Self::Text(text) => text.into(),
            Self::Number(number) => number.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use stillpoint_events::{Contract, RecoveryPointCommitted, SegmentPlanned};
    use stillpoint_model::JobId;

    use super::*;

    fn topology(site: &str) -> Topology {
        Topology::of(site.parse().unwrap())
    }

    /// RabbitMQ's rule for topic bindings with `#` at their end, if anywhere.
    fn matches(binding: &str, key: &str) -> bool {
        let (binding, key): (Vec<&str>, Vec<&str>) = (binding.split('.').collect(), key.split('.').collect());
        let (binding, is_all) = match binding.split_last() {
            Some((&"#", head)) => (head, key.len() >= head.len()),
            _ => (&binding[..], binding.len() == key.len()),
        };
        is_all && binding.iter().zip(&key).all(|(bound, word)| *bound == "*" || bound == word)
    }

    #[test]
    fn every_event_reaches_one_queue_of_each_of_its_consumers_and_none_of_another_site() {
        let (here, there) = (topology("host-a"), topology("host-a.0"));
        let job: JobId = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
        for segment in 0..9 {
            for description in all() {
                let event = Outgoing { event_type: description.event_type, ..Outgoing::new(&SegmentPlanned { job, segment }) };
                let key = here.routing_key(&event);
                let reached = |topology: &Topology| {
                    let bound =
                        topology.places().iter().filter(|place| place.routing_keys.iter().any(|bound| matches(bound, &key)));
                    bound.map(|place| place.function).collect::<Vec<_>>()
                };
                let queued: Vec<Function> = description.consumers.iter().copied().filter(|f| shards(*f) > 0).collect();
                assert_eq!(reached(&here), queued, "{key}");
                assert!(reached(&there).is_empty(), "{key}");
            }
        }
    }

    #[test]
    fn a_replica_follows_what_is_committed_at_any_site_and_nothing_else() {
        let followed: Vec<(String, String)> =
            Function::ALL.into_iter().flat_map(|function| topology("far").followed_by(function)).collect();
        let [(queue, binding)] = &followed[..] else { panic!("{followed:?}") };
        assert_eq!(queue, "stillpoint.far.replicate");
        let job: JobId = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
        for site in ["host-a", "vm7.example.org/0a1b2c3d"].map(topology) {
            for description in all() {
                let event = Outgoing { event_type: description.event_type, ..Outgoing::new(&SegmentPlanned { job, segment: 3 }) };
                let key = site.routing_key(&event);
                assert_eq!(matches(binding, &key), description.event_type == RecoveryPointCommitted::TYPE, "{key}");
            }
        }
    }

    #[test]
    fn only_events_of_alarms_go_by_themselves() {
        let topology = topology("host-a");
        let goes = |queue: &Queue<'_>| {
            let has = |name: &str| queue.arguments.iter().any(|(known, _)| *known == name);
            has("x-message-ttl") && !has("x-dead-letter-exchange")
        };
        let going: Vec<String> = topology.queues().into_iter().filter(goes).map(|queue| queue.name).collect();
        assert_eq!(going, ["stillpoint.host-a.notify"]);
    }

    #[test]
    fn segments_of_a_job_go_round_the_shards() {
        let job: JobId = "01JQ1D5V8CWN3H2TSX0R9F4KMB".parse().unwrap();
        let mut seen: Vec<u32> = (0..SHARDS).map(|segment| shard(&Outgoing::new(&SegmentPlanned { job, segment }))).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..SHARDS).collect::<Vec<_>>());
    }

    #[test]
    fn a_site_is_a_word_that_routing_keys_can_hold() {
        for good in ["aws", "host-a", "vm7.example.org/0a1b2c3d"] {
            assert_eq!(good.parse::<Site>().unwrap().as_str(), good);
        }
        for bad in ["", "a b", "*", "a#", "ü", &"x".repeat(101)] {
            assert!(bad.parse::<Site>().is_err(), "{bad}");
        }
    }
}
