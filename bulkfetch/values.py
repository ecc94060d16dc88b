"""Classes of plain fields, made in a fraction of the time that `dataclasses` takes.

A run has some forty frozen ones, and each cost 0.7 ms of every start: `dataclasses` compiles six methods for
each. Only `__init__` needs to know the fields by name, and many a class is never used. To everyone else they
are dataclasses.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar, dataclass_transform

_T = TypeVar("_T")
_MISSING: Any = object()
_FIELDS, _PARAMS = "__dataclass_fields__", "__dataclass_params__"


class _Field(NamedTuple):
    default: Any = _MISSING
    factory: Any = _MISSING
    repr: bool = True

    @property
    def is_optional(self) -> bool:
        """Whether a value can be made without it."""
        return self.default is not _MISSING or self.factory is not _MISSING


def field(
    *, default: Any = _MISSING, default_factory: Callable[[], Any] = _MISSING, repr: bool = True
) -> Any:
    """Say what is particular about a field, as `dataclasses.field` does."""
    return _Field(default, default_factory, repr)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def frozen(cls: type[_T]) -> type[_T]:
    """Return the class as `dataclass(frozen=True, slots=True)` would; a method that it has stays."""
    space = {name: known for name, known in vars(cls).items() if name not in ("__dict__", "__weakref__")}
    own = {
        name: _as_field(space.pop(name, _MISSING))
        for name, kind in cls.__annotations__.items()
        if not kind.startswith("ClassVar")
    }
    fields: dict[str, _Field] = {**_inherited(cls), **own}
    optional = [one.is_optional for one in fields.values()]
    if sorted(optional) != optional:
        raise TypeError(f"a field of {cls.__name__} without a default follows one that has one")
    space.update(__slots__=tuple(own), __match_args__=tuple(fields), __value_fields__=fields)
    kind: Any = type(cls)
    made = kind(cls.__name__, cls.__bases__, {**_methods(tuple(fields), fields), **space})
    made.__qualname__ = cls.__qualname__
    made.__init__ = _LateInit(made, fields)
    return made  # type: ignore[no-any-return]


def defaults_of(cls: type) -> dict[str, Any]:
    """Return the fields of a value that have a plain default, and it."""
    fields: dict[str, _Field] = cls.__value_fields__  # type: ignore[attr-defined]
    return {name: known.default for name, known in fields.items() if known.default is not _MISSING}


def _as_field(given: Any) -> _Field:
    return given if isinstance(given, _Field) else _Field(given)


def _inherited(cls: type) -> dict[str, _Field]:
    return getattr(cls.__base__, "__value_fields__", {})


class _AsDataclass:
    """What `dataclasses` wants to know of a class, made when it asks."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, cls: type) -> Any:
        import dataclasses

        known: dict[str, _Field] = cls.__value_fields__  # type: ignore[attr-defined]
        kinds = {name: kind for each in reversed(cls.__mro__) for name, kind in _annotations(each).items()}
        space: dict[str, Any] = {
            "__annotations__": {name: kinds[name] for name in known},
            "__doc__": cls.__doc__,
        }
        for name, (default, factory, shown) in known.items():
            if factory is not _MISSING:
                space[name] = dataclasses.field(default_factory=factory, repr=shown)
            elif default is not _MISSING:
                space[name] = dataclasses.field(default=default, repr=shown)
        like: Any = type(cls.__name__, (), space)
        like = dataclasses.dataclass(init=False, repr=False, eq=False, frozen=True)(like)
        for name in (_FIELDS, _PARAMS):
            setattr(cls, name, vars(like)[name])
        return vars(like)[self._name]


def _annotations(cls: type) -> dict[str, Any]:
    return {} if cls is object else cls.__annotations__


def _methods(names: tuple[str, ...], fields: dict[str, _Field]) -> dict[str, Any]:
    """Return the methods that read the fields."""
    shown = [name for name in names if fields[name].repr]
    read: Callable[[Any], Any]
    read = attrgetter(*names) if len(names) > 1 else lambda self: tuple(getattr(self, n) for n in names)

    def __repr__(self: Any) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={getattr(self, name)!r}' for name in shown)})"

    def __eq__(self: Any, other: Any) -> Any:
        return read(self) == read(other) if other.__class__ is self.__class__ else NotImplemented

    def __hash__(self: Any) -> int:
        return hash(read(self))

    def __getstate__(self: Any) -> list[Any]:
        return [getattr(self, name) for name in _all_names(self, names)]

    def __setstate__(self: Any, state: list[Any]) -> None:
        for name, known in zip(_all_names(self, names), state, strict=True):
            object.__setattr__(self, name, known)

    ours = (__repr__, __eq__, __hash__, __getstate__, __setstate__, _replace, _refuse_change, _refuse_loss)
    return {
        **{method.__name__: method for method in ours},
        _FIELDS: _AsDataclass(_FIELDS),
        _PARAMS: _AsDataclass(_PARAMS),
    }


def _all_names(self: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the fields of a value, also where a dataclass made of its class has more of them."""
    more = vars(type(self)).get(_FIELDS)
    return tuple(more) if isinstance(more, dict) else names


def _replace(self: Any, **changes: Any) -> Any:
    from dataclasses import replace

    return replace(self, **changes)


def _refuse_change(self: Any, name: str, _new: Any) -> None:
    raise _refusal(f"cannot assign to field {name!r}")


def _refuse_loss(self: Any, name: str) -> None:
    raise _refusal(f"cannot delete field {name!r}")


_replace.__name__ = "__replace__"  # for copy.replace of Python 3.13
_refuse_change.__name__, _refuse_loss.__name__ = "__setattr__", "__delattr__"


def _refusal(text: str) -> Exception:
    from dataclasses import FrozenInstanceError

    return FrozenInstanceError(text)


class _LateInit:
    """Stands for `__init__` until a value is made, or somebody looks: compiling takes long."""

    def __init__(self, cls: Any, fields: dict[str, _Field]) -> None:
        self._cls = cls
        self._fields = fields

    def __get__(self, instance: object, cls: type | None = None) -> Any:
        made = self._cls.__init__ = _make_init(self._cls, self._fields)
        return made.__get__(instance, cls)


def _make_init(cls: Any, fields: dict[str, _Field]) -> Any:
    """Compile `__init__`, the one method that must know the fields by name; the shorter, the faster."""
    known: dict[str, Any] = {"_fill": _filler(cls, fields), "_MISSING": _MISSING, "__name__": cls.__module__}
    given = []
    for name, one in fields.items():
        if one.factory is _MISSING:
            given.append(name)
        else:
            known[f"_new_{name}"] = one.factory
            given.append(f"_new_{name}() if {name} is _MISSING else {name}")
    lines = [
        f"def __init__({', '.join(('self', *fields))}):",
        f" _fill(self, ({''.join(f'{one},' for one in given)}))",
    ]
    if hasattr(cls, "__post_init__"):
        lines.append(" self.__post_init__()")
    exec("\n".join(lines), known)  # our own text
    made = known["__init__"]
    made.__defaults__ = tuple(one.default for one in fields.values() if one.is_optional)
    made.__qualname__ = f"{cls.__qualname__}.__init__"
    return made


def _filler(cls: Any, fields: dict[str, _Field]) -> Callable[[Any, tuple[Any, ...]], None]:
    setters = [getattr(cls, name).__set__ for name in fields]

    def fill(self: Any, values: tuple[Any, ...]) -> None:
        for put, known in zip(setters, values, strict=True):
            put(self, known)

    return fill
