//! Servers that the tests start for themselves. Object stores: real servers in processes of their own ([`S3Server`],
//! [`AzureServer`]), and one in this process that misbehaves as it is told ([`ScriptedS3`]). A broker: [`RabbitMq`].
//! Whoever is told of alarms: [`Receiver`].
//!
//! All listen on free ports of 127.0.0.1, keep their data in a folder that goes with them, and end with the last test that uses
//! them (the broker, which is slow to start, with the test process), or with the test process, however it ends.

mod authority;
mod azure;
mod http;
mod objects;
mod process;
mod rabbitmq;
mod receiver;
mod s3;
mod scripted;

pub use authority::Authority;
pub use azure::{AzureServer, azurite};
pub(crate) use http::free_ports;
pub use http::{Answer, Request, ask, closed_port};
pub use objects::Objects;
pub(crate) use process::{Bound, tool};
pub use rabbitmq::{Depth, Ending, RabbitMq, rabbitmq, rabbitmq_alone};
pub use receiver::{Receiver, Reply, is_signed};
pub use s3::{S3Server, moto, s3rver, seaweedfs};
pub use scripted::{Act, ScriptedS3};
