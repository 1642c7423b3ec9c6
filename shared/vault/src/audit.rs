use std::collections::{HashMap, HashSet};

use serde::Serialize;
use stillpoint_format::PackUse;
use stillpoint_model::{ErrorKind, ItemName, PointId, Result};

use crate::{Name, Vault};

/// One thing that an existence audit found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The machine whose point is hurt.
    pub item: ItemName,
    /// The point that is hurt.
    pub point: PointId,
    /// The object.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
}

/// The result of an existence audit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Points looked at.
    pub points: u64,
    /// Distinct objects that they need: their records, manifests and packs.
    pub objects: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
    /// Objects whose names belong to no vault of this version.
    pub unknown: Vec<String>,
}

impl Vault {
    /// Sizes of all packs of one machine, by name.
    ///
    /// # Errors
    /// As the store.
    pub async fn pack_sizes(&self, item: &ItemName) -> Result<HashMap<String, u64>> {
        let entries = self.store().list(&Name::packs_folder(item)).await?;
        Ok(entries.into_iter().map(|entry| (entry.name, entry.size_bytes)).collect())
    }

    /// Those of `packs` that do not exist or have another size, each with the reason. One listing per machine that they
    /// belong to.
    ///
    /// # Errors
    /// As the store.
    pub async fn absent_packs(&self, packs: &[PackUse]) -> Result<Vec<(String, &'static str)>> {
        let mut sizes = HashMap::<ItemName, HashMap<String, u64>>::new();
        let mut absent = Vec::new();
        for used in packs {
            let Ok(Name::Pack { item, .. }) = used.pack.name.parse() else {
                absent.push((used.pack.name.to_string(), "no name of a pack"));
                continue;
            };
            if !sizes.contains_key(&item) {
                sizes.insert(item.clone(), self.pack_sizes(&item).await?);
            }
            match sizes.get(&item).and_then(|sizes| sizes.get(&*used.pack.name)) {
                None => absent.push((used.pack.name.to_string(), "missing")),
                Some(size) if *size != used.size_bytes => {
                    absent.push((used.pack.name.to_string(), "of another size than written"))
                }
                Some(_) => {}
            }
        }
        Ok(absent)
    }

    /// Checks that everything every committed point needs exists, by listing; reads no pack, and everything else from the store.
    ///
    /// # Errors
    /// As the store; damage is a finding, not an error.
    pub async fn audit(&self) -> Result<Report> {
        let vault = self.afresh();
        let entries = vault.store().list("").await?;
        let mut report = Report::default();
        let mut sizes = HashMap::new();
        let mut points = Vec::new();
        for entry in &entries {
            match entry.name.parse::<Name>() {
                Ok(Name::Pack { .. }) => drop(sizes.insert(entry.name.as_str(), entry.size_bytes)),
                Ok(Name::Point(item, point)) => points.push((item, point)),
                Ok(_) => {}
                Err(_) => report.unknown.push(entry.name.clone()),
            }
        }
        let mut packs_needed = HashSet::new();
        for (item, id) in points {
            report.points += 1;
            let finding = |object: String, problem: String| Finding { item: item.clone(), point: id, object, problem };
            report.objects += 1;
            let point = match vault.point(&item, id).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => {
                    report.findings.push(finding(Name::Point(item.clone(), id).to_string(), error.one_line()));
                    continue;
                }
                Ok(point) => point,
            };
            report.objects += 1;
            // The whole manifest: its disk maps are needed too, and a flipped byte in them shows here.
            match vault.manifest(&point).await {
                Ok(manifest) => {
                    for used in manifest.packs {
                        let problem = match sizes.get(&*used.pack.name) {
                            None => "missing".to_owned(),
                            Some(size) if *size != used.size_bytes => format!("has {size} bytes, not {}", used.size_bytes),
                            Some(_) => String::new(),
                        };
                        if !problem.is_empty() {
                            report.findings.push(finding(used.pack.name.to_string(), problem));
                        }
                        packs_needed.insert(used.pack.name);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Unavailable => return Err(error),
                Err(error) => report.findings.push(finding(point.manifest.name.clone(), error.one_line())),
            }
        }
        report.objects += packs_needed.len() as u64;
        Ok(report)
    }
}
