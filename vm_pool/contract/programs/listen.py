"""Runs in a machine: leaves traces that another machine must not find, and says so in a file.

Arguments: the file, a TCP port, a name. Listens on the port at all addresses and on the abstract unix socket of that
name, makes a file of that name in shared memory, and lives for two minutes at most.
"""

import os
import socket
import sys
import time


def main(path, port, name):
    tcp = socket.socket()
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    tcp.bind(("0.0.0.0", int(port)))
    tcp.listen()
    local = socket.socket(socket.AF_UNIX)
    local.bind("\0" + name)
    local.listen()
    with open("/dev/shm/" + name, "w") as shared:
        shared.write(name)
    with open(path, "w") as ready:
        ready.write("listening")
    for _ in range(1200):
        if os.path.exists(path + ".end"):
            break
        time.sleep(0.1)
    os.unlink("/dev/shm/" + name)
    tcp.close()
    with open(path + ".ended", "w"):
        pass


main(*sys.argv[1:4])
