"""The three tools behind one interface. Each object is one fresh repository in a folder of its own."""

import json
import os
import subprocess

from bench_measure import Measured, measure, measure_mounted_read


class Tool:
    """Disks lie at FOLDER/machines/MACHINE/os.raw; `label` names a recovery point of a machine."""

    def __init__(self, folder):
        self.folder = folder
        self.repository = folder / "repository"
        self.logs = folder / "logs"
        self.logs.mkdir(parents=True)
        home = folder / "home"
        home.mkdir()
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("STILLPOINT", "RESTIC", "BORG"))}
        self.environment = dict(inherited, HOME=str(home), XDG_CACHE_HOME=str(home / "cache"),
                                XDG_CONFIG_HOME=str(home / "config"), XDG_STATE_HOME=str(home / "state"), **self.secrets())

    @staticmethod
    def secrets():
        return {}

    def disk(self, machine):
        return self.folder / "machines" / machine / "os.raw"

    def measure(self, *command, cwd=None) -> Measured:
        return measure(command, self.logs, self.environment, cwd)

    def read_mounted(self, command, path, offset, length):
        self.mount_point.mkdir(exist_ok=True)
        return measure_mounted_read(command, self.logs, self.environment, self.mount_point, path, offset, length)

    @property
    def mount_point(self):
        return self.folder / "mounted"


class Restic(Tool):
    name = "restic"

    @staticmethod
    def version():
        return subprocess.run(["restic", "version"], capture_output=True, text=True).stdout.split()[1]

    @staticmethod
    def secrets():
        return {"RESTIC_PASSWORD": "a benchmark's password"}

    def create(self):
        return self.measure("restic", "-r", self.repository, "init")

    def add(self, machine):
        return None  # restic keeps no list of machines

    def backup(self, machine, label, whole_read=False):
        force = ["--force"] if whole_read else []
        return self.measure("restic", "-r", self.repository, "backup", *force, "--host", machine, "--tag", label,
                            self.disk(machine))

    def restore(self, machine, label, target):
        measured = self.measure("restic", "-r", self.repository, "restore", "latest", "--host", machine, "--tag", label,
                                "--target", target)
        return measured, target / self.disk(machine).relative_to("/")

    def read(self, machine, label, offset, length):
        path = self.mount_point / "tags" / label / "latest" / self.disk(machine).relative_to("/")
        return self.read_mounted(["restic", "-r", self.repository, "mount", self.mount_point], path, offset, length)


class Borg(Tool):
    name = "borg"
    options = ("--chunker-params", "fixed,4194304", "--compression", "zstd,3", "--files-cache", "disabled")

    @staticmethod
    def version():
        return subprocess.run(["borg", "--version"], capture_output=True, text=True).stdout.split()[1]

    @staticmethod
    def secrets():
        return {"BORG_PASSPHRASE": "a benchmark's password", "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}

    def create(self):
        # HMAC-SHA-256: on processors with SHA instructions it costs borg half as much as BLAKE2.
        return self.measure("borg", "init", "--encryption", "repokey", self.repository)

    def add(self, machine):
        return None  # borg keeps no list of machines

    def backup(self, machine, label, whole_read=False):
        # Without its files cache borg always reads the whole file, so there is nothing to add for a whole read.
        return self.measure("borg", "create", *self.options, f"{self.repository}::{machine}-{label}",
                            self.disk(machine).relative_to(self.folder), cwd=self.folder)

    def restore(self, machine, label, target):
        target.mkdir()
        measured = self.measure("borg", "extract", "--sparse", f"{self.repository}::{machine}-{label}", cwd=target)
        return measured, target / self.disk(machine).relative_to(self.folder)

    def read(self, machine, label, offset, length):
        path = self.mount_point / self.disk(machine).relative_to(self.folder)
        command = ["borg", "mount", "--foreground", f"{self.repository}::{machine}-{label}", self.mount_point]
        return self.read_mounted(command, path, offset, length)


class Stillpoint(Tool):
    name = "stillpoint"
    program = "stillpoint"

    @classmethod
    def version(cls):
        done = subprocess.run([cls.program, "--version"], capture_output=True, text=True)
        return done.stdout.split()[-1] if done.stdout.split() else "?"

    def run(self, *words):
        return self.measure(self.program, "--vault", f"file://{self.repository}", "--key-file", self.folder / "key", *words)

    def create(self):
        return self.run("vault", "create", "--recovery-key-file", self.folder / "recovery-key")

    def add(self, machine):
        return self.run("machine", "add", machine, "--platform", "image", "--disk", f"os={self.disk(machine)}")

    def backup(self, machine, label, whole_read=False):
        # Stillpoint always reads all data of a raw file and compares; `label` is the newest point of its machine.
        measured = self.run("--json", "backup", machine)
        self.report = json.loads(measured.output)
        return measured

    def restore(self, machine, label, target):
        return self.run("restore", machine, "--point", "latest", "--to", target), target / "os.raw"

    def read(self, machine, label, offset, length):
        return self.run("read", machine, "--point", "latest", "--disk", "os", "--offset", offset, "--length", length)


TOOLS = {tool.name: tool for tool in (Stillpoint, Restic, Borg)}
