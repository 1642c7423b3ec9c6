//! What a function is: an event and its ports in, effects or a typed error out. A handler sees no broker, no Lambda
//! context, no environment, no wall clock and no thread; hosts in `runtime` bring these.

mod effects;
mod functions;
mod handler;
mod invocation;

pub use effects::Effects;
pub use functions::Functions;
pub use handler::Handler;
pub use invocation::Invocation;
