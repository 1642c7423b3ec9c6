use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use serde::Serialize;
use stillpoint_format::{Secret, SlotKind, parse_recovery_key, recovery_key};
use stillpoint_kms::{KeyArn, Kms};
use stillpoint_model::{Error, Result, VaultId};
use stillpoint_store::{Access, Store};
use stillpoint_vault::{Draft, Settings, SlotSummary, Vault};

use super::replication::Lag;
use crate::{
    args::{Global, Vault as Command},
    folders::Folders,
    key, keyfile, output,
    session::{Session, system, vault_url},
};

pub async fn run(global: Global, command: Command) -> Result<ExitCode> {
    match command {
        Command::Create { recovery_key_file, no_key_file } => {
            let created = create(&global, recovery_key_file.as_deref(), !no_key_file).await?;
            created.print(global.json).map_err(|error| match &created.recovery_key {
                // Nobody has seen the key, and nothing can show it again.
                Some(_) => {
                    error.context("the vault was made, but its recovery key was not shown: delete the vault and make it again")
                }
                None => error,
            })?;
        }
        Command::AddKms { key } => add_kms(&Session::open(global).await?, &key).await?,
        Command::Info => info(&Session::open(global).await?).await?,
        Command::Set(wanted) => return super::settings::set(&Session::open(global).await?, wanted).await,
        Command::Pair(wanted) => return super::pair::pair(&Session::open(global).await?, wanted).await,
        Command::Promote { yes } => return super::pair::promote(&Session::open(global).await?, yes).await,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kms_key: Option<String>,
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
                "recovery key  {key}\n\nWrite the recovery key down and keep it away from this machine: it is shown this once. Who loses\nit and {} loses the vault.\n",
                self.other_ways()
            ),
            (None, Some(file)) => format!("recovery key  in {}; keep it away from this machine\n", file.display()),
            (None, None) => String::new(),
        };
        let row = |name: &str, value: Option<String>| value.map(|value| format!("{name:14}{value}\n")).unwrap_or_default();
        output::document(&format!(
            "vault         {}\nat            {}\n{}{}{recovery}",
            self.vault,
            self.url,
            row("key file", self.key_file.as_ref().map(|file| file.display().to_string())),
            row("KMS key", self.kms_key.clone())
        ))
    }

    /// What else opens the vault.
    const fn other_ways(&self) -> &'static str {
        match (&self.key_file, &self.kms_key) {
            (_, None) => "the key file",
            (None, Some(_)) => "the KMS key",
            (Some(_), Some(_)) => "the key file and the KMS key",
        }
    }
}

/// Makes a vault, its recovery key, with `--kms` its KMS slot, and its key file if it is wanted. Nothing is left when that fails.
pub async fn create(global: &Global, recovery_key_file: Option<&Path>, wants_key_file: bool) -> Result<Created> {
    if !wants_key_file && global.kms.is_none() {
        return Err(Error::invalid(
            "--no-key-file needs --kms ARN: with the recovery key alone, losing that would lose the vault",
        ));
    }
    let url = vault_url(global)?;
    let directory = url::Url::parse(&url).ok().and_then(|url| url.to_file_path().ok());
    let _made = directory.as_deref().map(Folders::missing);
    let (clock, random) = system();
    let store = Store::open(&url, Access::Create, Arc::clone(&clock))?;
    let mut draft = Draft::prepare(store, clock, random).await?;
    let id = draft.identity.id;
    if let Some(arn) = &global.kms {
        draft.add_service_slot(&Kms::from_env(None), arn.as_str()).await?;
    }
    if !wants_key_file {
        draft.without_key_file();
    }
    let (mut written, mut key_file, mut shown) = (Written::default(), None, None);
    for (kind, secret) in &draft.secrets {
        match (kind, recovery_key_file) {
            (SlotKind::KeyFile, _) => {
                let file = key_file.insert(key::path(global, id)?);
                written.add(file, || keyfile::write(file, id, secret))?;
            }
            (_, Some(file)) => written.add(file, || keyfile::write_private(file, &recovery_key(secret)))?,
            (_, None) => shown = Some(recovery_key(secret)),
        }
    }
    draft.commit().await?;
    written.keep();
    let kms_key = global.kms.as_ref().map(ToString::to_string);
    let recovery_key_file = recovery_key_file.map(Path::to_path_buf);
    Ok(Created { vault: id, url, key_file, kms_key, recovery_key_file, recovery_key: shown })
}

async fn add_kms(session: &Session, key: &KeyArn) -> Result<()> {
    session.vault.add_service_slot(session.key.opener(), &Kms::from_env(None), key.as_str()).await?;
    if session.global.json {
        return output::json(&Added { vault: session.vault.identity().id, kms_key: key.as_str() });
    }
    output::line(&format!("vault {} opens with KMS key {key}, too", session.vault.identity().id));
    Ok(())
}

