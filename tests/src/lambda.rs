//! AWS Lambda on one's own machine: the functions' real bootstraps, called through a Runtime API of our own ([`LambdaFunction`])
//! or through AWS's emulator ([`Emulator`]), and the queue mapping of Amazon MQ before them ([`Mapping`]).

mod bootstrap;
mod emulator;
mod function;
mod mapping;
mod runtime_api;

pub use bootstrap::{Environment, bootstrap};
pub use emulator::Emulator;
pub use function::LambdaFunction;
pub use mapping::Mapping;
pub use runtime_api::Outcome;
