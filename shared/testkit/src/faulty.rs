use std::{
    collections::BTreeMap,
    fmt,
    future::{Future, pending},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, future::Either, pin_mut, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, Extensions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, path::Path,
};
use stillpoint_model::Mutation;
use tokio::sync::Notify;

use crate::{Content, Rates, TestRandom, turns::turns};

/// Most turns that a call takes before it reaches the store.
const TURNS_MAX: u64 = 3;

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies before the call reaches the store.
    KillBefore,
    /// The process dies when the call has had its effect.
    KillAfter,
    /// The process stands still before the call reaches the store, until [`FaultyStore::thaw`]; calls under way beside it do not.
    Freeze,
    /// The call fails and has had no effect.
    ErrorBefore,
    /// The call fails although it had its effect: the answer was lost.
    ErrorAfter,
    /// A create had its effect, and the client, who repeated it, is told that the name is taken.
    MetItself,
    /// A read gives half of its bytes.
    ShortRead,
    /// A read gives one wrong bit.
    FlippedRead,
    /// The store refuses, and says so.
    Denied,
    /// A listing leaves out some of what follows each other.
    ShortList,
    /// A listing has some of what follows each other twice.
    RepeatedList,
    /// A listing tells other times than those at which objects were written.
    WrongModified,
    /// There is no room for another object.
    Full,
}

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// An object is written.
    Put,
    /// An object or a range is read.
    Get,
    /// An object is looked up.
    Head,
    /// Names are listed.
    List,
    /// An object is deleted.
    Delete,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its kind.
    pub kind: CallKind,
    /// The object, or the folder that is listed.
    pub name: String,
}

#[derive(Default)]
struct Script {
    calls: Vec<Call>,
    faults: BTreeMap<usize, Fault>,
    rates: Rates,
    /// Writes and deletions that had their effect, in that order.
    effects: Vec<Call>,
    injected: BTreeMap<Fault, u64>,
    dead: bool,
    frozen: bool,
}

/// One process's connection to a store. Calls are numbered from 1 and can be given faults. Once the process is dead no call
/// returns and none has an effect; a new process makes its own connection to the same [`Content`].
#[derive(Clone)]
pub struct FaultyStore {
    content: Content,
    script: Arc<Mutex<Script>>,
    death: Arc<Notify>,
    thaw: Arc<Notify>,
    random: Arc<TestRandom>,
}

fn lost() -> Error {
    Error::Generic { store: "faulty", source: "the connection was lost".into() }
}

impl FaultyStore {
    /// A connection without faults; `seed` decides how calls that are under way at once overtake each other.
    #[must_use]
    pub fn new(content: Content, seed: u64) -> Self {
        Self {
            content,
            script: Arc::default(),
            death: Arc::default(),
            thaw: Arc::default(),
            random: Arc::new(TestRandom::new(seed)),
        }
    }

    fn script(&self) -> MutexGuard<'_, Script> {
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives call `number` a fault.
    pub fn fault(&self, number: usize, fault: Fault) {
        self.script().faults.insert(number, fault);
    }

    /// Forgets calls and faults; the next call is number 1.
    pub fn reset(&self) {
        *self.script() = Script::default();
    }

    /// The calls so far.
    #[must_use]
    pub fn calls(&self) -> Vec<Call> {
        self.script().calls.clone()
    }

    /// From here on calls have faults at these rates, drawn from the connection's seed.
    pub fn fault_at(&self, rates: Rates) {
        self.script().rates = rates;
    }

    /// The calls, and the writes and deletions that had their effect, since the last time they were taken.
    #[must_use]
    pub fn take(&self) -> (Vec<Call>, Vec<Call>) {
        let mut script = self.script();
        (std::mem::take(&mut script.calls), std::mem::take(&mut script.effects))
    }

    /// How many faults of each kind there were.
    #[must_use]
    pub fn injected(&self) -> BTreeMap<Fault, u64> {
        self.script().injected.clone()
    }

    /// Whether the process is dead.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.script().dead
    }

    /// Whether a call stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.script().frozen
    }

    /// Lets the call that stands still go on.
    pub fn thaw(&self) {
        self.script().frozen = false;
        self.thaw.notify_waiters();
    }

    async fn freeze(&self) {
        self.script().frozen = true;
        loop {
            let notified = self.thaw.notified();
            if !self.is_frozen() {
                return;
            }
            notified.await;
        }
    }

    /// Runs `work` to its end, or to the death of the process: then it is dropped and there is no value.
    pub async fn until_death<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        let death = self.died();
        pin_mut!(death, work);
        match futures_util::future::select(death, work).await {
            Either::Left(_) => None,
            Either::Right((value, _)) => Some(value),
        }
    }

    async fn died(&self) {
        loop {
            let notified = self.death.notified();
            if self.is_dead() {
                return;
            }
            notified.await;
        }
    }

    async fn die<T>(&self) -> T {
        self.script().dead = true;
        self.death.notify_waiters();
        pending().await
    }

    /// Numbers a call, lets others overtake it, and does to it what the script says.
    async fn call<T>(&self, kind: CallKind, name: &Path, effect: impl Future<Output = Result<T>>) -> (Option<Fault>, Result<T>) {
        let fault = {
            let mut script = self.script();
            script.calls.push(Call { kind, name: name.to_string() });
            let number = script.calls.len();
            let fault = script.faults.get(&number).copied().or_else(|| script.rates.draw(kind, &self.random));
            if let Some(fault) = fault {
                *script.injected.entry(fault).or_default() += 1;
            }
            fault
        };
        let effect = async {
            let answer = effect.await;
            if answer.is_ok() && matches!(kind, CallKind::Put | CallKind::Delete) {
                self.script().effects.push(Call { kind, name: name.to_string() });
            }
            answer
        };
        turns(self.random.below(TURNS_MAX + 1) as u32).await;
        if self.is_dead() {
            return pending().await;
        }
        let answer = match fault {
            Some(Fault::KillBefore) => self.die().await,
            Some(Fault::KillAfter) => {
                drop(effect.await);
                self.die().await
            }
            Some(Fault::Freeze) => {
                self.freeze().await;
                effect.await
            }
            Some(Fault::ErrorBefore) => Err(lost()),
            Some(Fault::Denied) => Err(Error::PermissionDenied { path: name.to_string(), source: "refused".into() }),
            Some(Fault::ErrorAfter) => effect.await.and(Err(lost())),
            Some(Fault::MetItself) if kind == CallKind::Put => {
                let taken = Error::AlreadyExists { path: name.to_string(), source: "by an earlier try".into() };
                effect.await.and(Err(taken))
            }
            Some(Fault::Full) => Err(Error::Generic { store: "faulty", source: "no space left on device".into() }),
            Some(
                Fault::MetItself
                | Fault::ShortRead
                | Fault::FlippedRead
                | Fault::ShortList
                | Fault::RepeatedList
                | Fault::WrongModified,
            )
            | None => effect.await,
        };
        (fault, answer)
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FaultyStore")
    }
}

