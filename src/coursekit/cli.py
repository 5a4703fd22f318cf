"""The command line: `coursekit list | run | doctor | progress | calendar | cohort | packet | adopt`.

An experiment is a folder of `coursekit.experiments` with a `config.py` (the presets as functions, the tables
MINUTES and HARDWARE, and in NEEDS the packages that it takes besides PyTorch, if any) and a `run.py`, whose `run`
refuses a folder that holds a run unless told to resume it. This file knows none by name, and imports torch only to
run one.
"""

import argparse
import importlib
import io
import os
import pkgutil
import platform
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path
from types import ModuleType
from typing import NoReturn

from coursekit import experiments, results, sweep
from coursekit.book import repository
from coursekit.hub import HubError
from coursekit.lab.session import LABS
from coursekit.lab.timetable import WEEKDAYS, as_ics, timetable

_INSTALL_PRETRAINED = "pip install 'coursekit[pretrained]'"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Words after `coursekit`; those of the process by default.

    Returns
    -------
    int
        Exit status: 0 done, 1 the doctor found something missing, 2 bad input (one sentence on stderr), 130
        interrupted.

    Examples
    --------
    >>> main(["list"])
    neural_networks
    ...
    0
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a foreign file's name may be no text
    words = list(sys.argv[1:] if argv is None else argv)
    arguments = _parser().parse_args(words)
    try:
        return arguments.command(arguments)
    except KeyboardInterrupt:
        again = words if "--resume" in words else [*words, "--resume"]
        how = f"; go on with: coursekit {shlex.join(again)}" if arguments.command is run_experiment else ""
        print(f"coursekit: interrupted{how}", file=sys.stderr)
        return 130
    except (
        ValueError,
        OSError,
        FloatingPointError,
        ModuleNotFoundError,
        HubError,
        sweep.PartsFailed,
    ) as error:
        print(f"coursekit: {error}", file=sys.stderr)
        return 2


def list_experiments(_: argparse.Namespace) -> int:
    """Print every experiment with its presets, their minutes and the hardware those are for."""
    for name in _experiments():
        config = _config(name)
        print(name)
        for preset, minutes in config.MINUTES.items():
            print(f"  {preset:<8}{_duration(minutes):>14} on {config.HARDWARE[preset]}")
    return 0


def run_experiment(arguments: argparse.Namespace) -> int:
    """Run one preset of an experiment into a folder."""
    module = _config(arguments.experiment)
    if arguments.preset not in module.MINUTES:
        presets = ", ".join(module.MINUTES)
        raise ValueError(
            f"{arguments.experiment} has no preset {arguments.preset!r}: choose one of {presets}"
        )
    config = getattr(module, arguments.preset)()
    if arguments.seed is not None:
        if not hasattr(config, "seeds"):
            raise ValueError(f"{arguments.experiment} has no random seed: leave --seed out")
        config = replace(config, seeds=arguments.seed)
    if arguments.engine == "local" and arguments.address is not None:
        raise ValueError("--address is that of a Ray cluster: add --engine ray, or leave it out")
    if arguments.engine == "local" and (arguments.out / "parts").is_dir():
        raise ValueError(f"the run in {arguments.out} was made in parts: add --engine ray to go on with it")
    _check_writable(arguments.out)
    cost = f"{_duration(module.MINUTES[arguments.preset])} on {module.HARDWARE[arguments.preset]}"
    name = f"{arguments.experiment}, preset {arguments.preset}, config {results.config_hash(config)}"
    print(f"{name}: about {cost}, into {arguments.out}", flush=True)
    _require(arguments.experiment)
    how = {"folder": arguments.out, "resume": arguments.resume, "preset": arguments.preset}
    if arguments.engine == "ray":
        run = sweep.run_parts(arguments.experiment, config, address=arguments.address, **how)
    else:
        experiment = importlib.import_module(f"coursekit.experiments.{arguments.experiment}.run")
        run = experiment.run(config, **how)
    print(
        f"Done: {len(run.rows):,} rows in {arguments.out / 'results.csv'}, described by run.json beside them."
    )
    return 0


