mod accidents;
mod set_back;

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use stillpoint_events::{Outgoing, TimerTicked};
use stillpoint_jobs::{Operation, Rotation};
use stillpoint_model::{ItemName, Result};
use stillpoint_runtime::{Message, Settled};
use stillpoint_testkit::{TestRandom, World};
use stillpoint_vault::Name;

use self::set_back::Copied;
use crate::{
    Faults, Report,
    actors::{self, Command},
    agenda::{Agenda, Item},
    broker::{Broker, Delivery},
    bug::Bug,
    executor::{Doing, Doom, Outcome, Task, block},
    faults::freeze_ms,
    installation::{Machine, installation, platform},
    oracle::Oracle,
    platform::FlakyPlatform,
    report::Tally,
    time::{DAY, HOUR, MINUTE, SEASONS, SECOND, Time},
    trace::Trace,
    worker::Worker,
};

const WORKERS: u64 = 3;
/// In one seed of so many the hypervisor forgets changes, if it tracks them at all.
const FORGETFUL_SEEDS: u64 = 10;
/// It forgets one in so many.
const FORGOTTEN_CHANGES: u64 = 5;
/// Polls within which a handler meets its fate; most take fewer.
const DOOM_POLLS: [u64; 3] = [12, 60, 300];
/// For how many days everything fails. Most rules are broken within days; points are freed after more than two weeks.
const LENGTHS: [(i64, i64); 10] = [(1, 3), (1, 3), (1, 3), (1, 3), (2, 6), (2, 6), (2, 6), (4, 12), (4, 12), (16, 28)];
/// How long jobs have to end once faults have stopped, and frozen ones have gone on.
const CALM: i64 = DAY;
/// How long a verification of everything takes, and then a backup of every machine.
const REPAIR: i64 = 3 * HOUR;

/// One seed's world and all that goes on in it.
pub struct Simulation {
    seed: u64,
    random: TestRandom,
    faults: Faults,
    time: Arc<Time>,
    world: World,
    machines: Vec<Machine>,
    platform: Arc<FlakyPlatform>,
    workers: Vec<Worker>,
    tasks: BTreeMap<u64, Task>,
    agenda: Agenda,
    broker: Broker,
    oracle: Oracle,
    tally: Tally,
    trace: Trace,
    bug: Bug,
    /// Nobody does anything before: the site is without power.
    dark_until: i64,
    /// The site is without power when the next segment is done.
    dark_at_marker: bool,
    serial: u64,
    steps: u64,
    calm: bool,
    /// Until when a clock is wrong that jumped.
    jumped: Option<i64>,
    /// Draws of a vault that is set back, in a seed in which one is.
    set_back: Option<TestRandom>,
    copied: Option<Copied>,
}

impl Simulation {
    /// A new installation, and what will happen to it, as `seed` wants it.
    ///
    /// # Errors
    /// As making a vault.
    pub fn new(seed: u64) -> Result<Self> {
        let random = TestRandom::new(seed ^ 0x5EED_0000_0000_0000);
        let faults = Faults::drawn(&random);
        let simulation = Self { set_back: set_back::dice(seed), ..Self::with(seed, random, faults)? };
        if seed % FORGETFUL_SEEDS == FORGETFUL_SEEDS - 1 {
            simulation.world.platform.forget(FORGOTTEN_CHANGES);
        }
        Ok(simulation)
    }

    /// A new installation in which nothing fails.
    ///
    /// # Errors
    /// As making a vault.
    pub fn calm(seed: u64) -> Result<Self> {
        Self::with(seed, TestRandom::new(seed), Faults::default())
    }

    fn with(seed: u64, random: TestRandom, faults: Faults) -> Result<Self> {
        let epoch = SEASONS[random.below(SEASONS.len() as u64) as usize];
        let time = Arc::new(Time::new(epoch));
        let (world, machines) = block(installation(random.next(), epoch, &random))?;
        let platform = platform(&world, random.next(), &faults);
        let oracle = block(Oracle::new(&world, &time))?;
        let mut simulation = Self {
            seed,
            random,
            faults,
            time,
            world,
            machines,
            platform,
            workers: Vec::new(),
            tasks: BTreeMap::new(),
            agenda: Agenda::default(),
            broker: Broker::default(),
            oracle,
            tally: Tally::default(),
            trace: Trace::new(),
            bug: Bug::default(),
            dark_until: 0,
            dark_at_marker: false,
            serial: 0,
            steps: 0,
            calm: false,
            jumped: None,
            set_back: None,
            copied: None,
        };
        for _ in 0..WORKERS {
            let worker = simulation.start()?;
            simulation.workers.push(worker);
        }
        for item in [Item::Tick, Item::Act, Item::Accident, Item::Check] {
            simulation.agenda.at(epoch + SECOND, item);
        }
        Ok(simulation)
    }

