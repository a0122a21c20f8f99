"""Reading what a request names."""

from pathlib import Path

import pytest

from tests.stages.files import read, written
from vinfra.errors import UsageError
from vinfra.stages.load import load

WEB = "blueprint: b\nvars: {port: 80, web: {a: one, b: two}}\n"
WEB += "hosts: {all: {files: {/p: '{{ port }}', /w: '{{ web.a }} {{ web.b }}'}}}\n"


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((Path("no.yaml"),), "cannot read the blueprint no.yaml: No such file"),
        ((Path("web.yaml"), Path("inv.yaml")), "cannot read the inventory inv.yaml"),
        ((Path("web.yaml"), None, [Path("vars.yaml")]), "cannot read the var file vars.yaml"),
        ((Path("web.yaml"), None, [], ["@x.yaml"]), "cannot read the var file x.yaml"),
        ((Path("web.yaml"), None, [], ["port"]), "-e port: write NAME=VALUE"),
        ((Path("web.yaml"), None, [], ["a..b=1"]), "-e a..b=1: write NAME=VALUE"),
        ((Path("web.yaml"), None, [], ["host=1"]), "the name 'host' is vinfra's own"),
        ((Path(),), "cannot read the blueprint"),
    ],
)
def test_what_the_command_line_names_must_exist(arguments: tuple[object, ...], said: str) -> None:
    written(Path(), {"web.yaml": WEB})
    with pytest.raises(UsageError) as caught:
        load(*arguments)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_extra_variables_win_over_var_files_in_order() -> None:
    files = {"web.yaml": WEB, "one.yaml": "port: 1\n", "two.yaml": "port: 2\n", "three.yaml": "port: 3\n"}
    assert read(files, var_files=["one.yaml", "two.yaml"]).field("host.file:localhost/p", "content") == "2"
    assert read(files, ["port=9"], ["one.yaml"]).field("host.file:localhost/p", "content") == "9"
    assert read(files, ["port=9", "@three.yaml"]).field("host.file:localhost/p", "content") == "3"


def test_a_nested_extra_variable_changes_only_its_part() -> None:
    assert read({"web.yaml": WEB}, ["web.a=uno"]).field("host.file:localhost/w", "content") == "uno two"


def test_an_extra_variable_is_a_template_too() -> None:
    assert read({"web.yaml": WEB}, ["port={{ 1 + 1 }}"]).field("host.file:localhost/p", "content") == "2"


def test_the_digest_is_over_every_byte() -> None:
    files = {"web.yaml": WEB, "v.yaml": "port: 1\n", "inv.yaml": "hosts: {a: }\n"}
    first = read(files, ["x=1"], ["v.yaml"]).blueprint.digest
    assert read(files, ["x=1"], ["v.yaml"]).blueprint.digest == first
    assert read(files, ["x=2"], ["v.yaml"]).blueprint.digest != first
    for name, text in files.items():
        assert read({**files, name: text + "# more\n"}, ["x=1"], ["v.yaml"]).blueprint.digest != first


def test_included_files_are_found_beside_the_one_that_includes_them() -> None:
    files = {
        "web.yaml": "blueprint: b\ninclude: [parts/a.yaml]\n",
        "parts/a.yaml": "include: [deep/b.yaml]\n",
        "parts/deep/b.yaml": "hosts: {all: {files: {/a: {source: f}}}}\n",
        "parts/deep/f": "text",
    }
    found = read(files)
    assert not found.problems
    assert found.blueprint.files == ("web.yaml", "parts/a.yaml", "parts/deep/b.yaml")
    assert found.field("host.file:localhost/a", "source") == str(Path("parts/deep/f").absolute())
