"""Cards and the README's table, which is made from them."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import zoo
from recipes import cards, publishing, results, runs
from zoo import exported, pretrained

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.parametrize("name", pretrained.names())
def test_the_page_of_a_model_is_made_from_its_card(name):
    page = (pretrained.directory() / name / "README.md").read_text(encoding="utf-8")
    assert page == cards.model_readme(name)


@pytest.mark.parametrize("name", pretrained.names())
def test_card_file_and_page_say_one_licence(name):
    card = pretrained.card(name)
    endpoint = "generate" if card["builder"] == "diffusion" else "serving_default"
    inside = exported.load(pretrained.file(name, "model.tflite"), endpoint=endpoint).metadata["licence"]
    assert inside == card["licence"] and card["licence"]["reason"]
    if any(word in card["licence"]["data"] for word in ("NC", "research")):
        assert card["licence"]["weights"] == "CC BY-NC 4.0"
    page = (pretrained.directory() / name / "README.md").read_text(encoding="utf-8")
    assert f"Weights: {card['licence']['weights']}. Data: {card['licence']['data']}." in page


def test_weights_are_licensed_as_their_data_allows():
    assert cards.licence("MIT")["weights"] == cards.licence("CC BY 4.0")["weights"] == "Apache-2.0"
    assert cards.licence("CC BY-NC 4.0")["weights"] == cards.licence("research use")["weights"] == "CC BY-NC 4.0"
    assert cards.licence("")["weights"] == "that of the data"


def test_the_interval_of_a_share():
    """Against the ends that scipy's own test of a proportion gives."""
    for right, count in ((249, 250), (38, 41), (0, 10), (10, 10)):
        expected = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
        np.testing.assert_allclose(cards.wilson(right / count, count), expected, atol=1e-4)


def test_the_bootstrap_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(1).normal(5, 2, 400)
    low, high = results.interval(values, lambda total: total / 400, rounds=4000)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.02) and high == pytest.approx(
        values.mean() + half, abs=0.02
    )
    matrices = np.random.default_rng(0).integers(0, 9, (30, 3, 3))
    low, high = results.interval(matrices, lambda total: np.trace(total) / total.sum())
    assert low < np.trace(matrices.sum(axis=0)) / matrices.sum() < high


def test_the_readme_table_is_the_one_of_the_cards():
    text = README.read_text(encoding="utf-8")
    table = text.split(cards.TABLE[0])[1].split(cards.TABLE[1])[0].strip()
    assert table == cards.readme_table()
    for name in zoo.pretrained.names():
        assert f"`{name}`" in table
    assert len(text.splitlines()) < 240


def test_rendering_the_readme(tmp_path):
    path = tmp_path / "README.md"
    path.write_text(f"before\n{cards.TABLE[0]}\nold\n{cards.TABLE[1]}\nafter\n")
    cards.render_readme(path)
    assert path.read_text() == f"before\n{cards.TABLE[0]}\n{cards.readme_table()}\n{cards.TABLE[1]}\nafter\n"


@pytest.mark.parametrize(("metric", "best"), [("accuracy", 1), ("frechet_distance", 0)])
def test_publishing_takes_the_best_on_validation_and_keeps_all_seeds(metric, best, tmp_path, monkeypatch):
    monkeypatch.setattr(zoo.pretrained, "directory", lambda: tmp_path / "saved_models")
    runs = []
    for seed, (validation, test) in enumerate([(0.7, 0.9), (0.8, 0.6)]):
        run = tmp_path / f"run{seed}"
        run.mkdir()
        (run / "model.keras").write_text(f"weights {seed}")
        card = {
            "name": "x",
            "metrics": {metric: test},
            "files": [cards.file_entry(run / "model.keras")],
            "training": {"validation": {metric: validation}, "arguments": {"seed": seed}},
        }
        cards.write(run, card)
        runs.append(run)
    publishing.publish("thing", *runs)
    card = pretrained.beside(tmp_path / "saved_models" / "thing" / "model.keras")
    assert card["name"] == "thing" and card["metrics"] == {metric: (0.9, 0.6)[best]}
    assert card["seeds"] == {"0": 0.9, "1": 0.6}
    assert zoo.pretrained.file("thing").read_text() == f"weights {best}"


def test_a_publication_that_fails_leaves_the_former_one_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(zoo.pretrained, "directory", lambda: tmp_path / "saved_models")
    run = tmp_path / "run"
    run.mkdir()
    for file in ("model.keras", "model.tflite"):
        (run / file).write_text(f"first {file}")
    training = {"validation": {"accuracy": 0.5}, "arguments": {"seed": 0}}
    files = [cards.file_entry(run / file) for file in ("model.keras", "model.tflite")]
    cards.write(run, {"metrics": {"accuracy": 0.5}, "files": files, "training": training})
    publishing.publish("thing", run)
    target = tmp_path / "saved_models" / "thing"
    (target / "picture.png").write_text("picture")
    before = {path.name: path.read_text() for path in target.iterdir()}
    (run / "model.keras").write_text("second")
    cards.write(run, {"metrics": {"accuracy": 0.6}, "files": [cards.file_entry(run / "model.keras"), files[1]]})
    cards.write(run, pretrained.beside(run / "model.keras") | {"training": training})
    (run / "model.tflite").write_text("not what the card says")
    with pytest.raises(ValueError, match="not the file that its card describes"):
        publishing.publish("thing", run)
    assert {path.name: path.read_text() for path in target.iterdir()} == before
    (run / "model.tflite").write_text("first model.tflite")
    publishing.publish("thing", run)
    assert (target / "model.keras").read_text() == "second" and (target / "picture.png").read_text() == "picture"
    assert [path.name for path in target.parent.iterdir()] == ["thing"]


def test_table_and_file_entry(tmp_path):
    text = results.table([{"name": "a", "value": 0.123456, "count": 12345, "yes": True}])
    assert text.splitlines() == ["name  value   count   yes", "a     0.1235  12,345  yes"]
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").write_bytes(b"12345")
    assert cards.file_entry(tmp_path / "folder", accuracy=1) == {
        "file": "folder",
        "format": "saved_model",
        "bytes": 5,
        "accuracy": 1,
    }
    with pytest.raises(FileNotFoundError):
        cards.file_entry(tmp_path / "nothing.keras")


def test_the_command_in_a_card_repeats_the_training():
    defaults = {"epochs": 5, "filters": (1, 2), "fast": True, "data_dir": None, "output": None, "resume": None}
    arguments = {"epochs": 7, "filters": [3, 4], "fast": False, "data_dir": "/x", "output": "/y", "resume": None}
    assert runs.command("x", defaults, arguments) == "zoo train x --epochs 7 --filters 3 4 --no-fast"
    assert runs.command("x", defaults, defaults) == "zoo train x"
