//! Object stores that the tests start for themselves: real servers in processes of their own ([`S3Server`], [`AzureServer`]), and
//! one in this process that misbehaves as it is told ([`ScriptedS3`]).
//!
//! All listen on free ports of 127.0.0.1, keep their data in a folder that goes with them, and end with the last test that uses
//! them, or with the test process, however it ends.

mod azure;
mod http;
mod objects;
mod process;
mod s3;
mod scripted;

pub use azure::{AzureServer, azurite};
pub use http::{Answer, Request, ask, closed_port};
pub use objects::Objects;
pub use s3::{S3Server, moto, s3rver, seaweedfs};
pub use scripted::{Act, ScriptedS3};
