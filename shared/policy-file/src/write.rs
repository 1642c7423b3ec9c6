use stillpoint_model::{Error, Result, policy::Policy};

/// A policy as a file that [`from_toml`](crate::from_toml) reads back.
///
/// # Errors
/// `internal`, if it cannot be written as TOML.
pub fn to_toml(policy: &Policy) -> Result<String> {
    toml::to_string(policy).map_err(|error| Error::internal("a policy cannot be written as TOML").with_source(error))
}
