//! The function over a vault in memory.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use stillpoint_events::{AlarmChanged, Envelope, Function, Outgoing};
use stillpoint_handler::{Effects, Functions, Invocation};
use stillpoint_model::{AlarmKey, AlarmState, AttemptId, Error, ErrorKind, Result};
use stillpoint_notify::{Tell, Telling};
use stillpoint_ports::{Messenger, Notice};
use stillpoint_testkit::{Fault, World};
use stillpoint_vault::Occurrence;
use tokio::sync::Notify;

const FAULTS: [Fault; 4] = [Fault::KillBefore, Fault::KillAfter, Fault::ErrorBefore, Fault::ErrorAfter];
const ALARM: &str = "slot-missed/web-01";

/// When the process dies that tells somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Death {
    /// Before it is heard.
    Unheard,
    /// Before it knows that it was heard.
    Heard,
}

/// Remembers what it was told; refuses as often as it is told to, and lets the next one who tells it something die.
#[derive(Default)]
struct Ear {
    heard: Mutex<Vec<Notice>>,
    refusals: Mutex<u32>,
    death: Mutex<Option<Death>>,
    died: Notify,
}

#[async_trait]
impl Messenger for Ear {
    async fn send(&self, notice: &Notice) -> Result<()> {
        if self.refuses() {
            return Err(Error::unavailable("nobody is there"));
        }
        let death = self.death.lock().expect("nobody panicked").take();
        if death != Some(Death::Unheard) {
            self.heard.lock().expect("nobody panicked").push(notice.clone());
        }
        if death.is_some() {
            self.died.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(())
    }
}

impl Ear {
    fn refuses(&self) -> bool {
        let mut refusals = self.refusals.lock().expect("nobody panicked");
        let refuses = *refusals > 0;
        *refusals = refusals.saturating_sub(1);
        refuses
    }

