"""The wall clock of the installations, which weeks pass on in minutes."""

import os
import pathlib
import struct
import subprocess
import time

SOURCE = pathlib.Path(__file__).resolve().parent / "soak_clock.c"


class Clock:
    def __init__(self, folder):
        self.file, self.library, self.ahead = folder / "clock", folder / "soak_clock.so", 0
        self.file.write_bytes(struct.pack("l", 0))
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", self.library, SOURCE], check=True)

    def environment(self):
        return {"LD_PRELOAD": str(self.library), "SOAK_CLOCK": str(self.file)}

    def now(self):
        """Seconds since 1970, as the installations see it."""
        return time.time() + self.ahead

    def jump(self, seconds):
        self.ahead += seconds
        with open(self.file, "r+b") as file:
            os.pwrite(file.fileno(), struct.pack("l", self.ahead), 0)