/// The same answer with other bytes.
async fn spoil(answer: GetResult, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<GetResult> {
    let GetResult { meta, range, attributes, extensions, payload } = answer;
    let whole = GetResult { meta, range, attributes, extensions, payload };
    let (meta, range, attributes, extensions) =
        (whole.meta.clone(), whole.range.clone(), whole.attributes.clone(), whole.extensions.clone());
    let bytes = Bytes::from(change(whole.bytes().await?.to_vec()));
    let payload = GetResultPayload::Stream(stream::once(async move { Ok(bytes) }).boxed());
    Ok(GetResult { meta, range, attributes, extensions, payload })
}

/// A listing, one page of which is left out or comes twice.
fn paged<T: Clone>(fault: Option<Fault>, mut listed: Vec<T>, random: &TestRandom) -> Vec<T> {
    if !matches!(fault, Some(Fault::ShortList | Fault::RepeatedList)) || listed.is_empty() {
        return listed;
    }
    let start = random.below(listed.len() as u64) as usize;
    let end = start + 1 + random.below((listed.len() - start) as u64) as usize;
    let page = listed[start..end].to_vec();
    match fault {
        Some(Fault::ShortList) => drop(listed.drain(start..end)),
        _ => drop(listed.splice(end..end, page)),
    }
    listed
}

/// A listing whose times are wrong.
fn retimed(fault: Option<Fault>, mut metas: Vec<ObjectMeta>) -> Vec<ObjectMeta> {
    if fault == Some(Fault::WrongModified) {
        metas.iter_mut().for_each(|meta| meta.last_modified = Default::default());
    }
    metas
}

#[async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let effect = self.content.0.put_opts(location, payload, options);
        self.call(CallKind::Put, location, effect).await.1
    }

    async fn put_multipart_opts(&self, location: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        // A vault creates every object with one conditional request.
        Err(Error::NotSupported { source: format!("{location}: writing in parts").into() })
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { CallKind::Head } else { CallKind::Get };
        let (fault, answer) = self.call(kind, location, self.content.0.get_opts(location, options)).await;
        match fault {
            Some(Fault::ShortRead) if kind == CallKind::Get => {
                let half = |mut bytes: Vec<u8>| {
                    bytes.truncate(bytes.len() / 2);
                    bytes
                };
                spoil(answer?, half).await
            }
            Some(Fault::FlippedRead) if kind == CallKind::Get => {
                let flip = |mut bytes: Vec<u8>| {
                    let middle = bytes.len() / 2;
                    bytes.iter_mut().skip(middle).take(1).for_each(|byte| *byte ^= 1);
                    bytes
                };
                spoil(answer?, flip).await
            }
            _ => answer,
        }
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let store = self.clone();
        let delete = move |location: Result<Path>| {
            let store = store.clone();
            async move {
                let location = location?;
                store.call(CallKind::Delete, &location, store.content.0.delete(&location)).await.1?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (store, prefix) = (self.clone(), prefix.cloned().unwrap_or_default());
        let listing = async move {
            let found = async { store.content.0.list(Some(&prefix)).try_collect::<Vec<_>>().await };
            let (fault, metas) = store.call(CallKind::List, &prefix, found).await;
            let metas = match metas {
                Err(_) if Mutation::ListErrorEmpty.is_active() => Vec::new(),
                metas => paged(fault, metas?, &store.random),
            };
            Ok::<_, Error>(stream::iter(retimed(fault, metas).into_iter().map(Ok)))
        };
        stream::once(listing).try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let folder = prefix.cloned().unwrap_or_default();
        let (fault, answer) = self.call(CallKind::List, &folder, self.content.0.list_with_delimiter(prefix)).await;
        if answer.is_err() && Mutation::ListErrorEmpty.is_active() {
            return Ok(ListResult { common_prefixes: Vec::new(), objects: Vec::new(), extensions: Extensions::default() });
        }
        let ListResult { common_prefixes, objects, extensions } = answer?;
        let common_prefixes = paged(fault, common_prefixes, &self.random);
        let objects = retimed(fault, paged(fault, objects, &self.random));
        Ok(ListResult { common_prefixes, objects, extensions })
    }

    async fn copy_opts(&self, from: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(Error::NotSupported { source: format!("{from}: copying").into() })
    }
}
