//! What a domain's firmware remembers, in the file that libvirt names.

use std::{
    fs::File,
    io::{ErrorKind, Read},
    path::Path,
};

use roxmltree::Node;
use stillpoint_model::{Error, Result};
use stillpoint_ports::FirmwareVariables;

use super::domain::{child, parse};
use crate::firmware::{Settling, kept, unless_too_large};

/// What a definition says of a domain's firmware.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Firmware {
    variables: Option<Store>,
}

/// Where variables are.
#[derive(Debug, PartialEq, Eq)]
struct Store {
    /// Empty where it is no file.
    file: String,
    format: String,
}

impl Firmware {
    /// Of a domain's definition.
    ///
    /// # Errors
    /// `internal` when it has an unknown form.
    pub(super) fn described(text: &str) -> Result<Self> {
        let document = parse(text)?;
        let root = document.root_element();
        let variables = child(root, "os").and_then(|os| child(os, "nvram")).map(store);
        Ok(Self { variables })
    }

    /// The variables as they are now, and a line for each thing that is not kept. What [`crate::firmware`] says of their moment holds here, too:
    /// QEMU writes what the guest writes to the file at once.
    pub(super) fn read(&self, is_on: bool) -> (Option<FirmwareVariables>, Vec<String>) {
        let mut warnings = Vec::new();
        let Some(Store { file, format }) = &self.variables else { return (None, warnings) };
        // libvirt makes the file when the domain starts for the first time.
        if !is_on && matches!(File::open(file), Err(error) if error.kind() == ErrorKind::NotFound) {
            return (None, warnings);
        }
        let read = match &**format {
            "raw" => settled(Path::new(file)),
            other => Err(Error::invalid(format!("their format is {}, and only raw files are read", other.escape_debug()))),
        };
        (kept(file, read, &mut warnings), warnings)
    }
}

/// `<nvram>FILE</nvram>`, or `<nvram type='file'><source file='FILE'/></nvram>`
fn store(nvram: Node<'_, '_>) -> Store {
    let text = nvram.text().map(str::trim).filter(|text| !text.is_empty());
    let file = text.or_else(|| child(nvram, "source")?.attribute("file")).unwrap_or_default();
    Store { file: file.to_owned(), format: nvram.attribute("format").unwrap_or("raw").to_owned() }
}

fn settled(path: &Path) -> Result<Vec<u8>> {
    let mut settling = Settling::default();
    loop {
        if let Some(bytes) = settling.agreed(content(path)?)? {
            return Ok(bytes);
        }
    }
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut file = File::open(path)?;
    unless_too_large(file.metadata()?.len())?;
    file.by_ref().take(FirmwareVariables::BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(os: &str) -> Firmware {
        Firmware::described(&format!("<domain><os>{os}</os><devices/></domain>")).unwrap()
    }

    #[test]
    fn variables_are_found_however_they_are_written() {
        for (os, expected) in [
            ("", None),
            ("<nvram template='/t'> /v&amp;w\n</nvram>", Some(("/v&w", "raw"))),
            ("<nvram type='file' format='qcow2'><source file='/v'/></nvram>", Some(("/v", "qcow2"))),
            ("<nvram type='network'><source protocol='iscsi'/></nvram>", Some(("", "raw"))),
        ] {
            let store = |(file, format): (&str, &str)| Store { file: file.to_owned(), format: format.to_owned() };
            assert_eq!(described(os), Firmware { variables: expected.map(store) }, "{os}");
        }
    }

    #[test]
    fn a_file_is_read_or_it_is_said_why_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vars.fd");
        let file = path.to_str().unwrap();
        let raw = described(&format!("<nvram>{file}</nvram>"));
        // One that was never on has none yet.
        assert_eq!(raw.read(false), (None, Vec::new()));
        assert!(raw.read(true).1[0].contains(&format!("firmware variables ({file}) are not in the point")));
        std::fs::write(&path, [7; 4096]).unwrap();
        let (variables, warnings) = raw.read(true);
        assert_eq!((variables, warnings), (Some(FirmwareVariables { file: file.to_owned(), bytes: vec![7; 4096] }), Vec::new()));
        File::create(&path).unwrap().set_len((16 << 20) + 1).unwrap();
        assert!(raw.read(true).1[0].contains("more than 16777216"));
        let image = described(&format!("<nvram format='qcow2'>{file}</nvram>"));
        let (variables, warnings) = image.read(false);
        assert!(variables.is_none() && warnings[0].contains("format is qcow2"), "{warnings:?}");
    }
}
