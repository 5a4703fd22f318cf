"""Kernels that start at once in several processes do not take each other's ports."""

import socket

from jupyter_client.connect import LocalPortCache
from jupyter_client.manager import KernelManager

from coursekit.book.kernels import FIRST, N_BLOCKS, N_PORTS, OwnPorts

HERE = "127.0.0.1"


def test_processes_have_different_ports() -> None:
    blocks = [{OwnPorts(process=pid).find_available_port(HERE) // N_PORTS} for pid in range(N_BLOCKS)]
    assert len(set.union(*blocks)) == N_BLOCKS
    assert OwnPorts(process=N_BLOCKS - 1).find_available_port(HERE) < 32_768


def test_a_port_is_given_once_and_not_when_it_is_taken() -> None:
    ports = OwnPorts(process=7)
    first = FIRST + 7 * N_PORTS
    with socket.socket() as other:
        other.bind((HERE, first + 1))
        given = [ports.find_available_port(HERE) for _ in range(N_PORTS)]
    assert len(set(given)) == N_PORTS
    assert first + 1 not in given
    assert set(given[:-1]) <= set(range(first, first + N_PORTS))  # and one from the system


def test_kernels_take_them() -> None:
    assert isinstance(LocalPortCache.instance(), OwnPorts)  # since tests/conftest.py
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    try:
        assert FIRST <= manager.shell_port < FIRST + N_PORTS * N_BLOCKS
    finally:
        manager.shutdown_kernel(now=True)
