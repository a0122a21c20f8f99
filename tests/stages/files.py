"""A blueprint from text to resources, as the tests of the first stages want it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from vinfra.kinds.registry import KINDS
from vinfra.model.blueprint import Blueprint, Resource
from vinfra.model.inventory import Inventory
from vinfra.model.kind import Kinds
from vinfra.stages.expand import expand
from vinfra.stages.load import load, load_site
from vinfra.stages.validate import validate
from vinfra.text.site import read_site


@dataclass(frozen=True)
class Read:
    blueprint: Blueprint
    inventory: Inventory
    resources: tuple[Resource, ...]
    problems: list[str]

    def __getitem__(self, address: str) -> Resource:
        return next(resource for resource in self.resources if str(resource.address) == address)

    def field(self, address: str, name: str) -> object:
        return getattr(self[address].desired, name)


def written(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")


def read(
    files: Mapping[str, str],
    extra: Sequence[str] = (),
    var_files: Sequence[str] = (),
    kinds: Kinds = KINDS,
) -> Read:
    """Write the files into the current directory; web.yaml is the blueprint, inv.yaml the inventory if there is one."""
    written(Path(), files)
    inventory = Path("inv.yaml") if "inv.yaml" in files else None
    loaded = load(Path("web.yaml"), inventory, [Path(file) for file in var_files], extra)
    blueprint, machines, invalid = validate(loaded, kinds)
    resources, wrong = expand(blueprint, machines, kinds)
    _, unfit = read_site(load_site(Path("site.yaml") if "site.yaml" in files else None, None), machines, kinds)
    problems = sorted(
        {*loaded.problems, *invalid, *wrong, *unfit}, key=lambda item: (item.position, item.path, item.message)
    )
    return Read(blueprint, machines, resources, [str(problem) for problem in problems])
