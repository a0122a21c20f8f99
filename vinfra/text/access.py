"""The key that a new machine lets in: the public half of the one that vinfra logs in with."""

from pathlib import Path

from vinfra.model.spec import Deferred, Spec


def with_public_key(desired: Spec | None, directory: Path) -> Spec | None:
    """The spec with `access.key_file` made absolute and `access.public_key` read from beside it, if it has an access.

    Raises ValueError when there is nothing to read.
    """
    access = getattr(desired, "access", None)
    if desired is None or access is None or isinstance(access, Deferred) or not access.key_file:
        return desired
    file = directory.absolute() / Path(access.key_file).expanduser()
    public = access.public_key
    if not public:
        try:
            public = file.with_name(f"{file.name}.pub").read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"access.key_file: cannot read {file}.pub, or give `public_key:` ({error})") from None
    return desired.model_copy(
        update={"access": access.model_copy(update={"key_file": str(file), "public_key": public})}
    )
