use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use stillpoint_format::SealedText;
use stillpoint_model::{Error, ItemName, PointId, Result};
use stillpoint_ports::FirmwareVariables;

use crate::{Name, Point, Vault};

/// The sealed text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    file: String,
    /// Base64.
    bytes: String,
}

impl Vault {
    /// Seals what the firmware of a point's machine remembers.
    ///
    /// # Errors
    /// `invalid` when it is too much for a point's record.
    pub fn seal_firmware_variables(&self, item: &ItemName, point: PointId, variables: &FirmwareVariables) -> Result<SealedText> {
        let text = Text { file: variables.file.clone(), bytes: BASE64.encode(&variables.bytes) };
        let text = serde_json::to_string(&text).map_err(|error| Error::internal("cannot write JSON").with_source(error))?;
        SealedText::seal(self.keys(), &name(item, point), self.salt(), &text).map_err(|error| {
            let size = variables.bytes.len();
            Error::invalid(format!("their {size} bytes are too many for a recovery point's record")).with_source(error)
        })
    }

    /// What the firmware of a point's machine remembers; `None` where nothing was kept.
    ///
    /// # Errors
    /// `corrupt`.
    pub fn firmware_variables(&self, point: &Point) -> Result<Option<FirmwareVariables>> {
        let name = name(&point.item, point.id);
        let Some(sealed) = &point.firmware_variables else { return Ok(None) };
        let text = sealed.open(self.keys(), &name).map_err(|error| Error::from(error).context(&name))?;
        let malformed = || Error::corrupt(format!("{name} is malformed"));
        let Text { file, bytes } = serde_json::from_str(&text).map_err(|_| malformed())?;
        let bytes = BASE64.decode(bytes.as_bytes()).map_err(|_| malformed())?;
        Ok(Some(FirmwareVariables { file, bytes }))
    }
}

/// Another one than the configuration's, so that neither can be put in the other's place.
fn name(item: &ItemName, point: PointId) -> String {
    format!("{}#firmware-variables", Name::Point(item.clone(), point))
}