    /// The same, which prints what happens.
    #[must_use]
    pub fn logged(mut self) -> Self {
        self.trace.log = true;
        self
    }

    /// The same, in which all processes have a bug of another product.
    #[cfg(feature = "mutations")]
    #[must_use]
    pub fn mutated(mut self, mutation: stillpoint_model::Mutation) -> Self {
        self.bug = Bug::new(mutation);
        self
    }

    /// Runs the seed to its end, or to the first rule that is broken.
    ///
    /// # Errors
    /// When the simulation itself fails.
    pub fn run(mut self) -> Result<Report> {
        let (least, most) = LENGTHS[self.below(LENGTHS.len() as i64) as usize];
        let days = least + self.below(most - least);
        self.plan_set_back(days);
        self.until(self.time.epoch + days * DAY)?;
        if self.oracle.violations.is_empty() {
            self.stop_faults();
            // Whoever still stands still goes on before all is counted.
            let last =
                self.tasks.values().map(|task| task.still_until).max().unwrap_or(0).max(self.time.now()).max(self.dark_until);
            self.until(last + CALM)?;
            if self.oracle.is_anything_damaged() {
                self.repair()?;
            }
        }
        if self.oracle.violations.is_empty() {
            block(self.oracle.check_end(&self.world, &mut self.tally))?;
            block(self.oracle.check_alarms(&self.machines))?;
            block(self.oracle.check_points(&self.world))?;
        }
        Ok(self.report())
    }

    /// Reads everything once, then backs every machine up.
    fn repair(&mut self) -> Result<()> {
        self.command(Command::Task(Operation::Verify { item: None, read: Some(Rotation::ALL) }));
        self.until(self.time.now() + REPAIR)?;
        for machine in self.machines.clone() {
            self.command(Command::Backup(machine.name, None));
        }
        self.until(self.time.now() + REPAIR)?;
        if self.oracle.violations.is_empty() {
            block(self.oracle.check_repair(&self.world))?;
        }
        Ok(())
    }

    fn report(mut self) -> Report {
        for worker in &self.workers {
            count_store_faults(&mut self.tally, worker);
        }
        let forgotten = self.machines.iter().flat_map(|machine| machine.disks.iter().map(|disk| machine.location(disk)));
        for _ in forgotten.flat_map(|location| self.world.platform.untold(&location)) {
            self.tally.fault("change untold");
        }
        self.tally.add(&self.platform.tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        Report {
            seed: self.seed,
            simulated_ms: (self.time.now() - self.time.epoch).unsigned_abs(),
            steps: self.steps,
            tally: self.tally,
            violations: self.oracle.violations,
            trace: self.trace.hash(),
        }
    }

    fn below(&self, bound: i64) -> i64 {
        self.random.below(bound.unsigned_abs()).cast_signed()
    }

    fn happens(&self, percent: u64) -> bool {
        percent > 0 && self.random.below(100) < percent
    }

    /// From here on nothing fails, and nobody wants anything but what the schedule wants.
    fn stop_faults(&mut self) {
        self.trace.step(self.time.now(), "faults stop");
        self.calm = true;
        self.dark_at_marker = false;
        self.faults = Faults::default();
        self.broker.out_until = self.dark_until;
        *self.platform.faults.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Faults::default();
        for worker in &self.workers {
            worker.store.fault_at(self.faults.store);
            worker.clock.skew.store(0, Relaxed);
        }
    }

    fn start(&mut self) -> Result<Worker> {
        self.serial += 1;
        let skew = self.below(2 * self.faults.skew_ms.cast_signed() + 1) - self.faults.skew_ms.cast_signed();
        let seed = (self.random.next(), skew);
        let worker = block(Worker::start(&self.world, &self.time, &self.platform, self.serial, seed))?;
        worker.store.fault_at(self.faults.store);
        Ok(worker)
    }

    fn until(&mut self, end: i64) -> Result<()> {
        while self.time.now() < end && self.oracle.violations.is_empty() {
            self.step()?;
        }
        Ok(())
    }

    /// Something that can go on does; where nothing can, time does.
    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        let now = self.time.now();
        let ready: Vec<u64> = self.tasks.iter().filter(|(_, task)| task.is_ready(now)).map(|(id, _)| *id).collect();
        if !ready.is_empty() {
            let chosen = ready[self.random.below(ready.len() as u64) as usize];
            return self.poll(chosen);
        }
        let (item, wake) = (self.agenda.next(), self.time.next_wake());
        match (item, wake) {
            (Some(item), wake) if wake.is_none_or(|wake| item <= wake) => {
                self.advance(item);
                match self.agenda.pop() {
                    Some(item) => self.happen(item),
                    None => Ok(()),
                }
            }
            (_, Some(wake)) => {
                self.advance(wake);
                Ok(())
            }
            (..) => {
                self.advance(now + HOUR);
                Ok(())
            }
        }
    }

