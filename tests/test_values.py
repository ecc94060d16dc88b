"""A `frozen` value is a dataclass to everyone, and costs less to define."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import pickle
from typing import Any, ClassVar

import pytest

from bulkfetch.values import defaults_of, field, frozen


@frozen
class Point:
    """Two numbers and a few more."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    marks: list[str] = field(default_factory=list)
    secret: str = field(default="hidden", repr=False)

    @property
    def total(self) -> int:
        """Both."""
        return self.x + self.y


@dataclasses.dataclass(frozen=True, slots=True)
class Model:
    """The same, as the standard library makes it."""

    kind: ClassVar[str] = "point"
    x: int
    y: int = 2
    marks: list[str] = dataclasses.field(default_factory=list)
    secret: str = dataclasses.field(default="hidden", repr=False)


@frozen
class Lone:
    """One field."""

    name: str


@frozen
class Bare:
    """No field."""


@frozen
class Base:
    """Something to build on."""

    first: int = 1


@frozen
class Further(Base):
    """With a field more."""

    second: int = 2


@frozen
class Odd:
    """With methods of its own."""

    number: int

    __hash__ = object.__hash__

    def __post_init__(self) -> None:
        object.__setattr__(self, "number", abs(self.number))

    def __repr__(self) -> str:
        return "odd"

    def __eq__(self, other: object) -> bool:
        return self is other


VALUES = [Point(1), Point(1, 5, ["a"], "b"), Lone("n"), Bare(), Further(3), Further(3, 4)]


@pytest.mark.parametrize("arguments", [(1,), (1, 5), (1, 5, ["a"], "other")], ids=["least", "some", "all"])
def test_it_looks_as_a_dataclass_does(arguments):
    ours, model = Point(*arguments), Model(*arguments)
    assert repr(ours) == repr(model).replace("Model", "Point")
    assert dataclasses.asdict(ours) == dataclasses.asdict(model)
    assert dataclasses.astuple(ours) == dataclasses.astuple(model)
    assert Point.__match_args__ == Model.__match_args__
    assert Point.__slots__ == Model.__slots__


def test_its_fields_are_told_as_those_of_a_dataclass():
    def told(cls: Any) -> list[Any]:
        return [
            (known.name, known.type, known.default, known.default_factory, known.repr)
            for known in dataclasses.fields(cls)
        ]

    assert dataclasses.is_dataclass(Point)
    assert told(Point) == told(Model)
    assert [known.name for known in dataclasses.fields(Further(1))] == ["first", "second"]


@pytest.mark.parametrize("cls", [Point, Model])
def test_the_arguments_it_takes_can_be_read(cls):
    taken = inspect.signature(cls).parameters
    assert list(taken) == ["x", "y", "marks", "secret"]
    assert taken["y"].default == 2
    assert taken["x"].default is inspect.Parameter.empty


@pytest.mark.parametrize("call", [lambda: Point(), lambda: Point(1, 2, [], "", 5), lambda: Point(1, z=3)])
def test_wrong_arguments_are_refused(call):
    with pytest.raises(TypeError, match=r"__init__\(\)"):
        call()


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_it_is_copied_pickled_and_replaced_whole(value):
    made = [pickle.loads(pickle.dumps(value, version)) for version in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for twin in (*made, copy.copy(value), copy.deepcopy(value), dataclasses.replace(value)):
        assert twin == value
        assert type(twin) is type(value)
        assert repr(twin) == repr(value)


def test_replacing_changes_what_is_named_and_no_more():
    assert dataclasses.replace(Point(1, 5), x=3) == Point(3, 5)
    assert dataclasses.replace(Further(1), second=7) == Further(1, 7)


def test_equal_fields_of_one_class_are_equal_and_hash_alike():
    assert Lone("a") == Lone("a") != Lone("b")
    assert hash(Lone("a")) == hash(Lone("a"))
    assert Base(1) != Further(1)
    assert Lone("a") != ("a",)
    assert {Bare(), Bare()} == {Bare()}
    with pytest.raises(TypeError, match="unhashable"):
        hash(Point(1))  # a list is in it


def test_a_list_by_default_is_new_each_time():
    Point(1).marks.append("a")
    assert Point(1).marks == []


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_nothing_of_it_changes(value):
    for name in (*value.__match_args__, "other"):
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            setattr(value, name, 0)
        with pytest.raises(dataclasses.FrozenInstanceError, match=name):
            delattr(value, name)
    assert not hasattr(value, "__dict__")


def test_methods_of_its_own_stay():
    assert Odd(-3).number == 3
    assert repr(Odd(1)) == "odd"
    assert Odd(1) != Odd(1)
    assert hash(Odd(1))
    assert Point(1, 5).total == 6
    assert Point.kind == Point(1).kind == "point"


def test_the_first_value_may_be_one_of_a_class_derived():
    @frozen
    class Fresh:
        """Not used before."""

        name: str = "a"

    class Derived(Fresh):
        pass

    assert Derived("b").name == "b"
    assert Fresh().name == "a"
    assert inspect.isfunction(Fresh.__init__)


def test_a_dataclass_may_be_made_of_it():
    @dataclasses.dataclass(frozen=True)
    class Taller(Point):
        z: int = 0

    tall = Taller(1, z=4)
    assert (tall.x, tall.y, tall.z) == (1, 2, 4)


def test_plain_defaults_are_told():
    assert defaults_of(Point) == {"y": 2, "secret": "hidden"}
