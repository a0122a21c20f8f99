"""What a blueprint says of a machine's first boot: its data for cloud-init, and who is let in."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict

from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.values import Seconds, Text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _key(value: str) -> str:
    if not re.fullmatch(r"(ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/]+=*( .*)?", value.strip()):
        raise ValueError("write a public key as its .pub file has it: ssh-ed25519 AAAA…")
    return value.strip()


def _user_data(value: Any) -> Any:
    if isinstance(value, str) and not value.startswith(("#", "Content-Type:")):
        raise ValueError("write a mapping, or text that begins with #cloud-config (or #! for a script)")
    return value


class CloudInit(_Model):
    """What cloud-init does at the first boot; `reseed` gives a new seed when that changes, `ignore` leaves it."""

    user_data: Annotated[dict[str, Any] | Text | Secret, AfterValidator(_user_data)] | None = field(
        "A mapping, or text that begins with #cloud-config."
    )
    network_config: dict[str, Any] | None = field("cloud-init's network configuration.")
    on_change: Literal["ignore", "reseed"] = field("What to do when the data changes.", default="ignore")


class Access(_Model):
    """How it becomes a host of this run: who logs in with which key, straight or by way of its hypervisor."""

    user: Text = field("Who logs in; made at the first boot.", default="root")
    key_file: Text | None = field("The private key; its public half is beside it, as .pub.")
    public_key: Annotated[Text, AfterValidator(_key)] | None = field("The public key, where that file is not at hand.")
    via: Literal["jump", "direct"] = field("By way of its hypervisor, or straight.", default="jump")
    network: Text | None = field("The network whose lease tells its address; the first one.")
    timeout: Seconds | None = field("How long it may take until it answers.")
