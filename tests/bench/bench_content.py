"""Database pages and log lines for the benchmark's disks: made from real text, always the same for the same seed."""

import os
import random
import struct

MIB = 1 << 20
PAGE_BYTES = 8192
PAGE_HEADER = struct.Struct("<QIHHHH4x")
ROW_HEADER = struct.Struct("<QQ")
CORPUS_BYTES = 32 * MIB
TEXT_ENDINGS = (".py", ".pm", ".pl", ".txt", ".php", ".h", ".js", ".rst", ".html", ".el")
DAY_SECONDS = 86400


def read_corpus(root, limit=CORPUS_BYTES):
    """Real text out of the files below `root`: the rows of the databases are cut from it."""
    parts, size = [], 0
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted(files):
            path = os.path.join(folder, name)
            if not name.endswith(TEXT_ENDINGS) or os.path.islink(path):
                continue
            with open(path, "rb") as file:
                parts.append(file.read(256 * 1024))
            size += len(parts[-1])
            if size >= limit:
                return b"".join(parts)[:limit]
    if size < MIB:
        raise RuntimeError(f"{root} holds only {size} bytes of text: too little to make database rows from")
    return b"".join(parts)


class Database:
    """A table file of 8 KiB slotted pages, as a database server writes it. Any page can be made alone."""

    def __init__(self, seed, corpus):
        self.seed = seed
        self.corpus = corpus

    def row(self, chance, length):
        """A key, a time, random bytes (tokens, hashes: the part of a row that no compressor shrinks), then text."""
        noise = 16 + length // 5
        start = chance.randrange(len(self.corpus) - length)
        header = ROW_HEADER.pack(chance.getrandbits(34), chance.getrandbits(40))
        return header + chance.randbytes(noise) + self.corpus[start:start + length - ROW_HEADER.size - noise]

    def page(self, number, revision=0):
        """The page as of its `revision`: each revision replaces one row in place by another of its length."""
        chance = random.Random(f"{self.seed} page {number}")
        page = bytearray(PAGE_BYTES)
        room, places = PAGE_BYTES - PAGE_HEADER.size - 256, []
        end = PAGE_BYTES
        while room > 200:
            length = min(chance.choice((80, 140, 250, 500, 900, 1500)), room)
            row = self.row(chance, length)
            end -= len(row)
            page[end:end + len(row)] = row
            places.append((end, length))
            room -= len(row)
        for index, (place, _) in enumerate(places):
            struct.pack_into("<H", page, PAGE_HEADER.size + 2 * index, place)
        for change in range(1, revision + 1):
            chance = random.Random(f"{self.seed} page {number} revision {change}")
            place, length = chance.choice(places)
            row = self.row(chance, length)
            page[place:place + len(row)] = row
        chance = random.Random(f"{self.seed} header {number} {revision}")
        PAGE_HEADER.pack_into(page, 0, chance.getrandbits(48), chance.getrandbits(32), len(places), end, 0, 4)
        return bytes(page)

    def write(self, path, pages, first=0):
        """Append pages `first` up to `pages`, as a table grows."""
        with open(path, "ab") as file:
            for number in range(first, pages):
                file.write(self.page(number))


def dirty_pages(seed, pages, count, hot_share):
    """Which pages a day's updates touch: `hot_share` of them among the newest tenth, the others anywhere."""
    chance = random.Random(f"{seed} dirty")
    newest = pages - pages // 10
    return sorted({chance.randrange(newest, pages) if chance.random() < hot_share else chance.randrange(pages)
                   for _ in range(count)})


def log_lines(seed, host, start, size):
    """About `size` bytes of a web server's access log, beginning at second `start`."""
    chance = random.Random(f"{seed} log")
    clients = [".".join(str(chance.randrange(1, 255)) for _ in range(4)) for _ in range(4000)]
    pages = [f"/{chance.choice(('shop', 'api/v2', 'static', 'account'))}/{chance.randrange(20000)}" for _ in range(3000)]
    agents = [f"Mozilla/5.0 (X11; rv:{chance.randrange(90, 130)}.0) Gecko/20100101 Build/{chance.getrandbits(20):x}"
              for _ in range(200)]
    lines, made, second = [], 0, start
    while made < size:
        second += chance.random() * 0.3
        day, left = divmod(int(second), DAY_SECONDS)
        clock = f"{left // 3600:02}:{left // 60 % 60:02}:{left % 60:02}"
        line = (f'{host} {chance.choice(clients)} - - [{1 + day % 28:02}/May/2024:{clock} +0000] "GET {chance.choice(pages)}'
                f' HTTP/1.1" {chance.choice((200, 200, 200, 304, 404))} {chance.randrange(200, 90000)}'
                f' "-" "{chance.choice(agents)}" {chance.getrandbits(64):016x}\n')
        lines.append(line)
        made += len(line)
    return "".join(lines).encode()
