"""Plan files that are none: cut, edited, foreign, huge, or no file at all; each is refused and nothing is touched."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests import test_saved_plans
from tests.pretend import World
from tests.test_saved_plans import DMZ, LAN, NETWORKS, WEB, forge, refusal, save
from vinfra import engine
from vinfra.errors import ExitCode, RefusedError, UsageError, VinfraError
from vinfra.model.request import Consent, Request
from vinfra.report import plan_file

world, file = test_saved_plans.world, test_saved_plans.file


def test_a_file_cut_short_anywhere_is_refused(world: World, file: Path) -> None:
    save(world, file, NETWORKS % LAN)
    whole = file.read_bytes()
    for length in range(0, len(whole) - 1):
        file.write_bytes(whole[:length])
        with pytest.raises(RefusedError, match=r"not a whole plan file|does not say"):
            plan_file.read(file)
    assert not world.asked


STRANGE: dict[str, Callable[[str], str | bytes]] = {
    "empty": lambda _: "",
    "foreign": lambda _: '{"a": 1}',
    "a list": lambda _: "[]",
    "binary": lambda text: b"\x7fELF\x00\xff" + text.encode(),
    "not UTF-8": lambda text: text.encode().replace(b"pretend", b"pret\xffnd"),
    "deep": lambda _: "[" * 100_000,
    "deep keys": lambda _: '{"kind":' * 100_000,
    "NaN": lambda text: text.replace('"only": [', '"only": [NaN, '),
    "a key twice": lambda text: text.replace('"kind": "plan"', '"kind": "plan", "kind": "plan"'),
    "a huge number": lambda text: text.replace('"format": 2', '"format": ' + "9" * 9999),
    "newer": lambda text: text.replace('"format": 2', '"format": 3'),
    "older": lambda text: text.replace('"format": 2', '"format": 1'),
    "edited": lambda text: text.replace("kvm.network:hv1/lan", "kvm.network:hv1/dev"),
}


@pytest.mark.parametrize("sort", STRANGE)
def test_a_strange_file_is_refused(world: World, file: Path, sort: str) -> None:
    save(world, file, NETWORKS % LAN)
    text = STRANGE[sort](file.read_text())
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RefusedError) as refused:
        engine.apply_saved(file, Consent())
    assert str(file) in str(refused.value)
    assert len(str(refused.value)) < 500
    assert not world.asked


def test_what_is_no_file_is_told_at_once(world: World, file: Path) -> None:
    os.mkfifo(file)
    for path in (file, file.parent, file / "x", Path("/dev/zero"), Path("/proc/self/mem"), file.with_name("link")):
        if path.name == "link":
            path.symlink_to("nowhere")
        done: list[Exception] = []
        thread = threading.Thread(target=error_of, args=(path, done), daemon=True)
        thread.start()
        thread.join(10)
        assert isinstance(done[0], UsageError | RefusedError), path
        assert not plan_file.is_plan(path)
        if not path.is_symlink():
            with pytest.raises(UsageError):
                engine.save(*planned(world), path)


def planned(world: World) -> tuple[Request, Any]:
    request = world.request(NETWORKS % LAN)
    return request, engine.plan(request)


def error_of(path: Path, done: list[Exception]) -> None:
    try:
        engine.apply_saved(path, Consent())
    except Exception as error:
        done.append(error)


def test_a_huge_file_is_not_read(world: World, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with file.open("wb") as stream:
        stream.write(b'{"vinfra": "0", ')
        stream.truncate(2 << 30)
    monkeypatch.setattr(plan_file, "LARGEST", 1 << 20)
    assert "larger than 1MiB" in refusal(file)
    request = world.request(WEB)
    os.truncate(request.blueprint, 2 << 30)
    with pytest.raises(UsageError, match="larger than 64MiB"):
        engine.validate(request)


def test_a_symlink_to_a_plan_is_one_and_is_not_written_through(world: World, file: Path) -> None:
    save(world, file, NETWORKS % LAN)
    link = file.with_name("link")
    link.symlink_to(file)
    before = file.read_text()
    save(world, link, NETWORKS % LAN)
    assert not link.is_symlink()
    assert file.read_text() == before
    assert link.stat().st_mode & 0o777 == 0o600
    assert engine.apply_saved(link, Consent()).exit_code is ExitCode.DONE


def test_a_name_that_no_file_can_have_is_no_bug(world: World, file: Path) -> None:
    with pytest.raises(UsageError, match="File name too long"):
        save(world, file.with_name("a" * 250), NETWORKS % LAN)


Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


def places(document: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The way to each value of a document."""
    items = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [place for key, value in items for place in ((*way, key), *places(value, (*way, key)))]


def changed(document: Any, way: tuple[Any, ...], value: Any, drop: bool) -> Any:
    copy = json.loads(json.dumps(document))
    spot = copy
    for key in way[:-1]:
        spot = spot[key]
    if drop:
        del spot[way[-1]]
    else:
        spot[way[-1]] = value
    return copy


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_edit_gets_through_or_ends_in_a_traceback(world: World, file: Path, data: st.DataObject) -> None:
    """Any one value changed: refused by the checksum; and with that forged, an error of ours, or a plan that holds."""
    blank = file.with_name("blank")
    if not blank.exists():
        world.apply(NETWORKS % LAN)
        world.hosts["hv1"].networks["lan"].autostart = False
        save(world, blank, NETWORKS % f"{LAN}, {DMZ}")
    document = json.loads(blank.read_text())
    way = data.draw(st.sampled_from(places(document)))
    edited = changed(document, way, data.draw(Json), data.draw(st.booleans()))
    if edited == document:
        return
    file.write_text(json.dumps(edited))
    with pytest.raises(RefusedError):
        plan_file.read(file)
    forge(file, edited)
    try:
        engine.apply_saved(file, Consent(confirm=lambda _: False))
    except VinfraError as error:
        assert error.exit_code in (ExitCode.REFUSED, ExitCode.FAILED)
        assert "vinfra failed" not in str(error)
