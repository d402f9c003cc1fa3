"""The house: which file may import which, and that no architecture stands without row, recipe and card."""

import ast
import importlib
from pathlib import Path

import pytest
from rows import ROWS

import zoo
from zoo import pretrained

ROOT = Path(__file__).parent.parent
SHARED = {"__init__", "backbones", "boxes", "checkpoints", "color", "layers", "losses", "metrics", "pretrained"}
SHARED |= {
    "samplers",
    "sampling",
    "steps",
    "tracking",
    "atomic",
    "drawing",
    "exported",
    "letterbox",
    "photos",
    "predictor",
}
SHARED |= {"sampling", "suppression", "tiles", "imagenet", "waveforms", "films", "kinds"}
NETWORKS = {"diffusion_unet": "diffusion"}  # the network of a system that would be too long for one file
BACKBONES = {"efficientnet_lite"}  # the first part of other systems: no recipe, and weights that others publish
MODELS = {path.stem for path in (ROOT / "zoo").glob("*.py")} - SHARED - set(NETWORKS)
FILES = sorted((ROOT / "zoo").rglob("*.py"))


def imports(path, top_level_only=False):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def starts_with(names, package):
    return any(name == package or name.startswith(f"{package}.") for name in names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_arrows_of_the_library(path):
    assert not starts_with(imports(path), "recipes")
    assert not starts_with(imports(path), "tensorflow_datasets")
    if path.parent.name != "export":
        assert not starts_with(imports(path, top_level_only=True), "tensorflow")
    if path.parent.name == "zoo" and path.stem in {*MODELS, *NETWORKS}:
        others = {*MODELS, *NETWORKS} - {path.stem} - {part for part, whole in NETWORKS.items() if whole == path.stem}
        assert not any(starts_with(imports(path), f"zoo.{other}") for other in others)


def test_no_lambda_layers():
    for path in FILES:
        assert "Lambda(" not in path.read_text(encoding="utf-8")


def test_every_architecture_has_a_row_and_a_recipe():
    files = {row.builder.__module__.split(".")[-1] for row in ROWS}
    assert {NETWORKS.get(file, file) for file in files} == MODELS
    assert {path.stem for path in (ROOT / "recipes").glob("*.py")} >= MODELS - BACKBONES
    assert {pretrained.card(name)["builder"] for name in pretrained.names()} >= MODELS - BACKBONES


def test_editors_see_every_public_name():
    tree = ast.parse((ROOT / "zoo" / "__init__.pyi").read_text(encoding="utf-8"))
    found = {
        alias.asname: (node.module, alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert set(found) == set(zoo.__all__) and (ROOT / "zoo" / "py.typed").is_file()
    for name, (module, attribute) in found.items():
        value = getattr(zoo, name)
        assert value is (getattr(importlib.import_module(module), attribute) if module != "zoo" else value)


def test_every_public_name_is_there():
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'lion'"):
        _ = zoo.lion


def modules():
    """The modules of both packages, and which of them each imports, inside functions too."""
    found = {}
    for path in sorted([*(ROOT / "zoo").rglob("*.py"), *(ROOT / "recipes").rglob("*.py")]):
        found[".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")] = path
    graph = {}
    for module, path in found.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        targets = graph[module] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                targets.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert not node.level, f"{path}, line {node.lineno}: an import without the package's name"
                # `from zoo import pretrained` needs the module, `from zoo import load` the package
                names = {f"{node.module}.{alias.name}" for alias in node.names}
                targets.update(name if name in found else node.module for name in names)
        targets &= set(found)
    return graph


def circles(graph):
    """The ways by which modules import themselves, through others too; each circle once."""
    ways = {}
    for start in graph:
        paths, seen = [[start]], set()
        for path in paths:  # grows while it is read: the shortest way comes first
            for target in sorted(graph[path[-1]]):
                if target == start:
                    ways.setdefault(frozenset(path), [*path, start])
                elif target not in seen:
                    seen.add(target)
                    paths.append([*path, target])
    return list(ways.values())


def test_circles_are_found():
    graph = {"a": {"b", "c"}, "b": {"d"}, "c": {"d"}, "d": set(), "e": {"e"}}
    assert circles(graph) == [["e", "e"]]
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": {"b"}}) == [["b", "c", "d", "b"]]
    assert circles({"a": {"b"}, "b": {"a", "c"}, "c": {"b"}}) == [["a", "b", "a"], ["b", "c", "b"]]


def test_no_module_imports_itself_by_others():
    found = circles(modules())
    assert not found, "import circles:\n" + "\n".join(" -> ".join(way) for way in found)