    fn advance(&self, to: i64) {
        self.time.advance(to);
        // The hypervisor has true time.
        let now = stillpoint_ports::Clock::now(&*self.world.clock).as_millisecond();
        self.world.clock.jump((self.time.now() - now).max(0));
    }

    fn happen(&mut self, item: Item) -> Result<()> {
        let now = self.time.now();
        match item {
            Item::Tick | Item::Act if now < self.dark_until => {
                let pause = self.below(MINUTE);
                self.agenda.at(self.dark_until + pause, item);
            }
            Item::Tick => {
                let tick = Outgoing::new(&TimerTicked {});
                self.publish(&[tick]);
                let pause = if self.calm { 10 * MINUTE } else { 5 * MINUTE + self.below(HOUR) };
                self.agenda.at(now + pause, Item::Tick);
            }
            Item::Deliver(delivery) => self.deliver(delivery),
            Item::Act if self.calm => {}
            Item::Act => {
                self.serial += 1;
                if let Some(command) = actors::act(&self.random, &self.world, &mut self.machines, self.serial) {
                    self.command(command);
                }
                let pause = 1 + self.below(3 * HOUR);
                self.agenda.at(now + pause, Item::Act);
            }
            Item::Accident if self.calm => {}
            Item::Accident => {
                self.accident()?;
                self.agenda.at(now + HOUR, Item::Accident);
            }
            Item::Copy => self.copy(),
            Item::SetBack => self.set_back()?,
            Item::Check => {
                block(self.oracle.check_points(&self.world))?;
                let pause = DAY + self.below(6 * DAY);
                self.agenda.at(now + pause, Item::Check);
            }
            Item::Thaw => {}
        }
        Ok(())
    }

    fn publish(&mut self, events: &[Outgoing]) {
        let now = self.time.now();
        self.broker.publish(events, now, &self.random, &self.faults, (&mut self.agenda, &mut self.tally));
    }

    /// A message whose consumer did not acknowledge it comes again.
    fn redeliver(&mut self, task: &Task) {
        if let Doing::Handling(delivery) = &task.doing {
            let again = Delivery { redelivered: true, ..delivery.clone() };
            let pause = self.below(MINUTE);
            self.agenda.at(self.time.now() + pause, Item::Deliver(again));
        }
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.time.now();
        if now < self.broker.out_until {
            let pause = self.below(MINUTE);
            self.agenda.at(self.broker.out_until + pause, Item::Deliver(delivery));
            return;
        }
        let place = self.random.below(WORKERS) as usize;
        let limited = self.happens(self.faults.limited);
        let time_left = limited.then(|| Duration::from_millis(self.random.below(MINUTE.unsigned_abs())));
        let worker = &self.workers[place];
        let (dispatcher, process) = (worker.dispatcher.clone(), worker.process);
        let label = format!("{} {}", delivery.function, delivery.event_type);
        let (function, body, redelivered) = (delivery.function, delivery.body.clone(), delivery.redelivered);
        let work = async move {
            let message = Message { function, body: &body, redelivered, time_left };
            Outcome::Settled(dispatcher.dispatch(message).await)
        };
        if limited {
            self.tally.fault("handler's time limited");
        }
        self.begin(Task::new(label, (place, process), Doing::Handling(delivery), work));
    }

    fn command(&mut self, command: Command) {
        let place = self.random.below(WORKERS) as usize;
        let worker = &self.workers[place];
        let (engine, process) = (worker.engine.clone(), worker.process);
        let label = format!("operator {}", command.as_str());
        let work = async move { Outcome::Acted(command.run(&engine).await) };
        self.begin(Task::new(label, (place, process), Doing::Acting, work));
    }

    fn begin(&mut self, mut task: Task) {
        let polls = DOOM_POLLS[self.random.below(DOOM_POLLS.len() as u64) as usize];
        let at = 1 + self.random.below(polls) as u32;
        if self.happens(self.faults.dropped) {
            task.doom = Some((at, Doom::Dropped));
        } else if self.happens(self.faults.frozen) {
            task.doom = Some((at, Doom::Frozen(freeze_ms(&self.random))));
        }
        self.serial += 1;
        self.trace.step(self.time.now(), &format!("[{}] {} begins at process {}", self.serial, task.label, task.process));
        self.tasks.insert(self.serial, task);
    }

