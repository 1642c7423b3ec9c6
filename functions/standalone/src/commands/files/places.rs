//! Where in a point file systems are.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use serde_json::{Value, json};
use stillpoint_files::{Content, Partition, Source, TableKind, Volume, VolumePath, Window, identify, partitions};
use stillpoint_model::{DiskName, Error, ErrorKind, Result};
use stillpoint_reader::{DiskReader, PointReader};
use tokio::runtime::Handle;

use crate::args::Files;

/// The disks of a point, for a thread that blocks.
pub struct Places {
    pub reader: PointReader,
    pub handle: Handle,
    pub stopped: Arc<AtomicBool>,
}

struct BlockingDisk {
    disk: DiskReader,
    handle: Handle,
    stopped: Arc<AtomicBool>,
}

impl Source for BlockingDisk {
    fn size_bytes(&self) -> u64 {
        self.disk.size_bytes()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<()> {
        if self.stopped.load(Ordering::Relaxed) {
            return Err(Error::fenced("interrupted by the operator"));
        }
        buffer.copy_from_slice(&self.handle.block_on(self.disk.read(offset, buffer.len()))?);
        Ok(())
    }
}

/// A partition, or a disk without any, and what it holds.
pub struct Place {
    pub disk: DiskName,
    pub partition: Option<Partition>,
    pub content: Content,
    table: TableKind,
    source: Arc<dyn Source>,
}

impl Places {
    /// The places that were chosen; all without a choice.
    pub fn choose(&self, disk: Option<&DiskName>, partition: Option<u32>) -> Result<Vec<Place>> {
        let disks = match disk {
            Some(name) => vec![self.reader.disk(name)?],
            None => self.reader.disks(),
        };
        let mut places = Vec::new();
        for disk in disks {
            places.extend(self.of_disk(disk, partition)?);
        }
        match partition.filter(|_| places.is_empty()) {
            Some(number) => Err(Error::missing(format!("no disk that was looked at has a partition {number}"))),
            None => Ok(places),
        }
    }

    fn of_disk(&self, disk: DiskReader, wanted: Option<u32>) -> Result<Vec<Place>> {
        let name = disk.name().clone();
        let source: Arc<dyn Source> =
            Arc::new(BlockingDisk { disk, handle: self.handle.clone(), stopped: Arc::clone(&self.stopped) });
        let table = partitions(&source)?;
        let parts: Vec<Option<Partition>> = match table.kind {
            TableKind::None => vec![None],
            TableKind::Mbr | TableKind::Gpt => table.partitions.into_iter().map(Some).collect(),
        };
        let is_wanted = |part: &Option<Partition>| {
            wanted.is_none_or(|wanted| part.as_ref().is_some_and(|partition| partition.number == wanted))
        };
        let place = |partition| {
            let mut place = Place {
                disk: name.clone(),
                partition,
                content: Content::Unknown,
                table: table.kind,
                source: Arc::clone(&source),
            };
            place.content = identify(&place.window())?;
            Ok(place)
        };
        parts.into_iter().filter(is_wanted).map(place).collect()
    }
}

impl Place {
    fn window(&self) -> Window {
        let (offset, length) = self.partition.as_ref().map_or((0, u64::MAX), |partition| (partition.offset, partition.length));
        Window::new(Arc::clone(&self.source), offset, length)
    }

    /// Its size.
    pub fn size_bytes(&self) -> u64 {
        self.window().size_bytes()
    }

    fn open(&self) -> Result<Volume> {
        Volume::open(self.content, &self.window()).map_err(|error| error.context(self))
    }

    /// What `--json` says of it in a list.
    pub fn volume(&self) -> Value {
        let partition = self.partition.as_ref();
        let table = match self.table {
            TableKind::Mbr => Some("mbr"),
            TableKind::Gpt => Some("gpt"),
            TableKind::None => None,
        };
        json!({
            "disk": self.disk,
            "table": table,
            "partition": partition.map(|partition| partition.number),
            "label": partition.map(|partition| &partition.label),
            "offset_bytes": partition.map_or(0, |partition| partition.offset),
            "size_bytes": self.size_bytes(),
            "holds": self.content.as_str(),
            "files": self.content.is_readable(),
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "disk {}", self.disk)?;
        if let Some(partition) = &self.partition {
            write!(f, ", partition {}", partition.number)?;
        }
        write!(f, " ({})", self.content.as_str())
    }
}

/// The one place that has a path, with its file system.
///
/// # Errors
/// `missing` where none has it, `invalid` where several have, or no file system can be read; where one place was chosen, what is wrong
/// with it.
pub fn only(places: Vec<Place>, path: &VolumePath, wanted: &Files) -> Result<(Place, Volume)> {
    let alone = places.len() == 1;
    let (readable, other): (Vec<Place>, Vec<Place>) = places.into_iter().partition(|place| place.content.is_readable());
    let other: Vec<Place> = other.into_iter().filter(|place| place.content != Content::Empty).collect();
    if readable.is_empty() {
        return Err(Error::invalid(format!("no file system that is read here was found{}", way_out(&other, wanted))));
    }
    let (mut having, mut without, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for place in readable {
        let looked = place.open().and_then(|volume| volume.entry(path).map(|_| volume));
        match looked {
            Ok(volume) => having.push((place, volume)),
            Err(error) if alone => return Err(error),
            Err(error) if error.kind() == ErrorKind::Missing => without.push(place),
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Invalid) => failures.push(error.one_line()),
            Err(error) => return Err(error),
        }
    }
    let found = listed(having.iter().map(|(place, _)| place));
    match (having.len(), having.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) if failures.is_empty() => {
            Err(Error::missing(format!("{} does not exist on {}{}", path.shown(), listed(&without), way_out(&other, wanted))))
        }
        (0, _) => Err(Error::corrupt(format!("{} was not found: {}", path.shown(), failures.join("; ")))),
        _ => Err(Error::invalid(format!("{} is on {found}: choose with --disk and --partition", path.shown()))),
    }
}

fn listed<'a>(places: impl IntoIterator<Item = &'a Place>) -> String {
    places.into_iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// How to come at what is not read here.
fn way_out(other: &[Place], wanted: &Files) -> String {
    if other.is_empty() {
        return String::new();
    }
    format!(
        "; {} cannot be read here: serve the point, `stillpoint serve-point {} --nbd unix:/run/point.nbd`, and attach it with nbdfuse or qemu-nbd",
        listed(other),
        wanted.name
    )
}