def doctor(_: argparse.Namespace) -> int:
    """Say in plain words which presets this machine can run, in how many minutes, and what is missing."""
    machine, gpu = results.hardware(), _gpu()
    torch = results.version("torch")
    memory = (
        f"{machine['memory_bytes'] / 2**30:.0f} GiB of memory"
        if machine["memory_bytes"]
        else "memory unknown"
    )
    print(f"This machine: {machine['cpu']}, {machine['cores']} cores, {memory}, GPU: {gpu or 'none'}.")
    print(f"Python {platform.python_version()}, PyTorch {torch or 'none'}.")
    missing = []
    if torch is None:
        missing.append("PyTorch, which trains the networks: pip install torch")
    elif gpu and "+cpu" in torch:
        missing.append(f"a PyTorch that can use the GPU: {torch} is for CPUs only, see https://pytorch.org")
        gpu = None
    if results.version("ipykernel") is None:
        missing.append("Jupyter, which opens the labs: pip install jupyterlab")
    for name in _experiments():
        config, costs = _config(name), LABS[name].costs if name in LABS else {}
        absent = _absent(config)
        if absent:
            missing.append(f"{', '.join(absent)}, for {name}: {_INSTALL_PRETRAINED}")
        ready = f"take the preset {_suited(gpu)}"
        print(f"\n{name}: {ready if torch is not None and not absent else 'cannot run yet'}")
        for preset, minutes in config.MINUTES.items():
            hardware = config.HARDWARE[preset]
            lacking = "not here, for want of a GPU: " if "GPU" in hardware and not gpu else ""
            lab = f"the whole lab about {_duration(costs[preset].minutes)}, " if preset in costs else ""
            print(f"  {preset:<8}{lacking}{lab}one run about {_duration(minutes)} on {hardware}")
    print("\nNothing is missing." if not missing else "\nMissing:")
    for item in missing:
        print(f"  {item}")
    return 1 if missing else 0


def progress(arguments: argparse.Namespace) -> int:
    """Print which exercises were attempted and passed and what was predicted, or write it to a file to hand in."""
    from coursekit import lab

    if arguments.export is None:
        lab.progress()
    else:
        lab.export_progress(arguments.export)
    return 0


def cohort(arguments: argparse.Namespace) -> int:
    """Turn the progress files of many students, in one folder, into one page for the facilitator."""
    from coursekit.lab.cohort import read_cohort, write_cohort_page

    found = read_cohort(arguments.folder, ignore=arguments.out)
    for file, reason in found.skipped.items():
        print(f"left out {file}: {reason}")
    for first, second in found.copies:
        print(f"{first} and {second} are the same, and both are counted: remove one if it is a copy")
    page = write_cohort_page(found, arguments.out)
    students = f"{len(found.students)} student{'' if len(found.students) == 1 else 's'}"
    print(f"The progress of {students} is in {page.resolve()}: open it in a browser.")
    return 0


def calendar(arguments: argparse.Namespace) -> int:
    """Print on which day each week of the course falls, and write it as a calendar file."""
    here, course = Path.cwd(), "coursekit"
    weeks = None if arguments.weeks is None else repository.parse_weeks(arguments.weeks)
    if (here / "_toc.yml").is_file() and (here / "_config.yml").is_file():
        weeks, course = weeks or list(repository.weeks(here)), repository.title(here)
    meetings = timetable(_date(arguments.start), weekday=arguments.weekday, weeks=weeks)
    at = None if arguments.time is None else _time(arguments.time)
    stamp = datetime.now(UTC)
    ics = as_ics(meetings, course=course, stamp=stamp, at=at, minutes=arguments.minutes)
    for meeting in meetings:
        print(meeting)
    if arguments.ics is not None:
        results.atomic_write(arguments.ics, ics.encode())
        print(f"As a calendar: {arguments.ics.resolve()}")
    return 0


def packet(arguments: argparse.Namespace) -> int:
    """Make one printable PDF of a week: readings, guided questions, room for notes, discussion, further reading."""
    from coursekit.book.packet import write_packet

    out = arguments.out or Path("_build", "packets", f"week-{arguments.week:02}.pdf")
    added = write_packet(Path.cwd(), arguments.week, out, papers=arguments.papers)
    for file in added:
        print(f"added {file}")
    print(f"The packet of week {arguments.week} is {out.resolve()}")
    return 0


