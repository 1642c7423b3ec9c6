#!/usr/bin/env python3
"""Makes the benchmark's disks: base, day, sibling, reinstalled (8 GiB, ext4) and two sparse ones. Usage: bench_disks.py FOLDER

The file systems are filled through a loop mount, not by `mke2fs -d`: where the kernel puts a file (aligned by size, small files
together) decides how much two installations share, and only the kernel does that as a real machine does. Needs root.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import time

sys.dont_write_bytecode = True
import bench_content as content
import bench_packages as packages
from bench_content import MIB
from bench_packages import say

SEED = "stillpoint bench 1"
DISK_BYTES = 8 << 30
DISKS = ("base", "day", "sibling", "reinstalled", "sparse-64g", "sparse-1t")
SPARSE = {"sparse-64g": 64 << 30, "sparse-1t": 1 << 40}
SPARSE_RUN, SPARSE_RUNS, SPARSE_SLOT = 4 * MIB, 256, 32 * MIB

# Table files (path, MiB). The machines serve different applications; the clone keeps the first table, which both of them change.
BASE_TABLES = (("var/lib/postgresql/15/main/base/16384/16401", 300), ("var/lib/postgresql/15/main/base/16384/16417", 180),
               ("var/lib/mysql/shop/visits.ibd", 160))
SIBLING_TABLES = (("var/lib/postgresql/15/main/base/16390/16455", 380), ("var/lib/mysql/wiki/page.ibd", 220))
REINSTALLED_TABLES = (("var/lib/postgresql/15/main/base/16399/16502", 320), ("var/lib/mysql/tickets/ticket.ibd", 160))
LOG_MIB = {"base": 96, "sibling": 40, "reinstalled": 24}

# A day: pages that updates touch per MiB of table, the share of them among the newest pages, pages added, log written.
DAY_PAGES_PER_MIB = 1.0
DAY_HOT_SHARE = 0.3
DAY_GROWTH_PAGES = 600
DAY_LOG_MIB = 14
DAY_DELETIONS = ("usr/share/doc/git", "usr/share/vim/vim90/lang", "usr/share/wallpapers/Altai", "usr/share/emacs/28.2/etc/images")
REINSTALL_MOVED = 0.3


def run(*command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def identifier(name):
    """A UUID that is always the same for the same name."""
    digest = hashlib.sha256(f"{SEED} {name}".encode()).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


def make_file_system(image, name):
    with open(image, "wb") as file:
        file.truncate(DISK_BYTES)
    environment = dict(os.environ, E2FSPROGS_FAKE_TIME="1714521600")
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", identifier(name), "-E", f"hash_seed={identifier(name + ' names')}",
        image, env=environment)


@contextlib.contextmanager
def mounted(image):
    """The image's root folder. One processor only: the kernel keeps a place for small files per processor."""
    root = image.with_name(image.name + ".mount")
    root.mkdir(exist_ok=True)
    before = os.sched_getaffinity(0)
    run("mount", "-o", "loop,noatime,noinit_itable", image, root)
    try:
        os.sched_setaffinity(0, {min(before)})
        yield root
    finally:
        os.sched_setaffinity(0, before)
        os.sync()
        unmount(root)


def unmount(root):
    for _ in range(20):
        if not subprocess.run(["umount", root], capture_output=True).returncode:
            root.rmdir()
            return
        time.sleep(0.5)  # something of the machine may look at a new mount for a moment
    raise RuntimeError(f"cannot unmount {root}")


def install(root, chosen):
    for index, (name, file) in enumerate(chosen):
        packages.unpack(file, root)
        if index % 20 == 19:
            say(f"  {index + 1} of {len(chosen)} packages")


def installed_first(fetched):
    return [(name, old) for name, old, _ in fetched if old]


