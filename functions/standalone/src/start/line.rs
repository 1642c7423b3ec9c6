//! The words of a command line of QEMU's, as options and their values.

/// Options that take no value (qemu-options.hx); any other takes the word that follows.
const FLAGS: [&str; 36] = [
    "S",
    "snapshot",
    "enable-kvm",
    "nographic",
    "daemonize",
    "no-reboot",
    "no-shutdown",
    "nodefaults",
    "no-user-config",
    "nouserconfig",
    "usb",
    "s",
    "full-screen",
    "no-acpi",
    "no-hpet",
    "no-quit",
    "no-frame",
    "alt-grab",
    "ctrl-grab",
    "win2k-hack",
    "no-fd-bootchk",
    "singlestep",
    "one-insn-per-tb",
    "preconfig",
    "curses",
    "portrait",
    "only-migratable",
    "mem-prealloc",
    "old-param",
    "semihosting",
    "xen-attach",
    "xen-domid-restrict",
    "enable-fips",
    "help",
    "h",
    "version",
];
/// Options that say where this run begins, and not what the machine is; with their values.
const TRANSIENT: [&str; 3] = ["incoming", "S", "loadvm"];

/// The monitor that a machine has which was restored instantly, for as long as that QEMU runs.
pub const MONITOR: &str = "instant.qmp";

/// One option, or a disk image without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Without dashes; empty for an image that stands alone.
    pub option: String,
    pub value: Option<String>,
}

impl Argument {
    pub fn new(option: &str, value: impl Into<String>) -> Self {
        Self { option: option.to_owned(), value: Some(value.into()) }
    }

    pub fn value(&self) -> &str {
        self.value.as_deref().unwrap_or_default()
    }

    /// As words of a command line.
    pub fn words(&self) -> Vec<String> {
        let option = (!self.option.is_empty()).then(|| format!("-{}", self.option));
        option.into_iter().chain(self.value.clone()).collect()
    }
}

/// A command line without its program.
#[derive(Debug)]
pub struct Line(Vec<Argument>);

impl Line {
    pub fn read(words: impl Iterator<Item = String>) -> Self {
        let mut words = words.peekable();
        let mut arguments = Vec::new();
        while let Some(word) = words.next() {
            let option = word.strip_prefix('-').map(|option| option.strip_prefix('-').unwrap_or(option));
            arguments.push(match option {
                None => Argument { option: String::new(), value: Some(word) },
                Some(option) if FLAGS.contains(&option) => Argument { option: option.to_owned(), value: None },
                Some(option) => Argument { option: option.to_owned(), value: words.next() },
            });
        }
        Self(arguments)
    }

    /// A restored machine boots, and does not wait for one to migrate from.
    pub fn drop_transient(&mut self) {
        let is_own_monitor = |argument: &Argument| argument.option == "qmp" && argument.value().contains(&format!("/{MONITOR},"));
        self.retain(|argument| !TRANSIENT.contains(&argument.option.as_str()) && !is_own_monitor(argument));
    }

    pub fn retain(&mut self, keep: impl Fn(&Argument) -> bool) {
        self.0.retain(keep);
    }

    pub fn arguments(&self) -> &[Argument] {
        &self.0
    }

    pub fn arguments_mut(&mut self) -> &mut [Argument] {
        &mut self.0
    }

    pub fn push(&mut self, argument: Argument) {
        self.0.push(argument);
    }
}
