//! AWS KMS as a key service: the few calls that a key slot needs, over KMS's JSON protocol, without the AWS SDK (which would
//! outweigh the rest of the program).
//!
//! Signing (Signature Version 4) and the chain of credentials (environment, web identity, ECS, EKS, instance metadata) are
//! `object_store`'s, so KMS is reached with the same credentials as a bucket.

mod arn;
mod failure;
mod request;
mod service;

pub use arn::KeyArn;
pub use service::Kms;
