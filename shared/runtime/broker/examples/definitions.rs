//! Writes `infra/rabbitmq/definitions.json`: what the site `aws` needs on a broker, for those who import it rather than let
//! the first worker declare it.

use std::{error::Error, fs, path::Path};

use stillpoint_broker::Topology;

fn main() -> Result<(), Box<dyn Error>> {
    let definitions = Topology::of("aws".parse()?).definitions("/");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../infra/rabbitmq/definitions.json");
    fs::write(path, format!("{definitions:#}\n"))?;
    Ok(())
}