#[derive(Serialize)]
struct Added<'a> {
    vault: VaultId,
    kms_key: &'a str,
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
    /// Absent when AWS KMS opened the vault.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
    key_slots: Vec<SlotSummary>,
    machines: usize,
    settings: Settings,
    /// How far the replica is; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<Lag>,
}

async fn info(session: &Session) -> Result<()> {
    let identity = session.vault.identity();
    let info = Info {
        vault: identity.id,
        url: session.vault.store().url().to_owned(),
        format_version: identity.format_version,
        created: identity.created,
        key_file: session.key.file().map(Path::to_path_buf),
        key_slots: session.vault.slots().await?,
        machines: session.vault.item_names().await?.len(),
        settings: session.vault.settings().await?,
        replica: Lag::look(session).await?,
    };
    if session.global.json {
        return output::json(&info);
    }
    let name = |slot: &SlotSummary| match slot.kind {
        SlotKind::KeyFile => "key file".to_owned(),
        SlotKind::RecoveryKey => "recovery key".to_owned(),
        SlotKind::Kms => format!("kms {}", slot.key.as_deref().unwrap_or_default()),
    };
    let slots: Vec<String> = info.key_slots.iter().map(name).collect();
    output::line(&format!(
        "vault      {}\nat         {}\nformat     {}\ncreated    {}\nkey file   {}\nopens with {}\nmachines   {}",
        info.vault,
        info.url,
        info.format_version,
        info.created,
        info.key_file.as_ref().map_or_else(|| "none here; AWS KMS opened it".to_owned(), |file| file.display().to_string()),
        slots.join(", "),
        info.machines
    ));
    super::settings::rows(&info.settings).iter().for_each(|row| output::line(row));
    if let Some(lag) = &info.replica {
        output::line(&format!("replica    {}", lag.line()));
    }
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
    /// Absent when AWS KMS opens the vault here, and no key file is needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_file: Option<PathBuf>,
}

async fn open(global: &Global, recovery: Option<String>, recovery_file: Option<PathBuf>) -> Result<()> {
    let store = Store::open(&vault_url(global)?, Access::Existing, system().0)?;
    let id = Vault::identify(&store).await?.id;
    let text = match (recovery, recovery_file) {
        (Some(text), _) => Some(text),
        (None, Some(file)) => Some(
            std::fs::read_to_string(&file)
                .map_err(|error| Error::from(error).context(format!("cannot read {}", file.display())))?,
        ),
        (None, None) => None,
    };
    let key_file = match (text, &global.key_file) {
        (Some(text), _) => Some(open_with_recovery_key(store, &text, key::path(global, id)?).await?),
        (None, Some(file)) => Some(open_with_key_file(store, id, file).await?),
        (None, None) => {
            open_with_kms(global, store).await?;
            None
        }
    };
    if global.json {
        return output::json(&Opened { vault: id, key_file });
    }
    let how = key_file.map_or_else(
        || "it opens through AWS KMS, and needs no key file".to_owned(),
        |file| format!("its key file is {}", file.display()),
    );
    output::line(&format!("vault {id} can be used on this machine; {how}"));
    Ok(())
}

/// Makes a key file of this machine's own.
async fn open_with_recovery_key(store: Store, text: &str, path: PathBuf) -> Result<PathBuf> {
    let (clock, random) = system();
    let recovery: Secret = parse_recovery_key(text).map_err(|error| Error::denied(error.to_string()))?;
    let vault = Vault::open(store, &recovery, clock, Arc::clone(&random)).await?;
    let mut secret: Secret = [0; 32];
    random.fill(&mut secret);
    keyfile::write(&path, vault.identity().id, &secret)?;
    if let Err(error) = vault.add_slot(&recovery, SlotKind::KeyFile, &secret).await {
        drop(std::fs::remove_file(&path));
        return Err(error);
    }
    Ok(path)
}

/// Copies a key file to where commands look for it.
async fn open_with_key_file(store: Store, id: VaultId, given: &Path) -> Result<PathBuf> {
    let (clock, random) = system();
    let default = keyfile::default_path(id)?;
    let secret = keyfile::read(given, id)?;
    Vault::open(store, &secret, clock, random).await?;
    if given != default {
        keyfile::write(&default, id, &secret)?;
    }
    Ok(default)
}

/// Nothing is to be put on this machine: commands open the vault so by themselves.
async fn open_with_kms(global: &Global, store: Store) -> Result<()> {
    if Vault::service_keys(&store).await?.is_empty() {
        return Err(Error::invalid("give --key-file, --recovery-key or --recovery-key-file to open the vault with"));
    }
    let (clock, random) = system();
    Vault::open_through(store, &Kms::from_env(global.kms.clone()), clock, random).await.map(drop)
}
