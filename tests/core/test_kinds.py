import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jsonschema
import pytest
from pydantic import TypeAdapter, ValidationError

from ontogeny.core.component import Component
from ontogeny.core.kinds import Room, find, kinds_of

COMPONENT = """
from ontogeny.core.component import Component, Settings
{extra}
class {name}(Component):
    '''A thing.'''
    size: int{default}
    '''How large (tokens).'''
"""

Build = Callable[..., str]


@pytest.fixture
def room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Build:
    """Writes a room with the given modules and returns its name, which no other test uses (rooms are cached)."""
    name = "room_of_" + request.node.name.partition("[")[0]
    monkeypatch.syspath_prepend(tmp_path)

    def build(**modules: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").touch()
        for module, source in modules.items():
            (tmp_path / name / f"{module}.py").write_text(source)
        return name

    return build


def thing(name: str = "Thing", default: str = " = 1", extra: str = "") -> str:
    return COMPONENT.format(name=name, default=default, extra=extra)


def test_a_file_is_a_kind(room: Build) -> None:
    name = room(stone=thing(), river=thing("River"), _helper="x = 1")
    assert kinds_of(name) == ("river", "stone")
    assert not any(module.startswith(f"{name}.") for module in sys.modules)  # listing imports none
    assert find(name, "river").kind == "river"
    assert find(name, "river").__name__ == "River"


def test_unknown_kind_names_the_closest(room: Build) -> None:
    with pytest.raises(LookupError, match=r"unknown kind 'stoen' in room_of_.*: did you mean 'stone'\?"):
        find(room(stone=thing(), river=thing()), "stoen")


def test_imported_and_private_components_do_not_count(room: Build) -> None:
    private = "from ontogeny.core.corpora import Corpus\nclass _Base(Component):\n    '''Private.'''\n"
    assert find(room(stone=thing(extra=private)), "stone").__name__ == "Thing"


def test_a_module_defines_exactly_one_component(room: Build) -> None:
    name = room(two=thing() + thing("Other"), none="x = 1")
    with pytest.raises(TypeError, match="exactly one public Component, found 2"):
        find(name, "two")
    with pytest.raises(TypeError, match="exactly one public Component, found 0"):
        find(name, "none")


def test_third_parties_add_kinds_but_replace_none(room: Build, tmp_path: Path) -> None:
    name = room(stone=thing())
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "cloud.py").write_text(thing("Cloud"))
    (tmp_path / "elsewhere" / "stone.py").write_text(thing("Usurper"))
    (tmp_path / "elsewhere-1.0.dist-info").mkdir()
    (tmp_path / "elsewhere-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n"
    )
    (tmp_path / "elsewhere-1.0.dist-info" / "entry_points.txt").write_text(
        f"[{name}]\ncloud = elsewhere.cloud\nstone = elsewhere.stone\n"
    )
    assert kinds_of(name) == ("cloud", "stone")
    assert find(name, "cloud").__name__ == "Cloud"
    assert find(name, "stone").__name__ == "Thing"


def test_a_field_of_a_room_takes_kind_and_settings_or_the_kind_alone(room: Build) -> None:
    adapter = TypeAdapter(Annotated[Component, Room(room(stone=thing()))])
    assert adapter.validate_json('{"kind": "stone", "size": 4}').size == 4
    assert adapter.validate_json('"stone"') == adapter.validate_json('{"kind": "stone", "size": 1}')
    already = adapter.validate_json('"stone"')
    assert adapter.validate_python(already) is already


@pytest.mark.parametrize(
    ("text", "location", "message"),
    [
        ('{"size": 4}', (), r"expected a kind \(stone\)"),
        ("3", (), "expected a kind"),
        ('"stoen"', (), "did you mean 'stone'"),
        ('{"kind": "stone", "size": "4"}', ("size",), "valid integer"),
        ('{"kind": "stone", "sise": 4}', ("sise",), "not permitted"),
    ],
)
def test_faults_lie_where_they_are(room: Build, text: str, location: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        TypeAdapter(Annotated[Component, Room(room(stone=thing()))]).validate_json(text)
    assert [item["loc"] for item in caught.value.errors()] == [location]


def test_written_short_when_defaults_are_left_out(room: Build) -> None:
    adapter = TypeAdapter(Annotated[Component, Room(room(stone=thing()))])
    stone, large = adapter.validate_json('"stone"'), adapter.validate_json('{"kind": "stone", "size": 4}')
    assert adapter.dump_python(stone, mode="json") == {"kind": "stone", "size": 1}
    assert adapter.dump_python(stone, mode="json", exclude_defaults=True) == "stone"
    assert adapter.dump_python(large, mode="json", exclude_defaults=True) == {"kind": "stone", "size": 4}


def test_json_schema_describes_every_kind(room: Build) -> None:
    nested = "class Inner(Settings):\n    '''Inside.'''\n    depth: int = 0\n"
    name = room(stone=thing(default=""), river=thing("River", extra=nested) + "    inner: Inner = Inner()\n")
    schema = TypeAdapter(Annotated[Component, Room(name)]).json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def accepts(value: Any) -> bool:
        return jsonschema.Draft202012Validator(schema).is_valid(value)

    assert accepts("river")
    assert accepts({"kind": "river", "inner": {"depth": 3}})
    assert accepts({"kind": "stone", "size": 3})
    assert not accepts("stone")  # size has no default
    assert not accepts({"kind": "stone"})
    assert not accepts({"kind": "river", "inner": {"deep": 3}})
    assert not accepts({"kind": "river", "depth": 3})
    assert not accepts({"kind": "cloud"})
    assert not accepts({"size": 3})
