"""Runs in a machine: prints as JSON which of the given places it could connect to.

Arguments: `HOST:PORT` and `[HOST]:PORT` for TCP, `@NAME` for an abstract unix socket, `/PATH` for one with a file,
`gateway:PORT` for the default gateway.
"""

import json
import socket
import struct
import sys

LIMIT_S = 1.0


def gateways():
    with open("/proc/net/route") as table:
        words = [line.split() for line in table][1:]
    return [socket.inet_ntoa(struct.pack("<L", int(word[2], 16))) for word in words if word[1] == "00000000"]


def reached(place):
    if place.startswith("@"):
        return connects(socket.AF_UNIX, "\0" + place[1:])
    if place.startswith("/"):
        return connects(socket.AF_UNIX, place)
    host, _, port = place.rpartition(":")
    if host.startswith("["):
        return connects(socket.AF_INET6, (host.strip("[]"), int(port)))
    hosts = gateways() if host == "gateway" else [host]
    return any(connects(socket.AF_INET, (one, int(port))) for one in hosts)


def connects(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as attempt:
        attempt.settimeout(LIMIT_S)
        try:
            attempt.connect(address)
        except OSError:
            return False
        return True


print(json.dumps([place for place in sys.argv[1:] if reached(place)]))
