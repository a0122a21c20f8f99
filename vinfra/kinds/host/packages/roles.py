"""What a role is called on each family of distributions. Data; a name here is a package's name there.

Debian's names were checked on Debian 12, and those of kvm with Debian 13's package lists as well. Those of the Red Hat
and SUSE families are from their package lists and have not been run; those of kvm stand in libvirt.spec and
qemu-kvm.spec of RHEL 8 and 9.
"""

ROLES: dict[str, dict[str, tuple[str, ...]]] = {
    "kvm": {
        "debian": ("qemu-system-x86", "qemu-utils", "libvirt-daemon-system", "libvirt-clients", "dnsmasq-base"),
        "redhat": ("qemu-kvm", "qemu-img", "libvirt-daemon-kvm", "libvirt-client", "dnsmasq"),
        "suse": (
            "qemu-x86",
            "qemu-tools",
            "libvirt-daemon-qemu",
            "libvirt-daemon-driver-network",
            "libvirt-daemon-driver-storage",
            "libvirt-client",
            "dnsmasq",
        ),
    },
    # RHEL and its kin have curl or curl-minimal, which exclude each other; rpm needs one of them (rpm.spec, curl.spec).
    "curl": {"debian": ("curl",), "redhat": ("rpm",), "suse": ("curl",)},
    "docker": {"debian": ("docker.io",), "redhat": ("moby-engine",), "suse": ("docker",)},
    "chrony": {"debian": ("chrony",), "redhat": ("chrony",), "suse": ("chrony",)},
    "nginx": {"debian": ("nginx",), "redhat": ("nginx",), "suse": ("nginx",)},
    "ssh-server": {"debian": ("openssh-server",), "redhat": ("openssh-server",), "suse": ("openssh-server",)},
    "python": {"debian": ("python3",), "redhat": ("python3",), "suse": ("python3",)},
}


def packages(role: str, family: str | None) -> tuple[str, ...]:
    """The packages of a role on a family of distributions, none when nobody has said."""
    return ROLES.get(role, {}).get(family or "", ())


def everywhere(role: str) -> tuple[str, ...]:
    """The packages of a role on any family: what to ask about before the family is known."""
    return tuple(dict.fromkeys(name for names in ROLES.get(role, {}).values() for name in names))
