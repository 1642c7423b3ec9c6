"""Fetches the packages of `packages.txt`, older and newer versions, and unpacks them onto a mounted disk."""

import fnmatch
import os
import pathlib
import re
import subprocess
import tarfile

FOLDER = pathlib.Path(__file__).resolve().parent


def say(text):
    print(f"bench: {text}", flush=True)


def apt(*arguments, **options):
    environment = dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C")
    return subprocess.run(arguments, env=environment, text=True, capture_output=True, **options)


def update_package_lists():
    say("apt-get update")
    apt("apt-get", "update", "-qq")


def install_missing(names):
    """Installs those of the Debian packages that are not there yet."""
    status = apt("dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\n", *names).stdout
    missing = [name for name in names if f"{name} installed\n" not in status]
    if not missing:
        return
    update_package_lists()
    say(f"installing {' '.join(missing)}")
    done = apt("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)
    if done.returncode:
        raise RuntimeError(f"apt-get install {' '.join(missing)} failed: {done.stderr.strip()[-500:]}")


def wanted():
    """(name, its marks) in the order of installation."""
    for line in (FOLDER / "packages.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if words:
            yield words[0], words[1:]


def newest_matching(pattern):
    """'*' stands for a number that grows with each release, as in a kernel's name."""
    names = apt("apt-cache", "pkgnames", pattern.split("*")[0]).stdout.split()
    expression = re.compile(fnmatch.translate(pattern).replace(".*", "[0-9]+"))
    names = [name for name in names if expression.match(name)]
    return max(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)], default=pattern)


def versions(names):
    """name -> versions on offer, newest first."""
    found = {}
    for line in apt("apt-cache", "madison", *names).stdout.splitlines():
        name, version = [field.strip() for field in line.split("|")[:2]]
        if version not in found.setdefault(name, []):
            found[name].append(version)
    return found


def download(name, version, store):
    """The path of one package file, fetched unless it is in the store; None when the sources do not have it."""
    folder = store / f"{name}_{version.replace(':', '%3a').replace('/', '_')}"
    if not list(folder.glob("*.deb")):
        folder.mkdir(parents=True, exist_ok=True)
        apt("apt-get", "download", "-qq", f"{name}={version}", cwd=folder)
    return next(iter(folder.glob("*.deb")), None)


def fetch(store):
    """[(name, package of the first day or None, package of the second day)]; both are the same without an update."""
    say("fetching packages (about 1.1 GB the first time)")
    entries = [(newest_matching(name) if "*" in name else name, marks) for name, marks in wanted()]
    offered = versions([name for name, _ in entries])
    if len(offered) < len(entries) * 0.9:
        update_package_lists()
        offered = versions([name for name, _ in entries])
    packages = []
    for name, marks in entries:
        files = []
        for version in offered.get(name, []):
            file = download(name, version, store)
            files += [file] if file else []
            if len(files) > ("update" in marks):
                break
        if not files:
            say(f"package {name} is not on offer: left out")
            continue
        packages.append((name, None if "day" in marks else files[-1], files[0]))
    if len(packages) < len(entries) * 0.8:
        raise RuntimeError("less than 80 % of packages.txt can be fetched: set up Debian's package sources, main and security")
    return packages


def write_file(path, chunks, mode=0o644):
    """Write a file anew under a temporary name and rename it over the old one, as dpkg does.

    The advice at the end has the kernel place the file's blocks now, not whenever its writer comes by: files
    then lie in the order they were written, so the same packages give nearly the same disk every time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".dpkg-new")
    with open(temporary, "wb") as file:
        for chunk in chunks:
            file.write(chunk)
        file.flush()
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def pieces(file, size=1 << 20):
    while piece := file.read(size):
        yield piece


def unpack(package, root):
    """Unpack one package below `root`, in the order of its archive; returns the files' names."""
    names = []
    with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", package], stdout=subprocess.PIPE) as source, \
            tarfile.open(fileobj=source.stdout, mode="r|") as archive:
        for member in archive:
            target = root / os.path.normpath(member.name)
            if not os.path.realpath(target.parent).startswith(os.path.realpath(root)):
                continue  # below a link that leads off the disk: must not write on this machine
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            if member.isreg():
                write_file(target, pieces(archive.extractfile(member)), member.mode)
                os.utime(target, (member.mtime, member.mtime))
            elif target.is_dir() and not target.is_symlink():
                continue  # a link where another package has a folder: the folder stays, as on a merged /usr
            elif member.issym() or member.islnk():
                target.unlink(missing_ok=True)
                if member.issym():
                    os.symlink(member.linkname, target)
                else:
                    os.link(root / os.path.normpath(member.linkname), target)
            names.append(os.path.normpath(member.name))
        source.stdout.read()
    return names
