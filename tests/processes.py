"""Processes beside that of the tests: they come from one that has torch and the experiments, and so start at once."""

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.context import ForkServerContext
from typing import Any


def _context() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["coursekit.finetune", "coursekit.experiments.inverse_scaling.run", "pytest"]
    )
    return context


def kill(call: Callable[..., object], *args: object, when: Callable[[], object], after: float = 0) -> None:
    """Call a function, and kill its process without warning some seconds after `when()` is true."""
    process = _context().Process(target=call, args=args)
    process.start()
    while not when() and process.is_alive():
        time.sleep(0.005)
    time.sleep(after)
    process.kill()
    process.join()


def aside(call: Callable[..., Any], *args: object) -> Any:
    """Return what a function returns where shapes are not checked, which makes a long training twice as fast."""
    with _context().Pool(1) as pool:
        return pool.apply(call, args)
