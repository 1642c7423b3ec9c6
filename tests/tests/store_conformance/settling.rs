//! Creates whose answers are lost.

use std::sync::Arc;

use bytes::Bytes;
use object_store::path::Path;
use stillpoint_model::ErrorKind;
use stillpoint_store::Store;
use stillpoint_testkit::{CallKind, Content, Fault, FaultyStore};

use crate::suite::{body, kind};

/// A create and the faults of its calls; what it says, and what lies there then.
pub async fn create_with(faults: &[Fault], taken: Option<&'static str>) -> (Option<ErrorKind>, Option<Bytes>, Vec<CallKind>) {
    let content = Content::default();
    if let Some(theirs) = taken {
        content.replace("name", theirs.into()).await.unwrap();
    }
    let faulty = FaultyStore::new(content.clone(), 3);
    (1..).zip(faults).for_each(|(number, fault)| faulty.fault(number, *fault));
    let store = Store::new(Arc::new(faulty.clone()), Path::default(), "memory:///");
    let outcome = kind(store.create("name", body("ours and long enough")).await);
    (outcome, content.bytes("name").await.ok(), faulty.calls().into_iter().map(|call| call.kind).collect())
}
