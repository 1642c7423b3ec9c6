"""What must hold when everything has come to rest."""

import re
import shutil
from datetime import datetime, timezone

from soak_installation import DAILY, KEEP_LAST, Refused, is_end

DAY = 86_400
UNDELETE = 14 * DAY
# How long before the instant that a point states its disks may have been copied: a process may have been frozen in between.
SLACK = 60
# Alarms that belong to what is done to the installations; any other one is a violation. `timer-stopped` stands while the newest record of
# the timer is more than 45 minutes old: after each jump of the clock, until a process that was killed or frozen has run the timer again.
ALARMS = {"job-failed", "slot-missed", "no-good-point", "timer-stopped"}
# Why jobs may fail here: what it is, and how it is said.
FAILURES = {
    "the disk changed while it was read": r"changed while it was being backed up|kept changing while the snapshot"
    r"|changed its size while the snapshot",
    "another backup of the machine was under way": r"a backup of \S+ is under way|another backup of \S+ is about to begin",
    "given up after five deaths": r"given up after \d+ processes died|driven on \d+ times without getting on",
}
# ... and commands.
REFUSALS = FAILURES | {
    "cancelled by another command": r"cancelled by the operator|has not given back what it holds yet",
    "the broker is away": r"the broker at",
    "the point is deleted, freed, held or the newest": r"is deleted; `|was freed: nothing|has no recovery point|it is held;|newest good point"
    r"|too late for \d+ points|others keep marking",
    "the job is past cancelling": r"can no longer be stopped|has ended already",
}


def reason_of(text, known):
    for reason, pattern in known.items():
        if re.search(pattern, text):
            return reason
    return None


