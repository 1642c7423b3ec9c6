#!/usr/bin/env python3
"""Makes a vault like the one beside this file, in a new folder: the same disks, other keys and ids.

    pip install blake3; ./make.py STILLPOINT FOLDER      (as root: it works in namespaces of its own)

STILLPOINT is the program that is to make the vault. All content follows from the seeds below.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import blake3

CHUNK = 64 * 1024
MIB = 1024 * 1024
WORK = Path("/mnt/golden")
HOST = "golden-host"


def noise(seed, length):
    """Bytes that do not compress."""
    return hashlib.shake_128(f"stillpoint golden {seed}".encode()).digest(length)


def log(seed, length):
    """Text that compresses well and has no two equal chunks."""
    lines, size, number = [], 0, 0
    while size < length:
        line = f"2026-03-01 web-01 app[{seed}]: request {number} took {number * number % 97} ms\n".encode()
        lines.append(line)
        size += len(line)
        number += 1
    return b"".join(lines)[:length]


def numbered(seed, chunks):
    """Chunks that are all different and of which each is one short block repeated."""
    return b"".join(f"block {seed}-{number:05}".encode().ljust(64, b".") * (CHUNK // 64) for number in range(chunks))


def write(path, offset, data):
    with open(path, "r+b" if path.exists() else "w+b") as file:
        file.seek(offset)
        file.write(data)


def first(folder):
    """web-01 as it is installed: os (two map pages, ends within a chunk) and cfg (less than a chunk)."""
    folder.mkdir(parents=True)
    os_disk, cfg = folder / "os.raw", folder / "cfg.raw"
    noisy = noise("first", 6 * CHUNK)
    write(os_disk, 0, log("first", MIB + CHUNK // 2))
    write(os_disk, 4 * MIB, numbered("first", 320))
    write(os_disk, 26 * MIB, noisy)
    write(os_disk, 28 * MIB, noisy + noisy[CHUNK:] + noisy[:CHUNK])
    write(os_disk, 30 * MIB, bytes(MIB))
    write(os_disk, 34 * MIB + 4096, numbered("second page", 64))
    write(os_disk, 40 * MIB, noise("end", 15 * 512))
    write(cfg, 0, log("cfg", 14_000))
    write(cfg, 14_000, noise("cfg", 35 * 512 - 14_000))


def changed(folder):
    """A day later: noise over text, zeros and a hole over data, some content copied, one sector of cfg."""
    os_disk, cfg = folder / "os.raw", folder / "cfg.raw"
    write(os_disk, 10 * MIB, noise("changed", 3 * CHUNK))
    write(os_disk, 6 * MIB, bytes(MIB + 512))
    subprocess.run(["fallocate", "--punch-hole", "--offset", str(12 * MIB), "--length", str(2 * MIB), os_disk], check=True)
    write(os_disk, 31 * MIB, numbered("first", 320)[160 * CHUNK : 176 * CHUNK])
    write(cfg, 9 * 512, noise("sector", 512))


def grown(folder):
    """os grew: its old end lies within a page, the next page is a hole, the last one has some text and ends within a chunk."""
    os_disk = folder / "os.raw"
    os.truncate(os_disk, 104 * MIB + 3 * 512)
    write(os_disk, 100 * MIB, log("grown", 5 * CHUNK))
    write(os_disk, 104 * MIB, noise("new end", 3 * 512))


def cloned(origin, folder):
    """web-02: a copy of web-01 with a difference of 4 KiB."""
    folder.mkdir(parents=True)
    for name in ["os.raw", "cfg.raw"]:
        subprocess.run(["cp", "--sparse=always", origin / name, folder / name], check=True)
    write(folder / "os.raw", 5 * MIB, noise("clone", 4096))


def shrunk(folder):
    """web-02 later: os shrank, cfg went, data came."""
    os.truncate(folder / "os.raw", 33 * MIB + 512)
    write(folder / "os.raw", 33 * MIB, noise("shrunk", 512))
    write(folder / "data.raw", 0, noise("data", CHUNK))


class Maker:
    def __init__(self, program):
        self.program = program
        self.expected = {}

    def run(self, *args):
        environment = {"PATH": os.environ["PATH"], "HOME": str(WORK), "STILLPOINT_VAULT": f"file://{WORK}/vault"}
        command = [self.program, "--json", "--key-file", WORK / "key-file", *args]
        return json.loads(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE).stdout)

    def point(self, item, *disks):
        """Describes the machine with these disks, backs it up and notes what the point must hold."""
        paths = [(disk, WORK / item / f"{disk}.raw") for disk in disks]
        named = [word for disk, path in paths for word in ("--disk", f"{disk}={path}")]
        self.run("machine", "add", item, "--replace", *named)
        report = self.run("backup", item, "--keep", "100y")
        assert report["state"] == "completed", report
        note = lambda disk, data: {"name": disk, "size_bytes": len(data), "blake3": blake3.blake3(data).hexdigest()}
        held = {"id": report["point"], "disks": [note(disk, path.read_bytes()) for disk, path in paths]}
        self.expected.setdefault(item, []).append(held)
        print(item, report["point"], "stored", report["stored_bytes"])


def make(program, folder):
    maker = Maker(program)
    maker.run("vault", "create", "--recovery-key-file", WORK / "recovery-key")
    web_01, web_02 = WORK / "web-01", WORK / "web-02"
    first(web_01)
    maker.point("web-01", "os", "cfg")
    changed(web_01)
    maker.point("web-01", "os", "cfg")
    grown(web_01)
    maker.point("web-01", "os", "cfg")
    cloned(web_01, web_02)
    maker.point("web-02", "os", "cfg")
    shrunk(web_02)
    maker.point("web-02", "os", "data")
    maker.run("restore", "web-01", "--to", WORK / "restored")
    for name in ["vault", "key-file", "recovery-key"]:
        subprocess.run(["cp", "--recursive", WORK / name, folder], check=True)
    items = [{"item": item, "points": points} for item, points in maker.expected.items()]
    (folder / "expected.json").write_text(json.dumps({"items": items}, indent=2) + "\n")


def main():
    program, folder = (Path(word).resolve() for word in sys.argv[1:3])
    if os.environ.get("GOLDEN_INSIDE") != "yes":
        # Records name the host and the paths of disks: those of the namespace say nothing about this machine.
        folder.mkdir(parents=True)
        inside = ["unshare", "--mount", "--uts", "--propagation", "private", sys.executable, __file__, program, folder]
        os.execvpe(inside[0], inside, {**os.environ, "GOLDEN_INSIDE": "yes"})
    subprocess.run(["hostname", HOST], check=True)
    for mount in [["-t", "tmpfs", "golden", "/mnt"], ["--bind", "/dev/null", "/etc/machine-id"]]:
        subprocess.run(["mount", *mount], check=True)
    WORK.mkdir()
    make(program, folder)


if __name__ == "__main__":
    main()
