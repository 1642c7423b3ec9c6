"""Machines whose disks change all the time, and what they held when."""

import hashlib
import os
from collections import namedtuple

CHUNK = 64 * 1024
HOT = 512 * 1024
# What a machine's disks hold, from one instant to the next.
Version = namedtuple("Version", "digest begun done")


def chunk_digest(data):
    return hashlib.blake2b(data, digest_size=16).digest()


ZERO = chunk_digest(bytes(CHUNK))


def digest_of_chunks(size, chunks):
    return hashlib.blake2b(b"".join(chunks) + size.to_bytes(8, "little"), digest_size=16).hexdigest()


def digest_of_file(path):
    chunks = []
    with open(path, "rb") as file:
        while data := file.read(CHUNK):
            chunks.append(chunk_digest(data))
        return digest_of_chunks(file.tell(), chunks)


class Disk:
    """A raw disk file. Each change is one system call, so that no copy of it can show half of one."""

    def __init__(self, path, size, size_max, random):
        self.path, self.size, self.size_max, self.random = path, size, size_max, random
        path.write_bytes(b"")
        os.truncate(path, size)
        self.chunks = [ZERO] * (size // CHUNK)
        for _ in range(size // (1024 * 1024)):
            self.change()

    def digest(self):
        return digest_of_chunks(self.size, self.chunks)

    def change(self):
        if self.size < self.size_max and self.random.random() < 0.03:
            self.size += 1024 * 1024
            os.truncate(self.path, self.size)
            self.chunks += [ZERO] * (1024 * 1024 // CHUNK)
            return
        length = min(4096 * self.random.choice((1, 1, 4, 16, 64, 128)), self.size)
        # Most writes hit the same places again, so that what earlier points hold is soon no other's.
        reach = min(HOT, self.size) if self.random.random() < 0.6 else self.size
        offset = self.random.randrange(0, reach - length + 1, 4096)
        with open(self.path, "r+b", buffering=0) as file:
            file_number = file.fileno()
            os.pwrite(file_number, self.content(file_number, length), offset)
            first, last = offset // CHUNK, (offset + length - 1) // CHUNK
            for number in range(first, last + 1):
                self.chunks[number] = chunk_digest(os.pread(file_number, CHUNK, number * CHUNK))

    def content(self, file_number, length):
        kind = self.random.random()
        if kind < 0.1:
            return bytes(length)
        if kind < 0.3:  # What is elsewhere on the disk already.
            return os.pread(file_number, length, self.random.randrange(0, self.size - length + 1, 4096))
        if kind < 0.6:
            return (self.random.randbytes(61) * (length // 61 + 1))[:length]
        return self.random.randbytes(length)


class Machine:
    """`live`: its disks can be changed at any time, for the file system makes copies of an instant."""

    def __init__(self, name, folder, sizes, live, clock, random):
        self.name, self.live, self.clock, self.random = name, live, clock, random
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        names = ("os", "data")
        sizes = [(size * 1024 * 1024, (size + 4) * 1024 * 1024) for size in sizes]
        self.disks = {disk: Disk(self.folder / f"{disk}.img", *size, random) for disk, size in zip(names, sizes)}
        self.versions, self.places = [], {}
        self.note(clock.now())

    def digest(self, digests):
        return "+".join(digests)

    def note(self, begun):
        digest = self.digest(disk.digest() for disk in self.disks.values())
        self.places.setdefault(digest, []).append(len(self.versions))
        self.versions.append(Version(digest, begun, self.clock.now()))

    def change(self):
        begun = self.clock.now()
        self.random.choice(list(self.disks.values())).change()
        self.note(begun)

    def restored(self, folder):
        """What was restored there; none where a disk is missing."""
        files = [folder / f"{disk}.raw" for disk in self.disks]
        return self.digest(map(digest_of_file, files)) if all(file.exists() for file in files) else None

    def matches(self, digest, instant, slack):
        """Whether the disks held this at some time from `slack` seconds before `instant` on."""
        for place in self.places.get(digest, ()):
            over = self.versions[place + 1].done if place + 1 < len(self.versions) else float("inf")
            if self.versions[place].begun <= instant + 0.01 and over >= instant - slack:
                return True
        return False

    def leftovers(self):
        expected = {disk.path.name for disk in self.disks.values()}
        return [str(path) for path in self.folder.iterdir() if path.name not in expected]
