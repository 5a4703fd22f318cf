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
    ports = OwnPorts()
    first, second = (ports.find_available_port(HERE) for _ in range(2))
    assert first != second
    with socket.socket() as other:
        other.bind((HERE, first))
        assert OwnPorts().find_available_port(HERE) != first


def test_where_none_is_left_the_system_is_asked() -> None:
    ports = OwnPorts(process=7)
    block = range(FIRST + 7 * N_PORTS, FIRST + 8 * N_PORTS)
    ports.currently_used_ports.update(block)
    assert ports.find_available_port(HERE) not in block


def test_kernels_take_them() -> None:
    assert isinstance(LocalPortCache.instance(), OwnPorts)  # since tests/conftest.py
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel()
    try:
        assert FIRST <= manager.shell_port < FIRST + N_PORTS * N_BLOCKS
    finally:
        manager.shutdown_kernel(now=True)
