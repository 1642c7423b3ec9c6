"""A vault, its machines, the processes that serve it, and the commands of its operators."""

import json
import os
import pathlib
import signal
import subprocess
import time

from soak_broker import bound
from soak_disks import Machine

POLICY = """name = "often"
[applies_to]
names = {names}
[schedule]
every = "1m"
[retention]
daily = {daily}
keep_last = {keep_last}
"""
DAILY, KEEP_LAST = 2, 4
FUNCTIONS = ("snapshot", "transfer", "commit", "restore", "schedule", "prune", "collect", "verify", "notify")
# MiB of each machine's disks, and whether they can be changed at any time.
MACHINES = {"one": ([1], False), "pair": ([4, 16], True), "still": ([24], False), "wide": ([64], True), "busy": ([32], True)}


class Refused(Exception):
    """A command that nobody disturbed did not do what it was to do."""


class Process:
    """A process that was started. `output`: where what it prints goes; its complaints go to the same name with .err."""

    def __init__(self, kind, words, environment, output, note=None):
        self.kind, self.words, self.output, self.note = kind, words, output, note
        self.killed, self.kill_at, self.frozen_until = False, None, None
        with open(output, "ab") as printed, open(f"{output}.err", "ab") as complained:
            self.running = subprocess.Popen(
                bound(words), env=environment, stdin=subprocess.DEVNULL, stdout=printed, stderr=complained
            )

    def answer(self):
        """What an ended command printed, and what it complained of; forgets both."""
        printed, complained = self.output, pathlib.Path(f"{self.output}.err")
        text, errors = printed.read_text(), complained.read_text().strip()
        printed.unlink()
        complained.unlink()
        try:
            return json.loads(text or "{}"), errors
        except ValueError:
            return {}, errors

    def ended(self):
        return self.running.poll() is not None

    def kill(self):
        """Kills it, and says whether it was alive."""
        alive = not self.ended()
        self.running.kill()
        self.running.wait()
        self.killed = alive
        return alive

    def freeze(self, until):
        self.running.send_signal(signal.SIGSTOP)
        self.frozen_until = until

    def thaw(self):
        self.running.send_signal(signal.SIGCONT)
        self.frozen_until = None


class Service:
    """A process that is started again whenever it is gone."""

    def __init__(self, name, words):
        self.name, self.words, self.process, self.start_at = name, words, None, 0.0


