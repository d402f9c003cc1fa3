"""Publishing: runs of several seeds become `saved_models/<name>`.

python -m recipes.publishing mnist_cnn RUN RUN RUN && make readme
"""

import json
import shutil
import sys
import tempfile
from pathlib import Path

from recipes import cards
from zoo import pretrained


def publish(name, *runs):
    """Copies the run with the best validation figure to `saved_models/<name>`, the seeds of all in its card.

    The choice looks at the validation split only; the test figures of all seeds stand in the card. Of a distance or an
    RMSE less is better. The folder is put together beside the published one and takes its place when it is whole;
    pictures of the former one stay, and what was written into its card by hand.

    Args:
        name: Name to publish under.
        *runs: Folders with `model.keras`, `model.tflite` and a card that lists both.

    Raises:
        ValueError: If there is no run, or a file is not the one that its card describes.
    """
    if not runs:
        raise ValueError("no run given: name the run folders to choose from")
    found = [json.loads(Path(run, "card.json").read_text(encoding="utf-8")) for run in runs]
    metric = next(iter(found[0]["metrics"]))
    sign = -1 if metric.endswith(("distance", "rmse")) else 1
    best = max(range(len(runs)), key=lambda index: sign * found[index]["training"]["validation"][metric])
    card = {"name": name, **{key: value for key, value in found[best].items() if key != "name"}}
    card["seeds"] = {str(one["training"]["arguments"]["seed"]): one["metrics"][metric] for one in found}
    target = pretrained.directory() / name
    former = pretrained.beside(target / "card.json")
    card |= {key: former[key] for key in cards.WRITTEN if key in former and key not in card}
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".publishing-", dir=target.parent) as scratch:
        whole, replaced = Path(scratch, "whole"), Path(scratch, "replaced")
        if target.exists():
            shutil.copytree(target, whole)
        whole.mkdir(exist_ok=True)
        for entry in card["files"]:
            copy = shutil.copyfile(Path(runs[best], entry["file"]), whole / entry["file"])
            if pretrained.sha256(copy) != entry["sha256"]:
                raise ValueError(f"{Path(runs[best], entry['file'])} is not the file that its card describes")
        cards.write(whole, card)
        if target.exists():
            target.rename(replaced)
        try:
            whole.rename(target)
        except OSError:
            if replaced.exists():
                replaced.rename(target)
            raise


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit("usage: python -m recipes.publishing NAME RUN [RUN ...]")
    try:
        publish(*sys.argv[1:])
    except (ValueError, OSError) as error:
        sys.exit(f"{getattr(error, 'filename', None) or 'not published'}: {getattr(error, 'strerror', None) or error}")
