//! Arguments of the commands about the lives of recovery points.

use std::{num::NonZeroU32, str::FromStr};

use clap::{ArgGroup, Args, Subcommand};
use stillpoint_model::{Immutability, ItemName, PointId};

/// Most characters of a reason.
const WHY_CHARS_MAX: usize = 500;

#[derive(Debug, Subcommand)]
pub enum Point {
    /// Keep a point whatever its policy says, until it is released
    Hold(Marked),
    /// Take a hold back: the policy counts again
    Release(Marked),
    /// Delete a point softly: `point undelete` takes it back, for as long as `vault info` says
    Delete(Marked),
    /// Take a deletion back, also one by `prune`
    Undelete(Marked),
}

/// One point, and why something is done about it.
#[derive(Debug, Clone, Args)]
pub struct Marked {
    /// The machine
    #[arg(value_name = "MACHINE")]
    pub name: ItemName,
    /// The point's id, as `points` shows it
    #[arg(value_name = "ID")]
    pub id: PointId,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT", value_parser = why, default_value = "by the operator", hide_default_value = true)]
    pub why: String,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("points").required(true).args(["retain", "delete"]))]
pub struct Stop {
    /// Its name
    pub name: ItemName,
    /// Keep all its points until it is protected again
    #[arg(long)]
    pub retain: bool,
    /// Delete all its points softly; `machine undelete` takes that back in time
    #[arg(long)]
    pub delete: bool,
    /// Days in which the deletion can be taken back [default: the vault's, see `vault info`]
    #[arg(long, value_name = "N", conflicts_with = "retain", value_parser = clap::value_parser!(u32).range(14..=180))]
    pub days: Option<u32>,
}

#[derive(Debug, Args)]
#[command(group = ArgGroup::new("setting").required(true).multiple(true).args(
    ["immutability", "undelete_days", "verify_days", "concurrent", "site_concurrent", "confirm_clock"]
))]
pub struct Settings {
    /// off, on: no point goes before its time is up; locked: as on, for good
    #[arg(long, value_name = "off|on|locked")]
    pub immutability: Option<Immutability>,
    /// Days in which deleted points can be undeleted, 14 to 180
    #[arg(long, value_name = "N")]
    pub undelete_days: Option<u32>,
    /// Days within which every byte is read again
    #[arg(long, value_name = "N")]
    pub verify_days: Option<u32>,
    /// Most scheduled backups at a time, or none for no limit
    #[arg(long, value_name = "N|none")]
    pub concurrent: Option<Limit>,
    /// Most scheduled backups at a time at a site, or none for no limit
    #[arg(long, value_name = "SITE=N|none", value_parser = site_limit)]
    pub site_concurrent: Vec<(String, Limit)>,
    /// The clock is right: what may expire by it expires
    #[arg(long)]
    pub confirm_clock: bool,
    /// Lock the vault without being asked
    #[arg(long)]
    pub yes: bool,
}

/// A limit that may be taken away.
#[derive(Debug, Clone, Copy)]
pub struct Limit(pub Option<u32>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "none" {
            return Ok(Self(None));
        }
        let number: NonZeroU32 = text.parse().map_err(|_| "give a number from 1 on, or none".to_owned())?;
        Ok(Self(Some(number.get())))
    }
}

fn site_limit(text: &str) -> Result<(String, Limit), String> {
    let (site, limit) = text.rsplit_once('=').ok_or("a limit is given as SITE=N")?;
    let site: stillpoint_broker::Site = site.parse().map_err(|error: stillpoint_model::Error| error.to_string())?;
    Ok((site.as_str().to_owned(), limit.parse()?))
}

fn why(text: &str) -> Result<String, String> {
    let is_plain = !text.trim().is_empty() && !text.chars().any(char::is_control) && text.chars().count() <= WHY_CHARS_MAX;
    if is_plain { Ok(text.to_owned()) } else { Err(format!("give one line of at most {WHY_CHARS_MAX} characters")) }
}