def adopt(arguments: argparse.Namespace) -> int:
    """Make the copy of the course in the current folder your own: its address, its title, its weeks."""
    return repository.run(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one sentence, without the usage."""
        self.exit(2, f"coursekit: {message}; `{self.prog} --help` tells what is expected\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="coursekit", description="Run the experiments of the course, and see what runs here."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, command, text in (
        ("list", list_experiments, "experiments, their presets and minutes"),
        ("run", run_experiment, "run one preset of an experiment into a folder"),
        ("doctor", doctor, "what this machine can run, and what is missing"),
        ("progress", progress, "exercises attempted and passed, predictions made"),
        ("adopt", adopt, "make a copy of the course your own: address, title, weeks"),
        ("packet", packet, "one week as a printable PDF"),
        ("calendar", calendar, "on which day each week falls, also as .ics"),
        ("cohort", cohort, "many students' progress on one page for the facilitator"),
    ):
        subparser = commands.add_parser(name, help=text, description=command.__doc__)
        subparser.set_defaults(command=command)
        if command is run_experiment:
            subparser.add_argument("experiment", choices=_experiments())
            subparser.add_argument(
                "--preset", default="laptop", help="see `coursekit list` (default: laptop)"
            )
            subparser.add_argument(
                "--seed", type=_seeds, metavar="0,1,2", help="one or more in place of the preset's own"
            )
            subparser.add_argument(
                "--out", type=Path, required=True, metavar="DIR", help="folder for the results"
            )
            subparser.add_argument("--resume", action="store_true", help="go on with the run in DIR")
            subparser.add_argument(
                "--engine",
                choices=("local", "ray"),
                default="local",
                help="ray: a process for each seed, on this machine or, with --address, on many",
            )
            subparser.add_argument(
                "--address", metavar="HOST:PORT", help="of a Ray cluster that this machine belongs to"
            )
        elif command is calendar:
            subparser.add_argument(
                "start", metavar="YYYY-MM-DD", help="the first meeting is then or soon after"
            )
            subparser.add_argument("--weekday", choices=WEEKDAYS)
            subparser.add_argument("--weeks", metavar="2,5,6", help="default: those of the course")
            subparser.add_argument("--ics", type=Path, metavar="FILE", help="write a calendar file")
            subparser.add_argument("--time", metavar="HH:MM", help="when meetings begin (default: all day)")
            subparser.add_argument("--minutes", type=int, default=90, help="how long they last (default: 90)")
        elif command is packet:
            subparser.add_argument("week", type=int, metavar="WEEK")
            subparser.add_argument(
                "--out", type=Path, metavar="FILE", help="default: _build/packets/week-WEEK.pdf"
            )
            subparser.add_argument("--papers", type=Path, metavar="FOLDER", help="its PDF files are added")
        elif command is adopt:
            repository.add_arguments(subparser)
        elif command is progress:
            subparser.add_argument(
                "--export", type=Path, metavar="FILE", help="write it to a file to hand in"
            )
        elif command is cohort:
            subparser.add_argument("folder", type=Path, metavar="FOLDER", help="holds the students' files")
            subparser.add_argument(
                "--out", type=Path, default=Path("cohort.html"), metavar="FILE", help="default: cohort.html"
            )
    return parser


def _experiments() -> list[str]:
    names = [module.name for module in pkgutil.iter_modules(experiments.__path__) if module.ispkg]
    return sorted(names, key=lambda name: LABS[name].week if name in LABS else 99)


def _config(experiment: str) -> ModuleType:
    return importlib.import_module(f"coursekit.experiments.{experiment}.config")


def _seeds(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(one) for one in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected seeds such as 7 or 0,1,2; got {text!r}") from None


def _date(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected a day such as 2027-01-18; got {text!r}") from None


def _time(text: str) -> time:
    try:
        return datetime.strptime(text, "%H:%M").time()
    except ValueError:
        raise ValueError(f"expected a time such as 18:30; got {text!r}") from None


def _duration(minutes: float | int) -> str:
    return f"{minutes:g} min" if minutes < 120 else f"{minutes / 60:,.0f} hours"


def _suited(gpu: str | None) -> str:
    """Name the preset that `lab.start` chooses."""
    return "colab" if gpu else "laptop"


def _gpu() -> str | None:
    """Ask the driver: asking torch would import it."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):  # no driver, or no device
        return None
    return names[0].strip() if names else None


def _check_writable(folder: Path) -> None:
    """Fail before the training rather than after it."""
    probe = folder / f".coursekit-{os.getpid()}"  # no file of the user's has this name
    results.atomic_write(probe, b"")
    probe.unlink()


def _absent(config: ModuleType) -> list[str]:
    """Packages that an experiment takes besides PyTorch and that are not here."""
    return [package for package in getattr(config, "NEEDS", ()) if results.version(package) is None]


def _require(experiment: str) -> None:
    if results.version("torch") is None:
        raise ModuleNotFoundError("running an experiment needs PyTorch: install it with `pip install torch`")
    if absent := _absent(_config(experiment)):
        raise ModuleNotFoundError(f"{experiment} needs {', '.join(absent)}: {_INSTALL_PRETRAINED}")


if __name__ == "__main__":
    sys.exit(main())
