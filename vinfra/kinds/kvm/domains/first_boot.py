"""What a blueprint says of a machine's first boot: its data for cloud-init, and who is let in."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from vinfra.kinds.kvm.seeds import data
from vinfra.model.secret import Secret
from vinfra.model.spec import field
from vinfra.model.values import Seconds, Text


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _key(value: str) -> str:
    if not re.fullmatch(r"(ssh|ecdsa|sk)-[\w@.-]+ [A-Za-z0-9+/]+=*( .*)?", value.strip()):
        raise ValueError("write a public key as its .pub file has it: ssh-ed25519 AAAA…")
    return value.strip()


Data = Annotated[dict[str, Any] | Text | Secret, BeforeValidator(data.user_data)]


class CloudInit(_Model):
    """What cloud-init does at the first boot."""

    user_data: Data | None = field("A mapping, text that begins with #cloud-config, or `{file: PATH}`.")
    vendor_data: Data | None = field("The same, of which user_data overrides what both say.")
    network_config: Annotated[dict[str, Any], BeforeValidator(data.network)] | None = field(
        "cloud-init's network configuration; one made from the addresses of the machine's cards without it."
    )
    on_change: Literal["ignore", "reseed", "replace"] = field(
        "What to do when the data changes: nothing; give it anew for the next boot; make the machine anew.",
        default="ignore",
    )


class Access(_Model):
    """How it becomes a host of this run: who logs in with which key, straight or by way of its hypervisor."""

    user: Text = field("Who logs in; made at the first boot.", default="root")
    key_file: Text | None = field("The private key; its public half is beside it, as .pub.")
    public_key: Annotated[Text, AfterValidator(_key)] | None = field("The public key, where that file is not at hand.")
    via: Literal["jump", "direct"] = field("By way of its hypervisor, or straight.", default="jump")
    network: Text | None = field("The network whose lease tells its address; the first one.")
    timeout: Seconds | None = field("How long it may take until it answers.")
    ready: Literal["cloud-init", "ssh"] | None = field(
        "When it counts as ready: once it answers and cloud-init, if it has one, ended without error; or at once."
    )
