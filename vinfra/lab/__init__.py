"""Throw-away hosts on this machine: Debian with systemd, reached by SSH; for demo, tests and one's own blueprints.

    lab = up(hosts=2)              # Lab: .inventory, .key_file, .known_hosts, .password, .hosts[name].port/.pid/.upper
    reset(lab, "lab1")             # as new again, in about a second
    down()
    image().path                   # a disk image for virtual machines on its hosts

A lab is one supervisor process with namespaces of its own; the machine's network, mounts and daemons are not touched.
Hosts have no way out; any Debian package can be installed in them through the lab's mirror.
"""

from vinfra.lab.guest import Image, image
from vinfra.lab.lab import down, power_on, reset, status, up
from vinfra.lab.state import Lab, LabHost

__all__ = ["Image", "Lab", "LabHost", "down", "image", "power_on", "reset", "status", "up"]
