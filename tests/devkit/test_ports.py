"""A busy port is said in words, with what to do."""

import socket

import pytest

from devkit.ports import HOST, free_port, require_free
from devkit.words import Refusal


def test_a_busy_port_is_named_with_what_to_do():
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(Refusal) as refused:
            require_free(port)
        assert f"Port {port} is in use" in str(refused.value)
        assert f"--port {port + 1}" in str(refused.value)
        assert free_port(preferred=port) != port


def test_a_free_port_is_given_as_preferred():
    port = free_port()
    require_free(port)
    assert free_port(preferred=port) == port