def write_identity(root, host):
    """What differs between two clones of one machine: its name, its keys."""
    chance = random.Random(f"{SEED} {host}")
    files = {"etc/hostname": host + "\n", "etc/machine-id": f"{chance.getrandbits(128):032x}\n",
             "etc/hosts": f"127.0.0.1 localhost\n10.0.0.{chance.randrange(2, 250)} {host}\n"}
    for kind in ("rsa", "ecdsa", "ed25519"):
        files[f"etc/ssh/ssh_host_{kind}_key"] = chance.randbytes(1200).hex()
    for name, text in files.items():
        packages.write_file(root / name, [text.encode()])


def write_tables(root, host, tables, corpus):
    for path, size in tables:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        content.Database(f"{SEED} {host} {path}", corpus).write(root / path, size * MIB // content.PAGE_BYTES)
        flush(root / path)


def flush(path):
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def write_log(root, host, size, start=0):
    path = root / "var/log/nginx/access.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "ab") as file:
        file.write(content.log_lines(f"{SEED} {host} {start}", host, start, size))
        os.fsync(file.fileno())


def make_base(image, fetched, corpus_file):
    make_file_system(image, "base")
    with mounted(image) as root:
        install(root, installed_first(fetched))
        corpus_file.write_bytes(content.read_corpus(root / "usr"))
        corpus = corpus_file.read_bytes()
        write_identity(root, "web-01")
        write_tables(root, "web-01", BASE_TABLES, corpus)
        write_log(root, "web-01", LOG_MIB["base"] * MIB)


def change_table(path, seed, size, corpus, revision):
    """Pages overwritten in place and pages added at the end."""
    table, pages = content.Database(seed, corpus), size * MIB // content.PAGE_BYTES
    chosen = content.dirty_pages(f"{seed} {revision}", pages, int(size * DAY_PAGES_PER_MIB), DAY_HOT_SHARE)
    with open(path, "rb+") as file:
        for number in chosen:
            os.pwrite(file.fileno(), table.page(number, revision), number * content.PAGE_BYTES)
    table.write(path, pages + DAY_GROWTH_PAGES, first=pages)
    flush(path)


def make_day(image, base, fetched, corpus):
    """A day on the first machine: packages updated, pages of tables overwritten in place, logs grown, files deleted."""
    run("cp", "--sparse=auto", base, image)
    with mounted(image) as root:
        install(root, [(name, new) for name, old, new in fetched if new != old])
        for path, size in BASE_TABLES:
            change_table(root / path, f"{SEED} web-01 {path}", size, corpus, revision=1)
        write_log(root, "web-01", DAY_LOG_MIB * MIB, start=content.DAY_SECONDS)
        for path in DAY_DELETIONS:
            shutil.rmtree(root / path, ignore_errors=True)


def make_sibling(image, base, corpus):
    """A clone of the first machine that then got its own name, keys, logs and application data."""
    run("cp", "--sparse=auto", base, image)
    with mounted(image) as root:
        (path, size), *others = BASE_TABLES
        change_table(root / path, f"{SEED} web-01 {path}", size, corpus, revision=2)
        for path, _ in others:
            (root / path).unlink()
        (root / "var/log/nginx/access.log").unlink()
        write_identity(root, "web-02")
        write_tables(root, "web-02", SIBLING_TABLES, corpus)
        write_log(root, "web-02", LOG_MIB["sibling"] * MIB)


def make_reinstalled(image, fetched, corpus):
    """The same packages on a fresh file system, a tenth of them in another place of the order, and data of its own."""
    chance = random.Random(f"{SEED} reinstalled")
    chosen = installed_first(fetched)
    moved = [entry for entry in chosen if chance.random() < REINSTALL_MOVED]
    chosen = [entry for entry in chosen if entry not in moved]
    for entry in moved:
        chosen.insert(chance.randrange(len(chosen) + 1), entry)
    make_file_system(image, "reinstalled")
    with mounted(image) as root:
        install(root, chosen)
        write_identity(root, "web-03")
        write_tables(root, "web-03", REINSTALLED_TABLES, corpus)
        write_log(root, "web-03", LOG_MIB["reinstalled"] * MIB)


def data_runs(image, length, count):
    """Offsets of `count` runs of the image that hold data all through, spread evenly."""
    found, offset, size = [], 0, os.path.getsize(image)
    with open(image, "rb") as file:
        while offset + length <= size:
            piece = os.pread(file.fileno(), length, offset)
            if all(any(piece[at:at + 65536]) for at in range(0, length, 65536)):
                found.append(offset)
            offset += length
    step = len(found) / count
    return [found[int(index * step)] for index in range(count)]


def make_sparse(image, size, base):
    """The same 1 GiB of the first machine's data in runs of 4 MiB at scattered places of a disk of `size` bytes."""
    slots = random.Random(f"{SEED} {size}").sample(range(size // SPARSE_SLOT), SPARSE_RUNS)
    with open(image, "wb") as target, open(base, "rb") as source:
        target.truncate(size)
        for slot, offset in zip(sorted(slots), data_runs(base, SPARSE_RUN, SPARSE_RUNS)):
            os.pwrite(target.fileno(), os.pread(source.fileno(), SPARSE_RUN, offset), slot * SPARSE_SLOT)


def fingerprint(image):
    """A hash over the image's data and its places; holes are not read."""
    digest, offset, size = hashlib.blake2b(digest_size=16), 0, os.path.getsize(image)
    with open(image, "rb") as file:
        while offset < size:
            try:
                offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
            except OSError:
                break  # no data any more
            end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
            digest.update(f"{offset} {end}".encode())
            while offset < end:
                piece = os.pread(file.fileno(), min(4 * MIB, end - offset), offset)
                digest.update(piece)
                offset += len(piece)
    return digest.hexdigest()


def recipe():
    """Changes when anything that shapes the disks does."""
    folder = pathlib.Path(__file__).resolve().parent
    names = ("bench_disks.py", "bench_content.py", "bench_packages.py", "packages.txt")
    return hashlib.sha256(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def describe(folder, fetched):
    updated = [name for name, old, new in fetched if old and old != new]
    disks = {name: {"size_bytes": os.path.getsize(folder / f"{name}.raw"),
                    "data_bytes": os.stat(folder / f"{name}.raw").st_blocks * 512,
                    "fingerprint": fingerprint(folder / f"{name}.raw")} for name in DISKS}
    return {"recipe": recipe(), "packages": len(fetched), "updated": updated, "disks": disks}


def make_all(folder):
    fetched = packages.fetch(folder / "packages")
    images = {name: folder / f"{name}.raw" for name in DISKS}
    for path in images.values():
        path.unlink(missing_ok=True)
    say("making base.raw")
    make_base(images["base"], fetched, folder / "corpus")
    corpus = (folder / "corpus").read_bytes()
    say("making day.raw")
    make_day(images["day"], images["base"], fetched, corpus)
    say("making sibling.raw")
    make_sibling(images["sibling"], images["base"], corpus)
    say("making reinstalled.raw")
    make_reinstalled(images["reinstalled"], fetched, corpus)
    for name, size in SPARSE.items():
        say(f"making {name}.raw")
        make_sparse(images[name], size, images["base"])
    return describe(folder, fetched)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    record = folder / "disks.json"
    if record.exists() and json.loads(record.read_text())["recipe"] == recipe():
        say(f"disks are there already: {folder}")
        return
    record.unlink(missing_ok=True)
    for left in folder.glob("*.mount"):  # of a run that was killed
        unmount(left) if os.path.ismount(left) else left.rmdir()
    os.nice(19)
    described = make_all(folder)
    record.write_text(json.dumps(described, indent=1))
    for name, disk in described["disks"].items():
        say(f"{name}: {disk['data_bytes'] >> 20} MiB of data in {disk['size_bytes'] >> 20} MiB")
    say(f"updated by the day: {len(described['updated'])} packages of {described['packages']}")


if __name__ == "__main__":
    main()
