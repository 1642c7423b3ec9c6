"""What is done with each tool, once per run: always the same steps, in a fresh repository."""

import shutil

from bench_measure import MIB, Failed, identical, middle_data, place, stored_bytes, warm
from bench_packages import say
from bench_tools import Stillpoint

READS = 3
# (step, machine, disk, whole read): the disk's content replaces what lay at the machine's path before.
BACKUPS = (("first", "web-01", "base", False), ("unchanged", "web-01", "base", True), ("day", "web-01", "day", False),
           ("sibling", "web-02", "sibling", False), ("reinstalled", "web-03", "reinstalled", False))
SPARSE_DISKS = ("sparse-64g", "sparse-1t")


class Scenario:
    """`steps` collects step -> {wall, cpu, memory, …} of every command."""

    def __init__(self, tool_type, disks, folder):
        self.disks = disks
        self.folder = folder
        self.tool_type = tool_type
        self.steps = {}

    def run(self):
        shutil.rmtree(self.folder, ignore_errors=True)
        tool = self.tool_type(self.folder)
        self.record("create", tool.create())
        for step, machine, disk, whole_read in BACKUPS:
            self.backup(tool, step, machine, disk, whole_read)
        self.restore(tool, "restore", "web-01", "day")
        self.read(tool, "web-01", "day")
        if self.tool_type is Stillpoint:
            for disk in SPARSE_DISKS:
                self.sparse(disk)
        shutil.rmtree(self.folder)
        return self.steps

    def record(self, step, measured, **more):
        if measured is None:
            return
        self.steps[step] = {"wall": measured.wall, "cpu": measured.cpu, "memory": measured.memory, **more}
        text = ", ".join(f"{name} {value >> 20} MiB" if name == "stored" else f"{name} {value}" for name, value in more.items())
        say(f"  {self.tool_type.name} {step}: {measured.wall:.2f} s, {measured.cpu:.2f} s CPU, {measured.memory >> 20} MiB of"
            f" memory{', ' + text if text else ''}")

    def backup(self, tool, step, machine, disk, whole_read=False):
        """`stored` is what the repository grew by."""
        image = self.disks / f"{disk}.raw"
        if not tool.disk(machine).exists():
            place(image, tool.disk(machine))
            self.record(f"add {machine}", tool.add(machine))
        elif step != "unchanged":
            place(image, tool.disk(machine))
        warm(image)
        before = stored_bytes(tool.repository)
        measured = tool.backup(machine, step, whole_read)
        more = {"stored": stored_bytes(tool.repository) - before}
        if isinstance(tool, Stillpoint):
            more["requests"] = sum(tool.report["requests"].values())
            if whole_read and tool.report["read_bytes"] < 0.95 * image.stat().st_blocks * 512:
                raise Failed(f"stillpoint read only {tool.report['read_bytes']} bytes of {image}: no whole read")
        self.record(step, measured, **more)

    def restore(self, tool, step, machine, disk):
        target = self.folder / "restored"
        warm(tool.repository)
        measured, path = tool.restore(machine, disk, target)
        self.record(step, measured, identical=identical(path, self.disks / f"{disk}.raw"))
        shutil.rmtree(target)
        if not self.steps[step]["identical"]:
            raise Failed(f"{tool.name} restored {disk} with other bytes than it read")

    def read(self, tool, machine, disk):
        """One MiB, each time by a new process; the median of a few, since one takes a fraction of a second only."""
        image = self.disks / f"{disk}.raw"
        offset = middle_data(image, MIB)
        with open(image, "rb") as file:
            file.seek(offset)
            wanted = file.read(MIB)
        taken = []
        for _ in range(READS):
            measured = tool.read(machine, disk, offset, MIB)
            if measured.output != wanted:
                raise Failed(f"{tool.name} read other bytes than the disk holds at {offset}")
            taken.append(measured)
        taken.sort(key=lambda measured: measured.wall)
        self.record("read", taken[len(taken) // 2])

    def sparse(self, disk):
        """In a vault of its own, so that the second disk does not find the first one's chunks."""
        folder = self.folder / disk
        tool = self.tool_type(folder)
        self.record(f"{disk} create", tool.create())
        self.backup(tool, disk, disk, disk)
        self.backup(tool, f"{disk} again", disk, disk)
        self.restore(tool, f"{disk} restore", disk, disk)
        shutil.rmtree(folder)
