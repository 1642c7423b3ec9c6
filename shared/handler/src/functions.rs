use std::{future::Future, pin::Pin, sync::Arc};

use serde_json::Value;
use stillpoint_events::{Contract, Envelope, Function};
use stillpoint_model::{Error, Result};

use crate::{Effects, Handler, Invocation};

type Handling<'a> = Pin<Box<dyn Future<Output = Result<Effects>> + Send + 'a>>;

/// A handler whose event's type is looked at when it comes.
trait Erased: Send + Sync {
    fn call<'a>(&'a self, envelope: Envelope<Value>, invocation: &'a Invocation) -> Handling<'a>;
}

impl<H: Handler> Erased for H {
    fn call<'a>(&'a self, envelope: Envelope<Value>, invocation: &'a Invocation) -> Handling<'a> {
        Box::pin(async move {
            let event = envelope.open().map_err(|error| Error::invalid(error.to_string()))?;
            self.handle(event, invocation).await
        })
    }
}

#[derive(Clone)]
struct Entry {
    function: Function,
    event_type: &'static str,
    handler: Arc<dyn Erased>,
}

/// The functions of a program, by the events they consume. Cheap to clone.
#[derive(Clone, Default)]
pub struct Functions {
    entries: Vec<Entry>,
}

impl Functions {
    /// These, and a handler of `function`.
    #[must_use]
    pub fn with<H: Handler>(mut self, function: Function, handler: H) -> Self {
        self.entries.push(Entry { function, event_type: H::Event::TYPE, handler: Arc::new(handler) });
        self
    }

    /// These and others.
    #[must_use]
    pub fn and(mut self, others: Self) -> Self {
        self.entries.extend(others.entries);
        self
    }

    /// Hands an event to every function here that consumes it.
    ///
    /// # Errors
    /// As the handlers; `invalid` for an event that nobody here consumes or that does not follow its schema.
    pub async fn handle(&self, envelope: Envelope<Value>, invocation: &Invocation) -> Result<Effects> {
        self.call(|_| true, envelope, invocation).await
    }

    /// Hands an event to one function.
    ///
    /// # Errors
    /// As [`Functions::handle`].
    pub async fn handle_as(&self, function: Function, envelope: Envelope<Value>, invocation: &Invocation) -> Result<Effects> {
        self.call(|entry| entry.function == function, envelope, invocation).await
    }

    /// Whether `function` is here and consumes events of this type.
    #[must_use]
    pub fn consumes(&self, function: Function, event_type: &str) -> bool {
        self.entries.iter().any(|entry| entry.function == function && entry.event_type == event_type)
    }

    async fn call(&self, chosen: impl Fn(&Entry) -> bool, envelope: Envelope<Value>, invocation: &Invocation) -> Result<Effects> {
        let consumers = self.entries.iter().filter(|entry| entry.event_type == envelope.event_type && chosen(entry));
        let mut effects = Effects::none();
        let mut consumed = false;
        for entry in consumers {
            consumed = true;
            effects.events.extend(entry.handler.call(envelope.clone(), invocation).await?.events);
        }
        if consumed {
            Ok(effects)
        } else {
            Err(Error::invalid(format!("nobody here consumes events of type '{}'", envelope.event_type.escape_debug())))
        }
    }
}
