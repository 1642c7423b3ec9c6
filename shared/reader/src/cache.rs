use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use stillpoint_model::{Error, Result};
use tokio::sync::watch;

/// Values by key, up to a number of bytes; what was not used for longest goes first. A value is loaded by one at a time, and whoever
/// else wants it waits for that.
pub struct Cache<K, V> {
    state: Mutex<State<K, V>>,
    bytes_max: u64,
}

struct State<K, V> {
    slots: HashMap<K, Slot<V>>,
    /// Keys of what is there, by when it was used last.
    order: BTreeMap<u64, K>,
    clock: u64,
    bytes: u64,
}

enum Slot<V> {
    Ready { value: V, bytes: u64, used: u64 },
    Loading(watch::Receiver<Option<Outcome<V>>>),
}

/// A failure is told to everybody who waits.
type Outcome<V> = Result<V, Arc<Error>>;

/// What there is of a value.
pub enum Lookup<K: Copy + Eq + Hash, V> {
    Ready(V),
    Loading(Waiting<V>),
    /// Nobody loads it yet; the one who got this does.
    Vacant(Loader<K, V>),
}

/// A value that is being loaded.
pub struct Waiting<V>(watch::Receiver<Option<Outcome<V>>>);

impl<V: Clone> Waiting<V> {
    /// The value, when it is there.
    ///
    /// # Errors
    /// As its load; `internal` where that was given up.
    pub async fn value(mut self) -> Result<V> {
        let outcome = match self.0.wait_for(Option::is_some).await {
            Ok(outcome) => outcome.clone(),
            Err(_) => None,
        };
        match outcome {
            Some(Ok(value)) => Ok(value),
            Some(Err(error)) => Err(Error::new(error.kind(), error.one_line())),
            None => Err(Error::internal("a read from the vault was given up")),
        }
    }
}

/// The duty to load a value. Dropped, it leaves the value to the next one who wants it.
pub struct Loader<K: Copy + Eq + Hash, V> {
    cache: Arc<Cache<K, V>>,
    key: K,
    told: watch::Sender<Option<Outcome<V>>>,
    is_done: bool,
}

impl<K: Copy + Eq + Hash, V> Loader<K, V> {
    /// Where its value can be waited for.
    pub fn waiting(&self) -> Waiting<V> {
        Waiting(self.told.subscribe())
    }

    /// Its key.
    pub const fn key(&self) -> K {
        self.key
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Loader<K, V> {
    /// Hands out a value, with the bytes of memory that it takes, or why there is none; failures are not kept.
    pub fn finish(mut self, loaded: Result<(V, u64), Arc<Error>>) {
        self.is_done = true;
        let mut state = self.cache.state();
        state.slots.remove(&self.key);
        let outcome = loaded.map(|(value, bytes)| {
            state.insert(self.key, value.clone(), bytes, self.cache.bytes_max);
            value
        });
        drop(state);
        self.told.send_replace(Some(outcome));
    }
}

impl<K: Copy + Eq + Hash, V> Drop for Loader<K, V> {
    fn drop(&mut self) {
        if !self.is_done {
            self.cache.state().slots.remove(&self.key);
        }
    }
}

impl<K: Copy + Eq + Hash, V> Cache<K, V> {
    /// Holds up to `bytes_max` bytes.
    pub fn new(bytes_max: u64) -> Arc<Self> {
        let state = State { slots: HashMap::new(), order: BTreeMap::new(), clock: 0, bytes: 0 };
        Arc::new(Self { state: Mutex::new(state), bytes_max })
    }

    /// Bytes it holds at most.
    pub const fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    fn state(&self) -> MutexGuard<'_, State<K, V>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The duty to load `key`, where it is neither there nor being loaded.
    pub fn claim(self: &Arc<Self>, key: K) -> Option<Loader<K, V>> {
        let mut state = self.state();
        (!state.slots.contains_key(&key)).then(|| self.loader(&mut state, key))
    }

    fn loader(self: &Arc<Self>, state: &mut State<K, V>, key: K) -> Loader<K, V> {
        let (told, receiver) = watch::channel(None);
        state.slots.insert(key, Slot::Loading(receiver));
        Loader { cache: Arc::clone(self), key, told, is_done: false }
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// What there is of `key`.
    pub fn look_up(self: &Arc<Self>, key: K) -> Lookup<K, V> {
        let mut state = self.state();
        let now = state.tick();
        match state.slots.get_mut(&key) {
            Some(Slot::Ready { value, used, .. }) => {
                let (value, before) = (value.clone(), std::mem::replace(used, now));
                state.order.remove(&before);
                state.order.insert(now, key);
                Lookup::Ready(value)
            }
            Some(Slot::Loading(receiver)) => Lookup::Loading(Waiting(receiver.clone())),
            None => Lookup::Vacant(self.loader(&mut state, key)),
        }
    }
}

impl<K: Copy + Eq + Hash, V> State<K, V> {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }

    fn insert(&mut self, key: K, value: V, bytes: u64, bytes_max: u64) {
        let used = self.tick();
        self.slots.insert(key, Slot::Ready { value, bytes, used });
        self.order.insert(used, key);
        self.bytes += bytes;
        while self.bytes > bytes_max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            if let Some(Slot::Ready { bytes, .. }) = self.slots.remove(&oldest) {
                self.bytes -= bytes;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(cache: &Arc<Cache<u32, u32>>, key: u32, bytes: u64) {
        cache.claim(key).expect("vacant").finish(Ok((key, bytes)));
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first_and_the_bound_holds() {
        let cache = Cache::<u32, u32>::new(30);
        (1..=3).for_each(|key| load(&cache, key, 10));
        assert!(matches!(cache.look_up(1), Lookup::Ready(1)));
        load(&cache, 4, 10);
        assert!(cache.claim(2).is_some(), "2 went");
        assert!([1, 3, 4].iter().all(|key| cache.claim(*key).is_none()), "the others stayed");
        load(&cache, 5, 31);
        assert!([1, 3, 4, 5].iter().all(|key| cache.claim(*key).is_some()), "what is larger than the cache is not kept");
        assert_eq!(cache.state().bytes, 0);
    }

    #[tokio::test]
    async fn those_who_wait_get_what_one_loaded_or_its_failure() {
        let cache = Cache::<u32, u32>::new(30);
        for (key, outcome) in [(1, Ok((7, 1))), (2, Err(Arc::new(Error::corrupt("broken"))))] {
            let Lookup::Vacant(loader) = cache.look_up(key) else { panic!("nobody loads it") };
            let Lookup::Loading(waiting) = cache.look_up(key) else { panic!("it is being loaded") };
            let failed = outcome.is_err();
            loader.finish(outcome);
            let got = waiting.value().await;
            assert_eq!(got.is_err(), failed);
            assert_eq!(matches!(cache.look_up(key), Lookup::Ready(7)), !failed, "failures are not kept");
        }
    }

    #[tokio::test]
    async fn a_load_that_is_given_up_is_left_to_the_next() {
        let cache = Cache::<u32, u32>::new(30);
        let Lookup::Vacant(loader) = cache.look_up(1) else { panic!("nobody loads it") };
        let waiting = loader.waiting();
        drop(loader);
        waiting.value().await.expect_err("given up");
        load(&cache, 1, 1);
    }
}
