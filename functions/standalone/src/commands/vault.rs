use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use serde::Serialize;
use stillpoint_format::{Secret, SlotKind, parse_recovery_key, recovery_key};
use stillpoint_model::{Error, Result, VaultId};
use stillpoint_store::{Access, Store};
use stillpoint_vault::{Draft, SlotSummary, Vault};

use crate::{
    args::{Global, Vault as Command},
    folders::Folders,
    keyfile, output,
    session::{Session, key_path, system, vault_url},
};

pub async fn run(global: Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Create { recovery_key_file } => {
            let created = create(&global, recovery_key_file.as_deref()).await?;
            created.print(global.json).map_err(|error| match &created.recovery_key {
                // Nobody has seen the key, and nothing can show it again.
                Some(_) => {
                    error.context("the vault was made, but its recovery key was not shown: delete the vault and make it again")
                }
                None => error,
            })?;
        }
        Command::Info => info(&Session::open(global).await?).await?,
        Command::Check => return check(&Session::open(global).await?).await,
        Command::Open { recovery_key, recovery_key_file } => open(&global, recovery_key, recovery_key_file).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A vault that was just made.
#[derive(Serialize)]
pub struct Created {
    vault: VaultId,
    url: String,
    pub key_file: PathBuf,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    recovery_key: Option<String>,
}

impl Created {
    fn print(&self, json: bool) -> Result<()> {
        if json {
            return output::json(self);
        }
        let recovery = match (&self.recovery_key, &self.recovery_key_file) {
            (Some(key), _) => format!(
                "recovery key  {key}\n\nWrite the recovery key down and keep it away from this machine: it is shown this once. Who loses\nit and the key file loses the vault.\n"
            ),
            (None, Some(file)) => format!("recovery key  in {}; keep it away from this machine\n", file.display()),
            (None, None) => String::new(),
        };
        output::document(&format!(
            "vault         {}\nat            {}\nkey file      {}\n{recovery}",
            self.vault,
            self.url,
            self.key_file.display()
        ))
    }
}

/// Makes a vault, its key file and its recovery key. Nothing is left when that fails.
pub async fn create(global: &Global, recovery_key_file: Option<&Path>) -> Result<Created> {
    let url = vault_url(global)?;
    let directory = url::Url::parse(&url).ok().and_then(|url| url.to_file_path().ok());
    let _made = directory.as_deref().map(Folders::missing);
    let (clock, random) = system();
    let draft = Draft::prepare(Store::open(&url, Access::Create)?, clock, random).await?;
    let id = draft.identity.id;
    let key_file = key_path(global, id)?;
    let [(_, key), (_, recovery)] = draft.secrets;
    let mut written = Written::default();
    written.add(&key_file, || keyfile::write(&key_file, id, &key))?;
    if let Some(file) = recovery_key_file {
        written.add(file, || keyfile::write_private(file, &recovery_key(&recovery)))?;
    }
    draft.commit().await?;
    written.keep();
    let recovery_key = recovery_key_file.is_none().then(|| recovery_key(&recovery));
    Ok(Created { vault: id, url, key_file, recovery_key_file: recovery_key_file.map(Path::to_path_buf), recovery_key })
}

/// Files that go when the vault they were made for does not come to be.
#[derive(Default)]
struct Written(Vec<PathBuf>);

impl Written {
    fn add(&mut self, path: &Path, write: impl FnOnce() -> Result<()>) -> Result<()> {
        write()?;
        self.0.push(path.to_path_buf());
        Ok(())
    }

    fn keep(&mut self) {
        self.0.clear();
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        self.0.iter().for_each(|path| drop(std::fs::remove_file(path)));
    }
}

#[derive(Serialize)]
struct Info {
    vault: VaultId,
    url: String,
    format_version: u16,
    created: jiff::Timestamp,
    key_file: PathBuf,
    key_slots: Vec<SlotSummary>,
    machines: usize,
}

async fn info(session: &Session) -> Result<()> {
    let identity = session.vault.identity();
    let info = Info {
        vault: identity.id,
        url: session.vault.store().url().to_owned(),
        format_version: identity.format_version,
        created: identity.created,
        key_file: session.key_path.clone(),
        key_slots: session.vault.slots().await?,
        machines: session.vault.item_names().await?.len(),
    };
    if session.global.json {
        return output::json(&info);
    }
    let kind = |kind: SlotKind| match kind {
        SlotKind::KeyFile => "key file",
        SlotKind::RecoveryKey => "recovery key",
    };
    let slots: Vec<&str> = info.key_slots.iter().map(|slot| kind(slot.kind)).collect();
    output::line(&format!(
        "vault      {}\nat         {}\nformat     {}\ncreated    {}\nkey file   {}\nopens with {}\nmachines   {}",
        info.vault,
        info.url,
        info.format_version,
        info.created,
        info.key_file.display(),
        slots.join(", "),
        info.machines
    ));
    Ok(())
}

async fn check(session: &Session) -> Result<ExitCode> {
    let report = session.vault.audit().await?;
    if session.global.json {
        output::json(&report)?;
    } else {
        for finding in &report.findings {
            output::line(&format!("{} {}: {} ({})", finding.item, finding.point, finding.object, finding.problem));
        }
        for unknown in &report.unknown {
            output::line(&format!("unknown object {unknown}"));
        }
        output::line(&format!("{} points need {} objects", report.points, report.objects));
    }
    match report.findings.len() {
        0 => Ok(ExitCode::SUCCESS),
        count => Err(Error::corrupt(format!("{count} findings: these points cannot be restored whole"))),
    }
}

#[derive(Serialize)]
struct Opened {
    vault: VaultId,
    key_file: PathBuf,
}

async fn open(global: &Global, recovery: Option<String>, recovery_file: Option<PathBuf>) -> Result<()> {
    let store = Store::open(&vault_url(global)?, Access::Existing)?;
    let id = Vault::identify(&store).await?.id;
    let default = keyfile::default_path(id)?;
    let text = match (recovery, recovery_file) {
        (Some(text), _) => Some(text),
        (None, Some(file)) => Some(
            std::fs::read_to_string(&file)
                .map_err(|error| Error::from(error).context(format!("cannot read {}", file.display())))?,
        ),
        (None, None) => None,
    };
    let (clock, random) = system();
    let key_file = match text {
        Some(text) => {
            let recovery: Secret = parse_recovery_key(&text).map_err(|error| Error::denied(error.to_string()))?;
            let vault = Vault::open(store, &recovery, clock, std::sync::Arc::clone(&random)).await?;
            let path = global.key_file.clone().unwrap_or(default);
            let mut secret: Secret = [0; 32];
            random.fill(&mut secret);
            keyfile::write(&path, id, &secret)?;
            if let Err(error) = vault.add_slot(&recovery, SlotKind::KeyFile, &secret).await {
                drop(std::fs::remove_file(&path));
                return Err(error);
            }
            path
        }
        None => {
            let given = global.key_file.clone();
            let given = given
                .ok_or_else(|| Error::invalid("give --key-file, --recovery-key or --recovery-key-file to open the vault with"))?;
            let secret = keyfile::read(&given, id)?;
            Vault::open(store, &secret, clock, random).await?;
            if given != default {
                keyfile::write(&default, id, &secret)?;
            }
            default
        }
    };
    if global.json {
        return output::json(&Opened { vault: id, key_file });
    }
    output::line(&format!("vault {id} can be used on this machine; its key file is {}", key_file.display()));
    Ok(())
}
