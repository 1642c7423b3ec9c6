use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{Done, Mounted, Running, disk, stillpoint_binary, text};

/// A temporary folder with everything of one test.
pub struct Lab {
    folder: TempDir,
}

impl Lab {
    /// An empty lab.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "a new lab makes a folder; nothing about it is a default")]
    pub fn new() -> Self {
        Self { folder: tempfile::Builder::new().prefix("stillpoint-lab-").tempdir().expect("a temporary folder can be made") }
    }

    /// A path in the lab.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A path in the lab, as an argument.
    #[must_use]
    pub fn arg(&self, name: &str) -> String {
        self.path(name).to_str().expect("temporary paths are text").to_owned()
    }

    /// A host with an empty home folder, pointed at the lab's vault (`vault`).
    #[must_use]
    pub fn host(&self, name: &str) -> Host {
        let home = self.path("hosts").join(name);
        fs::create_dir_all(&home).expect("a home folder can be made");
        Host { home, vault: self.path("vault"), lead: Vec::new(), settings: Vec::new() }
    }

    /// A host and a new vault.
    #[must_use]
    pub fn host_with_vault(&self) -> Host {
        let host = self.host("first");
        host.create();
        host
    }
}

/// One machine an operator works at: a home folder and an environment. Cheap to copy; a copy shares the home folder.
#[derive(Clone)]
pub struct Host {
    home: PathBuf,
    vault: PathBuf,
    lead: Vec<OsString>,
    settings: Vec<(String, String)>,
}

impl Host {
    /// The same host, looking at another vault folder.
    #[must_use]
    pub fn at_vault(&self, vault: &Path) -> Self {
        Self { vault: vault.to_owned(), ..self.clone() }
    }

    /// The same host, with one more environment variable.
    #[must_use]
    pub fn set(&self, name: &str, value: &str) -> Self {
        let mut host = self.clone();
        host.settings.push((name.to_owned(), value.to_owned()));
        host
    }

    /// The same host, its commands running where `mounted` is visible.
    #[must_use]
    pub fn within(&self, mounted: &Mounted) -> Self {
        Self { lead: mounted.entrance(), ..self.clone() }
    }

    /// The same host, its commands bound by file permissions also where the tests run as root.
    #[must_use]
    pub fn without_privileges(&self) -> Self {
        let root = fs::metadata("/proc/self").expect("/proc is mounted").uid() == 0;
        let lead: &[&str] = if root { &["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"] } else { &[] };
        Self { lead: lead.iter().map(OsString::from).collect(), ..self.clone() }
    }

    /// The same host, whose commands are killed when the thread that starts them ends: services that nobody stops.
    #[must_use]
    pub fn bound_to_us(&self) -> Self {
        Self { lead: ["setpriv", "--pdeathsig", "KILL", "--"].iter().map(OsString::from).collect(), ..self.clone() }
    }

    /// The same home folder on a machine of another name.
    #[must_use]
    pub fn elsewhere(&self, name: &str) -> Self {
        let script = r#"name=$1; shift; hostname "$name" && exec "$@""#;
        let own = ["unshare", "--uts", "sh", "-c", script, "sh", name];
        Self { lead: [self.lead.clone(), own.iter().map(OsString::from).collect()].concat(), ..self.clone() }
    }

    /// The same host, whose commands print to a full disk.
    #[must_use]
    pub fn printing_to_a_full_disk(&self) -> Self {
        let lead = ["sh", "-c", r#"exec "$@" >/dev/full"#, "sh"];
        Self { lead: lead.iter().map(OsString::from).collect(), ..self.clone() }
    }

    /// The vault's folder.
    #[must_use]
    pub fn vault(&self) -> &Path {
        &self.vault
    }

    /// The vault's URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("file://{}", self.vault.display())
    }

