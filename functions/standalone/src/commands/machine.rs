use std::process::ExitCode;

use serde_json::json;
use stillpoint_model::{Error, Result};
use stillpoint_vault::Item;

use crate::{args::Machine as Command, disks, output, remote, session::Session};

pub async fn run(session: &Session, command: Command) -> Result<ExitCode> {
    match command {
        Command::Add { name, platform, disk, replace } => {
            let site = remote::site(&session.global)?;
            let item = Item::new(name, &platform, site.as_str(), disks::sources(&disk)?, jiff::Timestamp::now());
            add(session, &item, replace).await?;
        }
        Command::List => list(session).await?,
        Command::Show { name } => show(session, &session.vault.item(&name).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the disks, then writes the machine's record.
pub async fn add(session: &Session, item: &Item, replace: bool) -> Result<()> {
    session.platforms.get(&item.platform)?.inspect(&item.disks).await?;
    session.vault.write_item(item, replace).await?;
    show(session, item)
}

fn show(session: &Session, item: &Item) -> Result<()> {
    if session.global.json {
        return output::json(item);
    }
    output::line(&format!("{} on {} ({})", item.name, item.platform, item.site));
    let rows = item.disks.iter().map(|disk| vec![disk.name.to_string(), disk.location.clone()]).collect();
    output::table(&["DISK", "PATH"], rows);
    Ok(())
}

async fn list(session: &Session) -> Result<()> {
    let mut items = Vec::new();
    for name in session.vault.item_names().await? {
        match session.vault.item(&name).await {
            Ok(item) => items.push(item),
            // One damaged record must not hide the other machines.
            Err(error) => output::complain(&Error::one_line(&error)),
        }
    }
    if session.global.json {
        return output::json(&json!({ "machines": items }));
    }
    let names = |item: &Item| item.disks.iter().map(|disk| disk.name.as_str()).collect::<Vec<_>>().join(", ");
    let rows =
        items.iter().map(|item| vec![item.name.to_string(), item.platform.clone(), item.site.clone(), names(item)]).collect();
    output::table(&["MACHINE", "PLATFORM", "SITE", "DISKS"], rows);
    Ok(())
}