    /// What it was told since the last call.
    fn heard(&self) -> Vec<(String, u32, AlarmState, String)> {
        let heard = std::mem::take(&mut *self.heard.lock().expect("nobody panicked"));
        heard.into_iter().map(|notice| (notice.alarm.to_string(), notice.seq, notice.state, notice.text)).collect()
    }
}

fn key() -> AlarmKey {
    ALARM.parse().expect("an alarm")
}

/// Raises or resolves the alarm and returns the event that says so.
async fn change(world: &World, raised: bool, text: &str) -> AlarmChanged {
    let vault = world.vault();
    let alarms = vault.alarms().await.expect("they can be listed");
    let occurrence = Occurrence { text: text.to_owned(), ..Occurrence::default() };
    let seq = vault.set_alarm(&alarms, &key(), raised, occurrence).await.expect("it can be written").expect("it changes");
    event(seq, if raised { AlarmState::Raised } else { AlarmState::Resolved })
}

fn event(seq: u32, state: AlarmState) -> AlarmChanged {
    let AlarmKey { kind, subject } = key();
    AlarmChanged { kind, subject: subject.to_string(), seq, state }
}

/// Delivers an event as a host does.
async fn deliver(world: &World, telling: Telling, event: &AlarmChanged) -> Result<Effects> {
    let functions = Functions::default().with(Function::Notify, Tell::new(world.vault().clone(), telling));
    let now = world.vault().clock().now();
    let envelope = Envelope::seal(Outgoing::new(event), world.vault().ulid().to_string(), "stillpoint/test", now);
    let attempt = AttemptId::new(world.vault().ulid());
    functions.handle_as(Function::Notify, envelope, &Invocation::first(attempt)).await
}

async fn untold(world: &World) -> Vec<(AlarmKey, u32)> {
    world.vault().alarms().await.expect("they can be listed").untold().map(|(key, seq)| (key.clone(), seq)).collect()
}

async fn world() -> (World, Arc<Ear>, Telling) {
    let ear = Arc::new(Ear::default());
    let telling = Telling::Receiver(Arc::<Ear>::clone(&ear));
    (World::new(7).await.expect("a world"), ear, telling)
}

#[tokio::test]
async fn both_that_it_holds_and_that_it_does_not_are_told_once() {
    let (world, ear, telling) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    assert_eq!(untold(&world).await, [(key(), 1)]);
    deliver(&world, telling.clone(), &raised).await.unwrap();
    assert_eq!(ear.heard(), [(ALARM.to_owned(), 1, AlarmState::Raised, "no backup since Monday".to_owned())]);
    assert_eq!(untold(&world).await, []);
    let resolved = change(&world, false, "backed up again").await;
    for repeat in [&raised, &resolved, &resolved, &raised] {
        deliver(&world, telling.clone(), repeat).await.unwrap();
    }
    assert_eq!(ear.heard(), [(ALARM.to_owned(), resolved.seq, AlarmState::Resolved, "backed up again".to_owned())]);
    assert_eq!(untold(&world).await, []);
}

#[tokio::test]
async fn a_receiver_that_is_away_is_told_later() {
    let (world, ear, telling) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    *ear.refusals.lock().unwrap() = 2;
    for _ in 0..2 {
        deliver(&world, telling.clone(), &raised).await.expect("nobody parks the event: the timer brings it again");
        assert_eq!(untold(&world).await, [(key(), 1)]);
    }
    deliver(&world.restart().await.unwrap(), telling, &raised).await.unwrap();
    assert_eq!(ear.heard().len(), 1);
    assert_eq!(untold(&world).await, []);
}

#[tokio::test]
async fn of_an_alarm_that_was_resolved_before_anybody_was_told_only_the_end_is_told() {
    let (world, ear, telling) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    let resolved = change(&world, false, "backed up again").await;
    deliver(&world, telling.clone(), &raised).await.unwrap();
    assert_eq!(ear.heard(), []);
    assert_eq!(untold(&world).await, [(key(), 2)], "the record of the end is not taken for told");
    deliver(&world, telling, &resolved).await.unwrap();
    assert_eq!(ear.heard().len(), 1);
}

#[tokio::test]
async fn without_a_receiver_a_log_that_is_read_counts_and_one_that_is_not_does_not() {
    let (world, _, _) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    deliver(&world, Telling::Elsewhere, &raised).await.unwrap();
    assert_eq!(untold(&world).await, [(key(), 1)], "a command tells nobody");
    deliver(&world, Telling::Log, &raised).await.unwrap();
    assert_eq!(untold(&world).await, []);
}

#[tokio::test]
async fn a_forged_event_tells_nothing() {
    let (world, ear, telling) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    let forged = [
        event(2, AlarmState::Raised),
        event(1, AlarmState::Resolved),
        event(1, AlarmState::Told),
        AlarmChanged { subject: "web-02".to_owned(), ..raised.clone() },
        AlarmChanged { subject: "../web-01".to_owned(), ..raised.clone() },
        AlarmChanged { subject: "@everything".to_owned(), ..raised.clone() },
        AlarmChanged { subject: String::new(), ..raised.clone() },
    ];
    for event in &forged {
        let error = deliver(&world, telling.clone(), event).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{event:?}");
    }
    assert_eq!(ear.heard(), []);
    assert_eq!(untold(&world).await, [(key(), 1)]);
}

#[tokio::test]
async fn an_altered_record_is_not_told() {
    let (world, ear, telling) = world().await;
    let raised = change(&world, true, "no backup since Monday").await;
    let name = format!("alarms/{ALARM}/000001-raised.json");
    let text = String::from_utf8(world.content.bytes(&name).await.unwrap().to_vec()).unwrap();
    let altered = text.replace("Monday", "Friday");
    assert_ne!(text, altered);
    world.content.replace(&name, altered.into_bytes()).await.unwrap();
    // Another process: this one knows what it wrote.
    let error = deliver(&world.restart().await.unwrap(), telling, &raised).await.unwrap_err();
    assert_eq!((error.kind(), ear.heard()), (ErrorKind::Fenced, Vec::new()));
}

/// Whatever happened before: the timer brings the event again, a copy of it comes at the same time, and both come late once more.
async fn assert_told_in_the_end(process: &World, telling: &Telling, event: &AlarmChanged, when: &str) {
    let next = process.restart().await.expect("the next process opens the vault");
    for outcome in futures_util::future::join_all([(); 2].map(|()| deliver(&next, telling.clone(), event))).await {
        outcome.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
    }
    assert_eq!(untold(&process.restart().await.expect("and so does the one after it")).await, [], "{when}");
}

#[tokio::test]
async fn killed_or_without_its_vault_at_any_request_it_tells_at_least_once() {
    let (origin, _, _) = world().await;
    let raised = change(&origin, true, "no backup since Monday").await;
    let probe = origin.fork().await.unwrap();
    probe.store.reset();
    deliver(&probe, Telling::Receiver(Arc::new(Ear::default())), &raised).await.unwrap();
    let calls = probe.store.calls().len();
    assert!(calls >= 3, "a record, a listing, a note that somebody was told: {calls}");
    for number in 1..=calls {
        for fault in FAULTS {
            let (world, when) = (origin.fork().await.unwrap(), format!("{number} {fault:?}"));
            let ear = Arc::new(Ear::default());
            let telling = Telling::Receiver(Arc::<Ear>::clone(&ear));
            world.store.fault(number, fault);
            if let Some(outcome) = world.store.until_death(deliver(&world, telling.clone(), &raised)).await {
                outcome.unwrap_or_else(|error| panic!("{when}: {}", error.one_line()));
            }
            let before = ear.heard().len();
            assert!(before <= 1, "{when}");
            assert_told_in_the_end(&world, &telling, &raised, &when).await;
            let after = ear.heard().len();
            assert!((1..=3).contains(&(before + after)), "{when}: {before} and {after}");
            deliver(&world.restart().await.unwrap(), telling, &raised).await.unwrap();
            assert_eq!(ear.heard(), [], "{when}: a late copy tells nothing");
        }
    }
}

#[tokio::test]
async fn killed_while_it_tells_somebody_it_tells_again_and_in_the_end_how_things_stand() {
    let (origin, _, _) = world().await;
    let raised = change(&origin, true, "no backup since Monday").await;
    for death in [Death::Unheard, Death::Heard] {
        for is_over in [false, true] {
            let (world, when) = (origin.fork().await.unwrap(), format!("{death:?}, {is_over}"));
            let ear = Arc::new(Ear { death: Mutex::new(Some(death)), ..Ear::default() });
            let telling = Telling::Receiver(Arc::<Ear>::clone(&ear));
            tokio::select! {
                outcome = deliver(&world, telling.clone(), &raised) => panic!("{when}: it lives: {outcome:?}"),
                () = ear.died.notified() => {}
            }
            assert_eq!(ear.heard().len(), usize::from(death == Death::Heard), "{when}");
            assert_eq!(untold(&world.restart().await.unwrap()).await, [(key(), 1)], "{when}: nobody knows that it was heard");
            let newest = if is_over { change(&world, false, "backed up again").await } else { raised.clone() };
            assert_told_in_the_end(&world, &telling, &newest, &when).await;
            let heard = ear.heard();
            assert!((1..=2).contains(&heard.len()), "{when}: {heard:?}");
            assert!(heard.iter().all(|(_, seq, state, _)| (*seq, *state) == (newest.seq, newest.state)), "{when}: {heard:?}");
            for late in [&raised, &newest] {
                deliver(&world.restart().await.unwrap(), telling.clone(), late).await.unwrap();
            }
            assert_eq!(ear.heard(), [], "{when}: a late copy tells nothing");
        }
    }
}