    /// The host's home folder.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Starts `stillpoint` with these arguments.
    #[must_use]
    pub fn spawn(&self, args: &[&str]) -> Running {
        let mut words: Vec<OsString> = self.lead.clone();
        words.extend(["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"].map(OsString::from));
        let folders = [("HOME", self.home.clone()), ("XDG_CONFIG_HOME", self.home.join(".config"))];
        words.extend(folders.map(|(name, folder)| assignment(name, folder.as_os_str())));
        words.push(assignment("STILLPOINT_VAULT", OsStr::new(&self.url())));
        words.extend(self.settings.iter().map(|(name, value)| assignment(name, OsStr::new(value))));
        words.push(stillpoint_binary().into());
        words.extend(args.iter().map(OsString::from));
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).current_dir(&self.home);
        Running::start(command, format!("stillpoint {}", args.join(" ")))
    }

    /// Runs a command to its end.
    #[must_use]
    pub fn run(&self, args: &[&str]) -> Done {
        self.spawn(args).finish()
    }

    /// Runs a command that works, and returns its document. Exit code 3 and warnings in the document go together.
    pub fn json(&self, args: &[&str]) -> Value {
        let done = self.run(&[&["--json"], args].concat()).ok();
        let document = done.json();
        if let Some(warnings) = document.get("warnings").and_then(Value::as_array) {
            assert_eq!(done.code == Some(3), !warnings.is_empty(), "3 means warnings: {done}");
        }
        document
    }

    /// Runs a command that fails, and returns its one line.
    pub fn fails(&self, args: &[&str]) -> String {
        let done = self.run(&[&["--json"], args].concat());
        assert!(done.stdout.is_empty(), "a failed command prints no document: {done}");
        done.error()
    }

    /// Makes the vault.
    pub fn create(&self) -> Value {
        let created = self.json(&["vault", "create"]);
        assert_eq!(text(&created, "/url"), self.url());
        created
    }

    /// Describes a machine, or describes it anew: these disks, no others.
    pub fn add(&self, name: &str, disks: &[(&str, &Path)]) {
        let disks: Vec<String> = disks.iter().map(|(disk, path)| format!("{disk}={}", path.display())).collect();
        let mut args = vec!["machine", "add", name, "--platform", "image", "--replace"];
        args.extend(disks.iter().flat_map(|disk| ["--disk", disk.as_str()]));
        self.run(&args).ok();
    }

    /// Backs a machine up, and checks that the report has all its fields.
    pub fn backup(&self, name: &str) -> Value {
        let report = self.json(&["backup", name]);
        let counts = ["put", "get", "list", "head", "delete"].map(|kind| format!("/requests/{kind}"));
        for field in ["/read_bytes", "/changed_bytes", "/stored_bytes", "/duration_ms"]
            .into_iter()
            .chain(counts.iter().map(String::as_str))
        {
            assert!(report.pointer(field).is_some_and(Value::is_u64), "no whole number at {field} in {report}");
        }
        assert!(report["disks"].as_array().is_some_and(|disks| !disks.is_empty()), "a backup names its disks: {report}");
        assert!(!text(&report, "/job").is_empty() && !text(&report, "/point").is_empty());
        assert!(text(&report, "/state").starts_with("completed"), "{report}");
        report
    }

    /// The machine's recovery points, oldest first.
    #[must_use]
    pub fn points(&self, name: &str) -> Vec<Value> {
        let document = self.json(&["points", name]);
        document["points"].as_array().unwrap_or_else(|| panic!("no points in {document}")).clone()
    }

    /// The jobs of one operation (`backup`, `restore`) on a machine.
    #[must_use]
    pub fn jobs(&self, operation: &str, item: &str) -> Vec<Value> {
        let document = self.json(&["jobs"]);
        let all = document["jobs"].as_array().unwrap_or_else(|| panic!("no jobs in {document}"));
        all.iter().filter(|job| text(job, "/operation") == operation && text(job, "/item") == item).cloned().collect()
    }

    /// Restores a point into an empty folder and compares it with these disks, byte for byte.
    pub fn restores(&self, name: &str, point: &str, into: &Path, disks: &[(&str, &Path)]) -> Value {
        let folder = into.to_str().expect("temporary paths are text");
        let report = self.json(&["restore", name, "--point", point, "--to", folder]);
        assert_eq!(text(&report, "/state"), "completed", "{report}");
        let mut expected: Vec<String> = disks.iter().map(|(disk, _)| format!("{disk}.raw")).collect();
        expected.sort();
        assert_eq!(disk::names(into), expected, "a restore writes its disks and nothing else");
        for (disk, original) in disks {
            disk::assert_same(original, &into.join(format!("{disk}.raw")));
        }
        report
    }
}

fn assignment(name: &str, value: &OsStr) -> OsString {
    let mut word = OsString::from(name);
    word.push("=");
    word.push(value);
    word
}
