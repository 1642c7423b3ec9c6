"""Runs one command and takes its time, processor time and memory; helpers around files that are measured."""

import dataclasses
import os
import pathlib
import subprocess
import time

MIB = 1 << 20
READ_WHOLE_UP_TO = 32 << 30


@dataclasses.dataclass
class Measured:
    wall: float
    cpu: float
    memory: int
    output: bytes


class Failed(Exception):
    pass


def collect(process, start, output):
    """Wait for the process. Its resource usage includes every child it waited for itself."""
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output.read_bytes())


def measure(command, folder, environment, cwd=None):
    """Run to the end. Writes of earlier commands are put on disk first, so that nobody pays for another's."""
    os.sync()
    output, errors = folder / "stdout", folder / "stderr"
    with open(output, "wb") as out, open(errors, "wb") as err:
        start = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                   env=environment, cwd=cwd)
    measured = collect(process, start, output)
    if process.returncode:
        text = errors.read_text(errors="replace").strip()
        raise Failed(f"{' '.join(map(str, command))} ended with {process.returncode}: {text[-800:]}")
    return measured


def measure_mounted_read(command, folder, environment, mount_point, path, offset, length):
    """Time from the start of a mounting command until `length` bytes of `path` are read; then the mount is taken down."""
    output = folder / "stdout"
    with open(output, "wb") as out:
        start = time.monotonic()
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, env=environment)
    piece = None
    try:
        while piece is None and time.monotonic() - start < 120:
            if process.poll() is not None:
                raise Failed(f"{' '.join(map(str, command))} ended: {output.read_text(errors='replace')[-800:]}")
            try:
                with open(path, "rb", buffering=0) as file:
                    piece = read_at(file, offset, length)
            except OSError:
                time.sleep(0.002)  # not mounted yet
        wall = time.monotonic() - start
    finally:
        # Unmounting ends the process; a signal may not: a shell's background jobs ignore SIGINT.
        if subprocess.run(["fusermount3", "-u", mount_point], capture_output=True).returncode:
            process.terminate()
    measured = collect(process, start, output)
    if piece is None:
        raise Failed(f"{path} did not appear")
    return Measured(wall, measured.cpu, measured.memory, piece)


def read_at(file, offset, length):
    parts = []
    while length:
        part = os.pread(file.fileno(), length, offset)
        if not part:
            break
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


def warm(path):
    """Read everything below `path` (or the file itself), so that it lies in the page cache. Of sparse disks the data only."""
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    buffer = bytearray(4 * MIB)
    for name in files:
        with open(name, "rb", buffering=0) as file:
            if os.fstat(file.fileno()).st_size > READ_WHOLE_UP_TO:
                for offset, end in extents(file):
                    read_at(file, offset, end - offset)
                continue
            while file.readinto(buffer):
                pass


def extents(file):
    """(start, end) of each run of data in a sparse file."""
    offset, size = 0, os.fstat(file.fileno()).st_size
    while offset < size:
        try:
            offset = os.lseek(file.fileno(), offset, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(file.fileno(), offset, os.SEEK_HOLE)
        yield offset, end
        offset = end


def stored_bytes(folder):
    """What an object store would count: the sum of the files' sizes."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def identical(left, right):
    """Byte for byte, like cmp, but holes common to both are skipped so that a sparse TiB takes seconds."""
    if os.path.getsize(left) != os.path.getsize(right):
        return False
    with open(left, "rb", buffering=0) as one, open(right, "rb", buffering=0) as other:
        for file in (one, other):
            for offset, end in extents(file):
                while offset < end:
                    length = min(4 * MIB, end - offset)
                    if os.pread(one.fileno(), length, offset) != os.pread(other.fileno(), length, offset):
                        return False
                    offset += length
    return True


def middle_data(path, length):
    """The first offset at or after the disk's middle where every 64 KiB of `length` bytes hold data."""
    offset = os.path.getsize(path) // 2
    with open(path, "rb", buffering=0) as file:
        while piece := read_at(file, offset, length):
            if len(piece) == length and all(any(piece[at:at + 65536]) for at in range(0, length, 65536)):
                return offset
            offset += length
    raise Failed(f"{path} holds no data after its middle")


def place(image, path):
    """Put the image at `path`, where the tool has seen the machine's disk before: as a hard link, so nothing is copied."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).unlink(missing_ok=True)
    os.link(image, path)
