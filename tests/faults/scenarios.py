"""What is applied while faults are made: blueprints as data."""

import hashlib
from pathlib import Path
from typing import Any

import yaml

UNIT = "[Unit]\nDescription=beats\n[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"
LARGE = "0123456789abcdef" * (1 << 17)  # 2 MiB


def write(folder: Path, name: str, tree: dict[str, Any]) -> Path:
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump({"blueprint": "trial", **tree}, sort_keys=False))
    return file


def host(name: str, *, beat: str = "1", shell: str = "/bin/sh") -> dict[str, Any]:
    """What a plain host has: a user, folders, files small and large, a sysctl, a unit and its service."""
    return {
        "hosts": {
            name: {
                "users": {"ada": {"shell": shell}},
                "directories": {"/srv/data": {"mode": "0750", "owner": "ada"}},
                "files": {
                    "/srv/data/large": {"content": LARGE + beat, "owner": "ada"},
                    "/etc/beat.conf": {"content": f"beat {beat}\n"},
                    "/etc/systemd/system/beat.service": {"content": UNIT},
                },
                "sysctl": {"net.ipv4.conf.all.rp_filter": beat},
                "services": {
                    "beat": {
                        "running": True,
                        "enabled": True,
                        "restart_on": ["file:/etc/beat.conf"],
                        "needs": ["file:/etc/systemd/system/beat.service"],
                    }
                },
            }
        }
    }


def hypervisor(name: str, image: dict[str, str], **more: Any) -> dict[str, Any]:
    """What libvirt has: a network, a pool, an image that is sent, volumes of every sort, a seed, a machine."""
    domain = {
        "on": name,
        "image": "small",
        "memory": "64MiB",
        "disks": {"root": "8MiB", "data": {"size": "2MiB", "format": "raw"}},
        "networks": ["dev"],
        "cloud_init": {"user_data": {"hostname": "m1"}, "on_change": "reseed"},
    }
    return {
        "pools": {"default": {"on": name, "path": "/var/lib/libvirt/images"}},
        "networks": {"dev": {"on": name, "mode": "isolated"}},
        "images": {"small": image},
        "volumes": {
            "copied": {"on": name, "image": "small", "clone": "copy"},
            "empty": {"on": name, "size": "4MiB"},
        },
        "domains": {"m1": {**domain, **more}},
    }


def image(folder: Path, size: int = 1 << 20) -> dict[str, str]:
    """A disk image that holds nothing to boot."""
    file = folder / f"image-{size}.raw"
    file.write_bytes(b"not to be booted" * (size // 16))
    with file.open("rb") as content:
        return {"file": str(file), "sha256": hashlib.file_digest(content, "sha256").hexdigest(), "format": "raw"}
