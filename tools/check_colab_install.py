"""Install the package as a chapter's set-up cell does, into an environment with Colab's packages.

Run by ``make colab``. The script creates a virtual environment with the packages of one of Colab's
runtimes (``tools/colab/``), asks pip what the set-up cell would change, installs the package, and
runs chapters at small sizes. It fails if pip would replace torch or numpy. The package is the last
commit of this repository, installed once from the wheel that a reader uploads and once from the
repository's address.

There are two differences from Colab. torch is the locked version, whose build is available locally,
unless ``--own-torch`` requests Colab's version. And Colab has hundreds of additional packages, so
conflicts with those go undetected.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SNAPSHOTS = ROOT / "tools" / "colab"
VENV = ROOT / ".venv-colab"
SOURCE = VENV / "source"
"""A clone, as pip makes one on Colab: uncommitted changes are not included."""
KEPT = ("numpy", "torch")
"""Packages that Colab has already imported or built for its GPUs, and that must not change."""
CHAPTERS = ("03", "04", "13")
INSTALL = re.compile(
    r'%pip install -q (?:\\"saif-helpers((?:\[[\w,]+])?) @ git\+https://[^"\\]+\\"'
    r"|saif_helpers-[\d.]+-py3-none-any\.whl((?:\[[\w,]+])?))"
)
"""Installs from the repository's address, or from an uploaded wheel before publication."""


def normal(name: str) -> str:
    """Return the canonical form of a package's name."""
    return re.sub(r"[-_.]+", "-", name).lower()


def snapshot(text: str) -> dict[str, str]:
    """Parse a snapshot of one of Colab's runtimes.

    Args:
        text: The contents of the file: comments, and one pin (``name==version``) per line.

    Returns:
        Versions by package name.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def requirement(notebooks: list[str]) -> str:
    """Return the requirement that the chapters' set-up cells install, with all their extras.

    Args:
        notebooks: The notebook files as text.

    Returns:
        The requirement, for example ``saif-helpers[ifeval]``.

    Raises:
        ValueError: If a notebook does not have exactly one such line.
    """
    extras = set()
    for text in notebooks:
        found = INSTALL.findall(text)
        if len(found) != 1:
            raise ValueError(f"expected one line that installs the package, found {len(found)}")
        extras |= set(filter(None, "".join(found[0]).strip("[]").split(",")))
    return "saif-helpers" + (f"[{','.join(sorted(extras))}]" if extras else "")


def replaced(before: dict[str, str], report: dict) -> dict[str, tuple[str, str]]:
    """Return the installed packages whose version an installation would change.

    Args:
        before: Installed versions by name.
        report: The report of ``pip install --dry-run --report``.

    Returns:
        The version before and after, by name.
    """
    after = {normal(i["metadata"]["name"]): i["metadata"]["version"] for i in report["install"]}
    return {
        name: (before[name], after[name])
        for name in sorted(set(before) & set(after))
        if before[name] != after[name]
    }


def pip(*arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run the environment's pip and return what it printed; exit if its status is not `ok`."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode not in ok:
        sys.exit(f"pip {arguments[0]} failed, see above")
    return done.stdout


def installed() -> dict[str, str]:
    """Return the versions installed in the environment, by name."""
    listed = json.loads(pip("list", "--format", "json"))
    return {normal(item["name"]): item["version"] for item in listed}


def make_environment(pins: dict[str, str], torch: str) -> None:
    """Create the environment with Colab's packages.

    Args:
        pins: Versions by name.
        torch: Version of torch to install instead of the pinned one.
    """
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    # Colab's packages do not satisfy all of each other's requirements, so pip must not resolve
    # them. torch is installed last and with its dependencies, which depend on its version.
    rest = [f"{name}=={version}" for name, version in pins.items() if name != "torch"]
    pip("install", "-qq", "--no-deps", "--no-warn-conflicts", *rest)
    pip("install", "-qq", "--no-warn-conflicts", f"torch=={torch}")


def check_install(wanted: str) -> list[str]:
    """Install the package and print what changed.

    Args:
        wanted: The requirement, for example ``saif-helpers @ file:///home/me/saif-book``.

    Returns:
        A list of problems, empty if there are none.
    """
    before = installed()
    report = VENV / "report.json"
    pip("install", "-qq", "--dry-run", "--report", str(report), wanted)
    changes = replaced(before, json.loads(report.read_text(encoding="utf-8")))
    for name, (old, new) in changes.items():
        print(f"would replace {name} {old} by {new}")
    problems = [f"pip would replace Colab's {name}" for name in KEPT if name in changes]
    if problems:
        return problems
    start = time.monotonic()
    pip("install", "-qq", wanted)
    print(f"installed in {time.monotonic() - start:.0f} s on this machine; on Colab it may differ")
    after = installed()
    print(f"new: {', '.join(sorted(set(after) - set(before)))}")
    conflicts = re.findall(
        r"^\S+ \S+ (?:requires|has requirement) .*", pip("check", ok=(0, 1)), re.MULTILINE
    )
    kept = [f"pip replaced Colab's {name}" for name in KEPT if after[name] != before[name]]
    return kept + conflicts


def build_wheel() -> Path:
    """Build the wheel that a reader uploads to Colab, and return its path."""
    folder = VENV / "wheel"
    pip("wheel", "-q", "--no-deps", "--wheel-dir", str(folder), str(SOURCE))
    (wheel,) = folder.glob("saif_helpers-*.whl")
    return wheel


def run_chapters(chapters: list[str]) -> int:
    """Run chapters at small sizes in the environment; return pytest's exit status."""
    # -W: warnings of Colab's older packages are not errors.
    chosen = " or ".join(f"{number}_" for number in chapters)
    tests = [
        "tests/chapters/test_chapters.py",
        "-W",
        "default",
        "-k",
        f"chapter_runs and ({chosen})",
    ]
    command = [str(VENV / "bin" / "python"), "-m", "pytest", "-q", "--durations=0", *tests]
    return subprocess.run(command, cwd=SOURCE, check=False).returncode


def main() -> int:
    """Check the installation on one of Colab's runtimes.

    Returns:
        0 if torch and numpy are unchanged and the chapters ran, 1 otherwise.
    """
    runtimes = sorted(path.stem for path in SNAPSHOTS.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runtime", choices=runtimes, default=runtimes[-1])
    parser.add_argument("--own-torch", action="store_true", help="use Colab's torch")
    parser.add_argument("--chapters", nargs="*", default=CHAPTERS, help="numbers, such as 02")
    arguments = parser.parse_args()

    pins = snapshot((SNAPSHOTS / f"{arguments.runtime}.txt").read_text(encoding="utf-8"))
    locked = re.search(r"^torch==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]
    torch = pins["torch"] if arguments.own_torch else locked
    python = ".".join(map(str, sys.version_info[:3]))
    print(f"Colab's runtime {arguments.runtime} with Python {python} and torch {torch}", flush=True)
    make_environment(pins, torch)

    books = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "book").glob("*.ipynb"))]
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(SOURCE)], check=True)
    wheel = build_wheel()
    problems = check_install(f"{requirement(books)} @ {wheel.as_uri()}")
    if not problems:
        pip("uninstall", "-y", "-qq", "saif-helpers")
        problems = check_install(f"{requirement(books)} @ {SOURCE.as_uri()}")
    sys.stdout.flush()
    if not problems and arguments.chapters and run_chapters(arguments.chapters):
        problems = ["a chapter failed, see above"]
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
