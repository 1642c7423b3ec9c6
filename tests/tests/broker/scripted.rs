use std::{
    marker::PhantomData,
    sync::{Arc, Mutex, PoisonError},
};

use futures_util::future::BoxFuture;
use serde_json::Value;
use stillpoint_events::{Contract, Envelope};
use stillpoint_handler::{Effects, Handler, Invocation};
use stillpoint_model::Result;

/// One call of a handler.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The event's data.
    pub data: Value,
    /// Whether it may have come before.
    pub redelivered: bool,
}

/// What a handler does with its `n`th call.
pub type Act = Arc<dyn Fn(usize, Call) -> BoxFuture<'static, Result<Effects>> + Send + Sync>;

/// The calls of a handler, shared with the test.
#[derive(Clone, Default)]
pub struct Calls(Arc<Mutex<Vec<Call>>>);

impl Calls {
    pub fn all(&self) -> Vec<Call> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn count(&self) -> usize {
        self.all().len()
    }

    fn add(&self, call: Call) -> usize {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(call);
        calls.len() - 1
    }
}

/// A handler that does what the test says.
pub struct Scripted<E> {
    calls: Calls,
    act: Act,
    event: PhantomData<fn(E)>,
}

impl<E: Contract> Scripted<E> {
    pub fn new(calls: &Calls, act: Act) -> Self {
        Self { calls: calls.clone(), act, event: PhantomData }
    }
}

impl<E: Contract> Handler for Scripted<E> {
    type Event = E;

    async fn handle(&self, event: Envelope<E>, invocation: &Invocation) -> Result<Effects> {
        let data = serde_json::to_value(&event.data).expect("events are plain data");
        let call = Call { data, redelivered: invocation.redelivered };
        let number = self.calls.add(call.clone());
        (self.act)(number, call).await
    }
}

/// Does nothing, and that at once.
pub fn nothing() -> Act {
    Arc::new(|_, _| Box::pin(async { Ok(Effects::none()) }))
}
