"""Every public function of the library says what it takes and what it gives: for editors and type checkers."""

import inspect
import typing

import keras
import pytest

import zoo
from zoo import kinds

# what Keras calls itself has Keras's own signature
KERAS = {
    name for kind in (keras.Model, keras.losses.Loss, keras.metrics.Metric, keras.layers.Layer) for name in dir(kind)
}


def functions(name, found):
    """(name, function) of what is public in a module, a class or a function."""
    if inspect.ismodule(found):
        for inner, value in vars(found).items():
            own = getattr(value, "__module__", None) == found.__name__
            if own and not inner.startswith("_") and (inspect.isfunction(value) or inspect.isclass(value)):
                yield from functions(f"{name}.{inner}", value)
    elif inspect.isclass(found):
        for inner, value in vars(found).items():
            if inner in ("__init__", "__call__") or (not inner.startswith("_") and inner not in KERAS):
                value = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
                if inspect.isfunction(value) and value.__module__ == found.__module__:
                    yield f"{name}.{inner}", value
    elif inspect.isfunction(found):
        yield name, found


@pytest.mark.parametrize("name", zoo.__all__)
def test_every_public_function_has_type_hints(name):
    for where, function in functions(name, getattr(zoo, name)):
        function = inspect.unwrap(function)
        hints = typing.get_type_hints(function, localns={"keras": keras, **vars(kinds)})
        named = [
            one.name
            for one in inspect.signature(function).parameters.values()
            if one.name not in ("self", "cls") and one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)
        ]
        wanted = {*named, *([] if function.__name__ == "__init__" else ["return"])}
        assert wanted <= set(hints), f"zoo.{where} has no hint for {', '.join(sorted(wanted - set(hints)))}"
