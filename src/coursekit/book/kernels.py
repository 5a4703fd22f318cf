"""Notebook kernels, many of them at once on one machine."""

import os
import socket
from itertools import cycle, islice
from typing import Any

from jupyter_client.connect import LocalPortCache

FIRST, N_PORTS, N_BLOCKS = 20_000, 100, 120  # below 32,768, where Linux begins to give ports to whoever asks


class OwnPorts(LocalPortCache):
    """Ports that no other process takes: a block for each process number.

    Jupyter asks the system for free ports and hands them to the kernel, which binds them a second later. Where many
    processes start kernels at once, another may have got one by then, and the kernel dies. `OwnPorts.instance()`,
    called before the first kernel starts, makes Jupyter take ports from here.

    Examples
    --------
    >>> first = OwnPorts(process=1).find_available_port("127.0.0.1")
    >>> 20_100 <= first < 20_200
    True
    """

    def __init__(self, *, process: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        first = FIRST + N_PORTS * ((os.getpid() if process is None else process) % N_BLOCKS)
        self._ports = cycle(range(first, first + N_PORTS))

    def find_available_port(self, ip: str) -> int:
        """Return the next port of the block that is free, or any where none is."""
        for port in islice(self._ports, N_PORTS):
            if port in self.currently_used_ports:
                continue
            with socket.socket() as probe:
                try:
                    probe.bind((ip, port))
                except OSError:
                    continue
            self.currently_used_ports.add(port)
            return port
        return super().find_available_port(ip)
