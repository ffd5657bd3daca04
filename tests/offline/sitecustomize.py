"""Processes that tests start with this folder on PYTHONPATH resolve no name but this machine's: no question leaves it."""

import ipaddress
import socket
from typing import Any

_getaddrinfo = socket.getaddrinfo


def _of_this_machine(host: Any, *args: Any, **options: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", "localhost", socket.gethostname()):
        try:
            ipaddress.ip_address(name)
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "tests resolve no names") from None
    return _getaddrinfo(host, *args, **options)


socket.getaddrinfo = _of_this_machine