    fn poll(&mut self, id: u64) -> Result<()> {
        let Some(mut task) = self.tasks.remove(&id) else { return Ok(()) };
        let store = self.workers[task.worker].store.clone();
        let outcome = self.bug.during(|| task.poll());
        let is_segment_done = self.observe(&task, &store)?;
        if is_segment_done && self.dark_at_marker {
            self.redeliver(&task);
            return self.go_dark();
        }
        let now = self.time.now();
        if let Some(outcome) = outcome {
            return self.settle(id, &task, outcome);
        }
        match task.doom {
            Some((at, Doom::Dropped)) if task.polls >= at => {
                self.trace.step(now, &format!("[{id}] {} is dropped", task.label));
                self.tally.fault("handler dropped");
                self.redeliver(&task);
                return Ok(());
            }
            Some((at, Doom::Frozen(pause))) if task.polls >= at => {
                self.trace.step(now, &format!("[{id}] {} stands still for {} s", task.label, pause / SECOND));
                self.tally.fault("handler frozen");
                task.doom = None;
                self.hold(&mut task, pause);
                if self.random.below(2) == 0 {
                    self.tally.fault("redelivered while the first runs");
                    self.redeliver(&task);
                }
            }
            _ if self.happens(self.faults.slow) => {
                let pause = 1 + self.below(20 * SECOND);
                self.hold(&mut task, pause);
            }
            _ => {}
        }
        self.tasks.insert(id, task);
        Ok(())
    }

    fn hold(&mut self, task: &mut Task, pause: i64) {
        task.still_until = self.time.now() + pause;
        self.agenda.at(task.still_until, Item::Thaw);
    }

    /// Has the oracle look at what the last poll did. Whether that was the end of a segment.
    fn observe(&mut self, task: &Task, store: &stillpoint_testkit::FaultyStore) -> Result<bool> {
        let (calls, effects) = store.take();
        self.trace.calls(self.time.now(), &calls);
        let mut is_segment_done = false;
        for effect in effects {
            is_segment_done |= matches!(effect.name.parse(), Ok(Name::Marker(..)));
            block(self.oracle.saw(&self.world, &effect, task.function(), &mut self.tally))?;
        }
        Ok(is_segment_done)
    }

    fn settle(&mut self, id: u64, task: &Task, outcome: Outcome) -> Result<()> {
        let now = self.time.now();
        let events = match outcome {
            Outcome::Acted(Ok(events)) => events,
            Outcome::Acted(Err(error)) => {
                self.trace.step(now, &format!("[{id}] {}: {}", task.label, error.one_line()));
                return Ok(());
            }
            Outcome::Settled(Settled::Done(events)) => events,
            Outcome::Settled(Settled::Later(pause)) => {
                self.trace.step(now, &format!("[{id}] {} wants to come again in {pause:?}", task.label));
                if let Doing::Handling(delivery) = &task.doing {
                    let again = Delivery { redelivered: true, ..delivery.clone() };
                    let pause = i64::try_from(pause.as_millis()).unwrap_or(0);
                    self.agenda.at(now + pause, Item::Deliver(again));
                }
                return Ok(());
            }
            Outcome::Settled(Settled::Parked(why)) => {
                self.trace.step(now, &format!("[{id}] {} is put aside: {why}", task.label));
                self.tally.count("messages put aside", 1);
                return Ok(());
            }
        };
        let names: Vec<&str> = events.iter().map(|event| event.event_type.trim_start_matches("io.stillpoint.")).collect();
        self.trace.step(now, &format!("[{id}] {} is done: {names:?}", task.label));
        if now < self.broker.out_until {
            // Nothing can be published, so nothing is acknowledged.
            self.redeliver(task);
            return Ok(());
        }
        self.publish(&events);
        if self.happens(self.faults.confirm_lost) {
            self.tally.fault("confirm lost");
            self.redeliver(task);
        }
        Ok(())
    }

    /// Names of all machines.
    #[must_use]
    pub fn machines(&self) -> Vec<ItemName> {
        self.machines.iter().map(|machine| machine.name.clone()).collect()
    }
}

fn count_store_faults(tally: &mut Tally, worker: &Worker) {
    for (fault, count) in worker.store.injected() {
        *tally.faults.entry(format!("store: {fault:?}")).or_default() += count;
    }
}