class Oracle:
    """Looks at one installation whose processes are all gone."""

    def __init__(self, installation, tell, counts):
        self.installation, self.tell, self.counts = installation, tell, counts
        # Every point ever seen, by machine and id, as it was last listed.
        self.points = {name: {} for name in installation.machines}
        self.checked, self.gone = set(), set()
        self.objects, self.marks, self.promised = {}, {}, {}
        self.judged_jobs = set()

    def violation(self, text):
        self.tell(f"{self.installation.name}: {text}")

    # While it runs.

    def command_ended(self, command):
        """Judges what a command that was not killed has said."""
        code = command.running.returncode
        document, errors = command.answer()
        self.counts["commands"][command.kind] += 1
        if command.killed:
            return
        if code not in (0, 1, 3) or "panicked" in errors:
            self.violation(f"{' '.join(command.words[1:])}: exit code {code}: {errors}")
        if code == 1:
            reason = reason_of(errors, REFUSALS)
            self.counts["refusals"][reason or f"{command.kind}: {errors[:300]}"] += 1
            if len(errors.splitlines()) != 1:
                self.violation(f"{' '.join(command.words[1:])}: not one line: {errors!r}")
            if not reason:
                self.violation(f"{' '.join(command.words[1:])}: {errors}")
            return
        if command.kind == "vault" and code != 0:
            self.violation(f"vault check beside everything else: exit code {code}: {document}")
        if command.kind == "point":
            mark, name, point = command.note
            self.marks[name, point] = mark
        if command.kind == "restore":
            self.restored(*command.note)
            self.counts["done"]["restores by operators"] += 1

    def restored(self, name, folder):
        machine = self.installation.machines[name]
        digest = machine.restored(folder)
        if digest not in machine.places:
            self.violation(f"{folder} was restored and is none of the versions of {name}")

    # At rest.

    def look(self, everything):
        """All checks. `everything`: all points are restored, not just the new ones and some."""
        installation = self.installation
        self.jobs()
        for machine in installation.machines.values():
            for leftover in machine.leftovers():
                self.violation(f"left over beside the disks: {leftover}")
        self.restore_folders()
        self.write_once()
        for name in installation.machines:
            self.lives(name)
        self.alarms()
        self.logs()
        self.restore_points(everything)
        check = installation.ask("vault", "check", codes=(0, 1))
        if check["findings"] or check["unknown"]:
            self.violation(f"vault check: {check}")

    def jobs(self):
        points = {}
        for job, states in self.installation.jobs().items():
            if not any(map(is_end, states)):
                self.violation(f"job {job} has not ended: {states}")
                continue
            if job in self.judged_jobs:
                continue
            self.judged_jobs.add(job)
            first = next(place for place, state in enumerate(states) if is_end(state))
            request, end = self.installation.record_of(job, 0), self.installation.record_of(job, first)
            what = request["request"]["what"]["operation"]
            self.counts["jobs"][f"{what} {end['state']}"] += 1
            if end["state"] == "failed":
                reason = reason_of(end.get("reason") or "", FAILURES)
                self.counts["failures"][reason or end.get("reason")] += 1
                if not reason:
                    self.violation(f"job {job} failed: {end.get('reason')}")
            point = (end.get("outcome") or {}).get("point")
            if point and what == "backup":
                if point in points.values():
                    self.violation(f"point {point} of job {job} is another job's, too")
                points[job] = point
                self.promised[point] = job

    def restore_folders(self):
        for folder in (self.installation.folder / "restores").iterdir():
            name = folder.name.rpartition("-")[0]
            machine = self.installation.machines[name]
            files = sorted(path.name for path in folder.iterdir())
            if strange := [file for file in files if file not in {f"{disk}.raw" for disk in machine.disks}]:
                self.violation(f"left over in {folder}: {strange}")
            elif files:
                self.restored(name, folder)
            shutil.rmtree(folder)

    def write_once(self):
        """No object was changed; which went is counted."""
        vault, seen = self.installation.vault, {}
        for path in vault.rglob("*"):
            if path.is_file():
                status = path.stat()
                name = str(path.relative_to(vault))
                seen[name] = (status.st_ino, status.st_size, status.st_mtime_ns)
                if name.rpartition("/")[2].startswith(".") or "#" in name:
                    self.counts["done"]["partial objects that killed writers left in the store's folder"] += name not in self.objects
        for name, status in self.objects.items():
            if name not in seen:
                self.counts["deleted"][name.partition("/")[0]] += 1
            elif seen[name] != status:
                self.violation(f"{name} was overwritten")
        ledgers = [name for name in self.objects if name not in seen and re.fullmatch(r"jobs/[^/]+/[^/]+/[^/]+\.json", name)]
        if ledgers:
            self.violation(f"ledgers are gone: {ledgers}")
        self.objects = seen

    def lives(self, name):
        """Points appear by jobs, and go no earlier than they may."""
        before, now = self.points[name], self.installation.clock.now()
        listed = self.installation.ask("points", name, "--all", codes=(0, 3))["points"]
        current = {point["id"]: point for point in listed}
        for point in listed:
            if point["damaged"]:
                self.violation(f"point {point['id']} of {name} is said to be damaged: {point}")
            if point["id"] in self.gone:
                self.violation(f"point {point['id']} of {name} came back after it was freed")
        for identifier, point in before.items():
            if identifier not in current and identifier not in self.gone:
                self.gone.add(identifier)
                self.counts["done"]["points freed"] += 1
                self.may_be_gone(name, point, now)
        self.points[name] = before | current
        for point in current.values():
            self.may_be_as_it_is(name, point, before.get(point["id"]))
        promised = [point for point in self.promised if point not in self.checked and point not in self.gone]
        known = {identifier for points in self.points.values() for identifier in points}
        if name == list(self.installation.machines)[-1]:
            for point in promised:
                if point not in known:
                    self.violation(f"job {self.promised[point]} was completed and its point {point} is not listed")
        self.marks = {key: mark for key, mark in self.marks.items() if key[0] != name}

    def may_be_gone(self, name, point, now):
        mark = self.marks.get((name, point["id"]))
        deleted = timestamp(point["deleted_until"])
        if deleted is None:
            self.violation(f"point {point['id']} of {name} is gone and was not deleted: {point}")
        elif deleted > now:
            self.violation(f"point {point['id']} of {name} is gone before {point['deleted_until']}")
        if point["held"] and mark != "release" or mark in ("hold", "undelete"):
            self.violation(f"point {point['id']} of {name} is gone and was held or undeleted: {mark}, {point}")

    def may_be_as_it_is(self, name, point, before):
        identifier, until = point["id"], timestamp(point["deleted_until"])
        if not before:
            self.counts["done"]["points"] += 1
            self.counts["done"]["points of the schedule"] += point["on_demand_until"] is None
        if until and not (before or {}).get("deleted_until"):
            self.counts["done"][f"points deleted by {point['deleted_by']}"] += 1
        if until is None or point["deleted_by"] == "operator":
            return
        at = until - UNDELETE + 1
        if point["on_demand_until"]:
            if timestamp(point["on_demand_until"]) > at:
                self.violation(f"point {identifier} of {name} was pruned before the time it was made for: {point}")
            return
        scheduled = [other for other in self.points[name].values() if other["on_demand_until"] is None]
        order = lambda other: (timestamp(other["time"]), other["id"])
        newer = [other for other in scheduled if order(other) > order(point) and timestamp(other["time"]) <= at]
        if len(newer) < KEEP_LAST:
            self.violation(f"point {identifier} of {name} was pruned as one of the last {KEEP_LAST}: {point}")
        day = timestamp(point["time"]) // DAY
        first = min((other for other in scheduled if timestamp(other["time"]) // DAY == day), key=order)
        if identifier == first["id"] and at < timestamp(point["time"]) + DAILY * DAY:
            self.violation(f"point {identifier} of {name}, the first of its day, was pruned within {DAILY} days: {point}")

    def alarms(self):
        for alarm in self.installation.ask("alarms", codes=(0, 3))["open"]:
            self.counts["open"][alarm["alarm"]] += 1
            self.counts["alarms"][alarm["alarm"]] += 1
            if alarm["alarm"] not in ALARMS:
                self.violation(f"alarm {alarm}")

    def logs(self):
        for log in (self.installation.folder / "logs").glob("*.err"):
            if "panicked" in log.read_text(errors="replace"):
                self.violation(f"a panic in {log}")

    def restore_points(self, everything):
        random = self.installation.random
        for name, machine in self.installation.machines.items():
            live = [point for point in self.points[name].values() if point["id"] not in self.gone and not point["deleted_until"]]
            old = [point for point in live if point["id"] in self.checked]
            chosen = old if everything else random.sample(old, min(2, len(old)))
            for point in [point for point in live if point["id"] not in self.checked] + chosen:
                self.restore_point(machine, point)

    def restore_point(self, machine, point):
        folder = self.installation.folder / "restores" / f"{machine.name}-check"
        try:
            self.installation.ask("restore", machine.name, "--point", point["id"], "--to", str(folder))
        except Refused as why:
            return self.violation(str(why))
        digest, instant = machine.restored(folder), timestamp(point["time"])
        if digest not in machine.places:
            kept = folder.rename(self.installation.folder / f"wrong-{point['id']}")
            return self.violation(f"point {point['id']} of {machine.name} is none of its versions; kept as {kept}")
        if not machine.matches(digest, instant, SLACK):
            self.violation(f"point {point['id']} of {machine.name} is a version of another time than {point['time']}")
        elif not machine.matches(digest, instant, 1):
            self.counts["done"]["points copied more than 1 s before the instant they state"] += 1
        self.checked.add(point["id"])
        self.counts["done"]["points restored and compared"] += 1
        shutil.rmtree(folder)


def timestamp(text):
    """Seconds since 1970."""
    if text is None:
        return None
    whole, _, fraction = text.rstrip("Z").partition(".")
    at = datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=timezone.utc).timestamp()
    return at + float(f"0.{fraction or 0}")
