"""Facts: who else decides what may be done on the host."""

from typing import Any

from vinfra.kinds.host.facts.told import Told, switch
from vinfra.model.fact import FLAG, TEXT, TEXTS, Fact

ENFORCE, ORDER, LOCKDOWN = "/sys/fs/selinux/enforce", "/sys/kernel/security/lsm", "/sys/kernel/security/lockdown"
APPARMOR = "/sys/module/apparmor/parameters/enabled"
FILES = (ENFORCE, ORDER, LOCKDOWN, APPARMOR)

FACTS = (
    Fact(
        "security.selinux",
        TEXT,
        "enforcing, permissive or disabled; None when the kernel does not show it.",
        "disabled",
    ),
    Fact("security.apparmor", FLAG, "Whether AppArmor is on.", True),
    Fact("security.modules", TEXTS, "The kernel's security modules, in their order.", ["capability", "apparmor"]),
    Fact("security.lockdown", TEXT, "none, integrity or confidentiality.", "none"),
)


def read(told: Told) -> dict[str, Any]:
    """What the kernel says of its security modules."""
    tree = told.tree
    modules = tree.text(ORDER).split(",") if tree.text(ORDER) else None
    selinux = {True: "enforcing", False: "permissive"}.get(switch(tree.text(ENFORCE)))  # type: ignore[arg-type]
    if selinux is None and modules is not None:
        selinux = "disabled"
    apparmor = switch(tree.text(APPARMOR))
    return {
        "security": {
            "selinux": selinux,
            "apparmor": "apparmor" in modules if apparmor is None and modules is not None else apparmor,
            "modules": modules,
            "lockdown": chosen(tree.text(LOCKDOWN)),
        }
    }


def chosen(text: str) -> str | None:
    """The one that holds of those that the kernel offers: `none [integrity] confidentiality`."""
    return next((word[1:-1] for word in text.split() if word.startswith("[") and word.endswith("]")), None)
