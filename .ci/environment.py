"""Makes the virtual environment that the Makefile works in, and does nothing when it is there.

    python3 .ci/environment.py FOLDER [REQUIREMENT ...]

FOLDER gets Python, dlgrad (editable: it runs from this checkout), the requirements, and a
compiler by pip (the `clang` extra) where the machine has none.  dlgrad itself needs no package,
so a machine without pip or network can still run the examples; only requirements need pip.
"""

import hashlib
import json
import os
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
DESCRIPTION = ("setup.py", "pyproject.toml", "dlgrad/version.py")
STAMP = "dlgrad-environment.json"


def fail(message):
    sys.exit("dlgrad set-up: " + message)


def say(message):
    print("dlgrad set-up: " + message, flush=True)


def description_digest():
    """What the installed metadata was made from; another digest means: install again."""
    digest = hashlib.sha256()
    for name in DESCRIPTION:
        with open(os.path.join(ROOT, name), "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def read_stamp(folder):
    try:
        with open(os.path.join(folder, STAMP), encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def write_stamp(folder, stamp):
    with open(os.path.join(folder, STAMP), "w", encoding="utf-8") as file:
        json.dump(stamp, file, indent=1)


def succeeds(*command):
    """True where the command can be started and ends well; its output is not shown."""
    try:
        result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    except OSError:
        return False
    return result.returncode == 0


class Environment:
    """One virtual environment: its Python, and the pip that installs into it."""

    def __init__(self, folder):
        self.folder = folder
        self.python = os.path.join(folder, "bin", "python")

    def create(self):
        """Python in the folder, with pip of its own where the standard library carries it."""
        if succeeds(self.python, "-c", "pass"):
            return
        say(f"making {self.folder} with {sys.executable}")
        if succeeds(sys.executable, "-m", "venv", "--clear", self.folder):
            return
        # Debian and Ubuntu split ensurepip off; the environment works without it.
        if subprocess.call([sys.executable, "-m", "venv", "--clear", "--without-pip", self.folder]):
            fail(
                f"{sys.executable} cannot make virtual environments; on Debian and Ubuntu run\n"
                "    apt-get install python3-venv"
            )

    def pip(self):
        """The command that installs into the environment, or None."""
        if succeeds(self.python, "-m", "pip", "--version"):
            return [self.python, "-m", "pip"]
        outer = [sys.executable, "-m", "pip", "--python", self.python]
        return outer if succeeds(*outer, "--version") else None

    def install(self, *arguments):
        """Runs `pip install`; False where pip is missing or refuses."""
        pip = self.pip()
        if pip is None:
            say("there is no pip; on Debian and Ubuntu run\n    apt-get install python3-venv")
            return False
        options = ["--quiet", "--retries", "2", "--disable-pip-version-check"]
        return subprocess.call([*pip, "install", *options, *arguments], cwd=ROOT) == 0

    def link_checkout(self):
        """dlgrad without pip: the environment's path gets a line that names the checkout."""
        command = [self.python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = subprocess.check_output(command, text=True).strip()
        with open(os.path.join(packages, "dlgrad-checkout.pth"), "w", encoding="utf-8") as file:
            file.write(ROOT + "\n")

    def missing_compiler(self):
        """Why dlgrad finds no compiler, in its own words; empty where it finds one."""
        code = "from dlgrad.c_src.compiler import find_compiler; find_compiler()"
        command = [self.python, "-c", code]
        result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        return result.stderr.decode(errors="replace") if result.returncode else ""


def main():
    if sys.version_info < (3, 10):  # noqa: UP036 (this is the file that finds out)
        version = ".".join(map(str, sys.version_info[:3]))
        fail(
            f"dlgrad needs Python 3.10 or newer, and {sys.executable} is {version}; "
            "name another one:\n    make PYTHON=python3.12 ..."
        )
    if len(sys.argv) < 2:
        fail("usage: environment.py FOLDER [REQUIREMENT ...]")
    environment = Environment(os.path.abspath(sys.argv[1]))
    requirements = sys.argv[2:]
    environment.create()

    stamp = read_stamp(environment.folder)
    digest = description_digest()
    if stamp.get("digest") != digest:
        say("installing dlgrad")
        if not environment.install("--editable", "."):
            say("pip did not install it; the checkout is linked instead, which does as well")
            environment.link_checkout()
        stamp["digest"] = digest
        write_stamp(environment.folder, stamp)

    installed = stamp.setdefault("requirements", [])
    missing = [name for name in requirements if name not in installed]
    if missing:
        say("installing " + " ".join(missing))
        if not environment.install(*missing):
            fail(f"could not install {' '.join(missing)}; is there a network?")
        installed += missing
        write_stamp(environment.folder, stamp)

    reason = environment.missing_compiler()
    if "CompilerNotFoundError" in reason:
        say("no C compiler on this machine; installing one by pip (ziglang)")
        environment.install("ziglang")
        reason = environment.missing_compiler()
    if reason:
        fail("no C compiler:\n" + reason)


if __name__ == "__main__":
    main()
