"""Install the package as a chapter's set-up cell does, among the packages that Colab has already.

Run by ``make colab``. It makes a virtual environment with the packages of one of Colab's runtimes
(``tools/colab/``), asks pip what the set-up cell would change there, installs, and runs chapters at
small sizes with what is then installed. It fails if pip would replace torch or numpy. The package
comes from this repository, as last committed: once as the wheel that a reader uploads, once as pip
installs it from the repository's address.

Two things differ from Colab. torch is the locked version, because that build is at hand, unless
``--own-torch`` asks for Colab's version. And Colab has hundreds of packages more: what replacing
one does to those is not seen here.
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
"""A clone, as pip makes one on Colab: without what is not committed."""
KEPT = ("numpy", "torch")
"""What Colab has loaded, or has a build of for its GPUs, so that it must stay as it is."""
CHAPTERS = ("03", "04", "13")
INSTALL = re.compile(
    r'%pip install -q (?:\\"saif-helpers((?:\[[\w,]+])?) @ git\+https://[^"\\]+\\"'
    r"|saif_helpers-[\d.]+-py3-none-any\.whl((?:\[[\w,]+])?))"
)
"""From the repository's address, or, before there is one, from the wheel that a reader uploads."""


def normal(name: str) -> str:
    """Return a package's name as pip compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def snapshot(text: str) -> dict[str, str]:
    """Read a snapshot of one of Colab's runtimes.

    Args:
        text: The file: comments, and one pin (``name==version``) a line.

    Returns:
        Versions by the package's name.
    """
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {normal(name): version for name, version in (line.split("==") for line in lines)}


def requirement(notebooks: list[str]) -> str:
    """Return what the chapters' set-up cells install, with the extras of all of them.

    Args:
        notebooks: The notebooks' files as text.

    Returns:
        Such as ``saif-helpers[ifeval]``.

    Raises:
        ValueError: If a notebook has no such line, or more than one.
    """
    extras = set()
    for text in notebooks:
        found = INSTALL.findall(text)
        if len(found) != 1:
            raise ValueError(f"one line that installs the package expected, found {len(found)}")
        extras |= set(filter(None, "".join(found[0]).strip("[]").split(",")))
    return "saif-helpers" + (f"[{','.join(sorted(extras))}]" if extras else "")


def replaced(before: dict[str, str], report: dict) -> dict[str, tuple[str, str]]:
    """Return what an installation would change of what is there already.

    Args:
        before: Versions that are there, by name.
        report: What ``pip install --dry-run --report`` wrote.

    Returns:
        The version before and the one after, by name.
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
    """Return the versions that the environment has, by name."""
    listed = json.loads(pip("list", "--format", "json"))
    return {normal(item["name"]): item["version"] for item in listed}


def make_environment(pins: dict[str, str], torch: str) -> None:
    """Make the environment with Colab's packages.

    Args:
        pins: Versions by name.
        torch: Version of torch to take in place of the pinned one.
    """
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=True)
    # Colab's packages do not fit each other in all points, so pip must not resolve them. torch
    # comes last and with what it needs: another version than Colab's may ask for other versions.
    rest = [f"{name}=={version}" for name, version in pins.items() if name != "torch"]
    pip("install", "-qq", "--no-deps", "--no-warn-conflicts", *rest)
    pip("install", "-qq", "--no-warn-conflicts", f"torch=={torch}")


def check_install(wanted: str) -> list[str]:
    """Install the package and print what that changed.

    Args:
        wanted: What to install, such as ``saif-helpers @ file:///home/me/saif-book``.

    Returns:
        What went wrong, nothing if all is well.
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
    """Run chapters at small sizes with what is installed; return pytest's exit status."""
    # -W: on Colab a warning of one of its older packages is no error.
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
        0 if torch and numpy stayed and the chapters ran, 1 otherwise.
    """
    runtimes = sorted(path.stem for path in SNAPSHOTS.glob("*.txt"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--runtime", choices=runtimes, default=runtimes[-1])
    parser.add_argument("--own-torch", action="store_true", help="Colab's torch, not the locked")
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
