"""Small trained models of every kind of data, with the files that they were trained and tested on."""

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from support.commands import train

from dl_lab.inference.trained import Trained, load_trained

STEPS = (
    "train.steps=4",
    "train.validate_every=2",
    "train.log_every=2",
    "train.batch_size=10",
    "model=mlp",
    "device=cpu",
)


def trained(folder: Path, *arguments: str) -> Trained:
    """The model of `python -m dl_lab.train ARGUMENTS`, a few steps long."""
    ended = train(folder, *STEPS, *arguments)
    assert ended.status == 0, ended.err
    return load_trained(ended.run)


def rows(number: int, seed: int) -> list[dict[str, object]]:
    """Rows with columns of all types, missing cells, and targets of all tasks."""
    draw, found = random.Random(seed), []
    for _ in range(number):
        city, size = draw.choice(["Oslo", "Rome", "Bonn"]), draw.random() * 9 + 1
        tags = [tag for tag in ("new", "old", "red") if draw.random() < 0.5]
        found.append(
            {
                "age": draw.choice([draw.randint(18, 80), ""]),
                "city": draw.choice([city, ""]),
                "since": f"20{draw.randint(10, 23)}-{draw.randint(1, 12):02d}-{draw.randint(1, 28):02d}",
                "active": draw.choice(["yes", "no"]),
                "size": f"{size:.4f}",
                "kind": "stay" if size < 5 else draw.choice(["leave", "ask"]),
                "cost": f"{size * 20 + draw.random():.4f}",
                "tags": ";".join(tags or ["old"]),
                "good": int(size > 4),
                "weight": f"{draw.random() + 0.1:.4f}",
            }
        )
    return found


def write_csv(path: Path, table: list[dict[str, object]], separator: str = ",") -> Path:
    lines = [separator.join(table[0]), *(separator.join(map(str, row.values())) for row in table)]
    path.write_text("\n".join(lines) + "\n")
    return path


TARGETS = ("kind", "cost", "tags", "good")
TABLES = {  # by name: the targets and further arguments
    "classes": (["kind"], ["loss.class_weights=balanced"]),
    "numbers": (["cost"], []),
    "several numbers": (["cost", "good"], ["dataset.task=regression"]),
    "labels": (["tags"], ["dataset.task=multilabel", "dataset.label_separator=';'"]),
    "columns of labels": (["good", "active"], ["dataset.task=multilabel"]),
    "heads": (["kind", "cost", "tags"], ["dataset.task={tags: multilabel}", "dataset.label_separator=';'"]),
    "weights": (["kind", "cost"], ["dataset.sample_weight=weight"]),
    "texts": (["kind", "cost"], ["dataset.text=since", "model=transformer", "dataset.context_length=8"]),
}


def table_model(folder: Path, targets: list[str], *arguments: str) -> tuple[Trained, Path]:
    """A model of a table, and its test file."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "train.csv", rows(60, 1))
    test = write_csv(folder / "test.csv", rows(33, 2))
    drop = [
        name
        for name in (*TARGETS, "weight")
        if name not in targets and f"dataset.sample_weight={name}" not in arguments
    ]
    paths = ("dataset=table", "dataset.path=train.csv", "dataset.test_path=test.csv")
    chosen = (f"dataset.targets=[{','.join(targets)}]", f"dataset.drop=[{','.join(drop)}]")
    return trained(folder, *paths, *chosen, *arguments), test


def write_pictures(folder: Path, number: int, seed: int, classes: tuple[str, ...] = ("cat", "dog")) -> list[Path]:
    draw, found = np.random.default_rng(seed), []
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for place in range(number):
            found.append(folder / name / f"{place}.png")
            Image.fromarray(draw.integers(70 * label, 70 * label + 99, (9, 7, 3), dtype=np.uint8)).save(found[-1])
    return found


def folder_model(folder: Path, *arguments: str) -> tuple[Trained, Path]:
    write_pictures(folder / "pictures/train", 12, 1)
    write_pictures(folder / "pictures/test", 6, 2)
    size = ("dataset.size=8", "dataset.num_workers=0", "dataset.validation=4")
    return trained(folder, "dataset=image_folder", "dataset.path=pictures", *size, *arguments), folder / "pictures/test"


def pixel_rows(number: int, seed: int) -> list[dict[str, object]]:
    draw = np.random.default_rng(seed)
    labels = draw.integers(0, 2, number)
    return [
        {
            "label": int(label),
            **{f"p{place}": int(value) for place, value in enumerate(draw.integers(0, 99 + 90 * label, 12))},
        }
        for label in labels
    ]


def pixel_model(folder: Path) -> tuple[Trained, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "train.csv", pixel_rows(50, 1))
    test = write_csv(folder / "test.csv", pixel_rows(23, 2))
    paths = ("dataset=table", "dataset.path=train.csv", "dataset.test_path=test.csv", "dataset.targets=[label]")
    return trained(folder, *paths, "dataset.task=classification", "dataset.image_shape=[1,3,4]"), test


def listed_model(folder: Path) -> tuple[Trained, Path]:
    for part, number, seed in (("train", 20, 1), ("test", 8, 2)):
        files = write_pictures(folder / part, number, seed)
        write_csv(
            folder / f"{part}.csv", [{"file": file.relative_to(folder), "kind": file.parent.name} for file in files]
        )
    paths = ("dataset=table", "dataset.path=train.csv", "dataset.test_path=test.csv", "dataset.targets=[kind]")
    return trained(folder, *paths, "dataset.images=file", "dataset.image_shape=[3,6,6]"), folder / "test.csv"


def texts_model(folder: Path, tokenizer: str) -> tuple[Trained, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for part, number, more in (("train", 40, ""), ("test", 21, "\u2603")):
        draw = random.Random(part)
        words = [draw.choices(["red", "süß", "東京", "old", more], k=draw.randrange(9)) for _ in range(number)]
        table = [{"size": len(each), "say": " ".join(each), "kind": "ab"["red" in each]} for each in words]
        write_csv(folder / f"{part}.csv", table)
    paths = ("dataset=table", "dataset.path=train.csv", "dataset.test_path=test.csv", "dataset.targets=[kind]")
    small = ("model=transformer", "model.num_layers=1", "model.num_heads=1", "model.embedding_size=8")
    text = ("dataset.text=say", f"dataset.tokenizer={tokenizer}", "model.context_length=16")
    return trained(folder, *paths, *small, *text), folder / "test.csv"


MODELS: dict[str, Callable[[Path], tuple[Trained, Path]]] = {
    **{
        name: lambda folder, targets=targets, arguments=arguments: table_model(folder, targets, *arguments)
        for name, (targets, arguments) in TABLES.items()
    },
    "texts": lambda folder: texts_model(folder, "bpe"),
    "image folder": folder_model,
    "pixels": pixel_model,
    "listed pictures": listed_model,
}