class Installation:
    def __init__(self, name, folder, live_folder, program, clock, random, broker):
        self.name, self.folder, self.program, self.clock, self.random, self.broker = name, folder, program, clock, random, broker
        self.vault = folder / "vault"
        for part in ("logs", "restores", "vault"):
            (folder / part).mkdir(parents=True)
        self.environment = os.environ | clock.environment() | {
            "STILLPOINT_VAULT": f"file://{self.vault}", "STILLPOINT_KEY_FILE": str(folder / "key"),
            "STILLPOINT_SITE": "soak",
        }
        self.carried = self.environment | ({"STILLPOINT_BROKER": broker.url} if broker else {})
        self.machines = {
            machine: Machine(machine, (live_folder if live else folder) / f"{name}-disks", sizes, live, clock, random)
            for machine, (sizes, live) in MACHINES.items()
        }
        self.services, self.commands, self.begun, self.restores = self.plan_services(), [], 0, 0
        self.ask("vault", "create", "--recovery-key-file", str(folder / "recovery-key"))
        for machine in self.machines.values():
            disks = [f"--disk={disk}={held.path}" for disk, held in machine.disks.items()]
            self.ask("machine", "add", machine.name, *disks)
        policy = POLICY.format(names=json.dumps(list(self.machines)), daily=DAILY, keep_last=KEEP_LAST)
        (folder / "policy.toml").write_text(policy)
        self.ask("policy", "apply", str(folder / "policy.toml"))
        # (machine, point) of those that commands could name.
        self.known = []

    def plan_services(self):
        timer = ("--tick", "5s", "--stalled-after", "20s")
        if not self.broker:
            return [Service(f"serve-{number}", ("serve", *timer)) for number in (1, 2)]
        worker = ("worker", *FUNCTIONS, *timer, "--patience", "10m")
        movers = ("worker", "snapshot", "transfer", "restore", "--patience", "10m")
        return [Service(f"worker-{number}", worker) for number in (1, 2, 3)] + [Service("worker-4", movers)]

    def ask(self, *words, codes=(0,)):
        """Runs a command that nobody disturbs, in its own process, and returns what it says."""
        output = subprocess.run(
            [self.program, "--json", *words], env=self.environment, capture_output=True, text=True, timeout=900
        )
        if output.returncode not in codes:
            raise Refused(f"{' '.join(words)}: exit code {output.returncode}: {output.stderr.strip()}")
        return json.loads(output.stdout) if output.stdout.strip() else {}

    def begin(self, *words, note=None):
        """Begins an operator's command."""
        self.begun += 1
        output = self.folder / f"logs/command-{self.begun}"
        command = Process(words[0], [self.program, "--json", *words], self.carried, output, note)
        self.commands.append(command)
        return command

    def keep_serving(self, now):
        """Starts what is gone; returns what ended by itself."""
        fallen = []
        for service in self.services:
            process = service.process
            if process and process.frozen_until and now > process.frozen_until:
                process.thaw()
            if process and process.ended() and not process.killed:
                fallen.append((service.name, process.running.returncode))
                service.process = None
            if (not service.process or process.ended()) and now > service.start_at:
                log = self.folder / f"logs/{service.name}.log"
                environment = self.carried | {"STILLPOINT_LOG": "info"}
                service.process = Process(service.words[0], [self.program, *service.words], environment, log)
        return fallen

    def stop_serving(self):
        """Ends all services in order; returns those that did not."""
        alive = [service for service in self.services if service.process and not service.process.ended()]
        for service in alive:
            service.process.thaw()
            service.process.running.terminate()
        wrong = []
        for service in alive:
            try:
                code = service.process.running.wait(600)
            except subprocess.TimeoutExpired:
                code = "none: it does not end"
                service.process.kill()
            if code != 0:
                wrong.append((service.name, code))
        for service in self.services:
            service.process, service.start_at = None, 0.0
        return wrong

    def act(self):
        """Begins what an operator might do now."""
        random = self.random
        name = random.choice(list(self.machines))
        acts = {
            "backup": 8, "all": 1, "prune": 2, "collect": 3, "verify": 2, "restore": 5, "mark": 5, "cancel": 1, "look": 1,
        }
        kind = random.choices(list(acts), list(acts.values()))[0]
        if kind == "backup":
            detach = ("--detach",) if self.broker and random.random() < 0.6 else ()
            return self.begin("backup", name, "--keep", random.choice(("1d", "3d", "9d")), *detach)
        if kind == "all":
            return self.begin("backup", *self.machines)
        if kind in ("prune", "collect"):
            return self.begin(kind)
        if kind == "verify":
            return self.begin("verify", *random.choice(((), (name, "--read", "all"), ("--read", "1/3"))))
        if kind == "restore":
            return self.begin_restore(name)
        if kind == "mark" and self.known:
            name, point = random.choice(self.known)
            mark = random.choice(("delete", "delete", "delete", "undelete", "hold", "release"))
            return self.begin("point", mark, name, point, "--why", "soak", note=(mark, name, point))
        if kind == "cancel":
            return self.cancel_one()
        if kind == "look":
            return self.begin(*random.choice((("points", name, "--all"), ("jobs",), ("alarms",), ("vault", "check"))))
        return None

    def begin_restore(self, name):
        self.restores += 1
        folder = self.folder / f"restores/{name}-{self.restores}"
        folder.mkdir()
        points = [point for machine, point in self.known[-60:] if machine == name]
        which = self.random.choice(points) if points and self.random.random() < 0.7 else "latest"
        return self.begin("restore", name, "--point", which, "--to", str(folder), note=(name, folder))

    def cancel_one(self):
        unfinished = [job for job, states in self.jobs().items() if not any(map(is_end, states))]
        return self.begin("jobs", "cancel", self.random.choice(unfinished)) if unfinished else None

    def jobs(self):
        """States of each job's records, in their order, as the names in the vault tell them."""
        jobs = {}
        for path in sorted((self.vault / "jobs").glob("*/*/*.json")):
            jobs.setdefault(path.parent.name, []).append(path.stem.partition("-")[2])
        return jobs

    def unfinished(self):
        return [job for job, states in self.jobs().items() if not any(map(is_end, states))]

    def record_of(self, job, which=-1):
        """One record of a job's ledger."""
        records = sorted(next((self.vault / "jobs").glob(f"*/{job}")).glob("*.json"))
        return json.loads(records[which].read_bytes())["body"]

    def wait_for(self, condition, seconds):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                return False
            self.keep_serving(time.monotonic())
            time.sleep(0.3)
        return True


def is_end(state):
    return state in ("completed", "completed-with-warnings", "failed", "cancelled")


def made_at(identifier):
    """When a job or point was made, by its id: seconds since 1970."""
    value = 0
    for letter in identifier[:10]:
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(letter)
    return value / 1000
