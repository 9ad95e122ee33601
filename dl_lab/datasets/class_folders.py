"""Which pictures a folder contains: of which split, and of which class."""

import os
import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

from dl_lab.core.errors import ConfigError, is_obeyed
from dl_lab.data.pictures import types

SPELLINGS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
SPLITS = {spelling: split for split, spellings in SPELLINGS.items() for spelling in spellings}
HIDDEN = {  # besides names that begin with a dot
    *("__macosx", "__pycache__", "@eadir", "#recycle", "$recycle.bin", "lost+found", "system volume information"),
    *("thumbs.db", "desktop.ini"),
}
ALLOWED = "one folder for each class, with images in it"


@dataclass(frozen=True)
class Found:
    """The classes, the pictures of a split with their class numbers, and the files that are no pictures or
    not in a class folder.
    """

    folder: Path
    folders: dict[str, Path]  # by class
    classes: list[str]
    pictures: list[tuple[str, int]]
    unused: list[Path]
    nested: int  # pictures in folders inside class folders


def named(names: Iterable[object], most: int = 5) -> str:
    """The first names in one line; characters that a terminal would obey become question marks."""
    shown = ["".join("?" if is_obeyed(char) else char for char in str(name)) for name in names]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def entries(folder: Path, root: Path) -> tuple[dict[str, Path], list[Path]]:
    """The folders in `folder` by name, and its files, without those that systems and programs hide.

    Raises:
        ConfigError: for a link from `folder` to outside `root`, which could expose private files, or to a folder that
            contains it.
    """
    folders, files = {}, []
    with os.scandir(folder) as scanned:
        for entry in sorted(scanned, key=lambda entry: entry.name):
            if entry.name.startswith(".") or entry.name.casefold() in HIDDEN:
                continue
            path = Path(entry.path)
            if entry.is_symlink():
                target = Path(os.path.realpath(path))  # path.resolve() fails for links to each other
                if not target.is_relative_to(root.resolve()) or folder.resolve().is_relative_to(target):
                    raise ConfigError(f"{path} is a link out of dataset.path={root}; allowed: links to files inside it")
            if path.is_dir():
                folders[entry.name] = path
            elif path.is_file() or entry.is_symlink():  # a link to nothing is a broken picture
                files.append(path)
    return folders, files


def contents(files: list[Path]) -> str:
    """What the files are, as a part of a sentence: 3 pictures and 1 file of another type: a.zip."""
    others = [file.name for file in files if not is_picture(file)]
    parts = [count(len(files) - len(others), "picture")] if len(files) > len(others) else []
    parts += [f"{count(len(others), 'file')} of other types: {named(others)}"] if others else []
    return " and ".join(parts) or "nothing"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def is_picture(path: Path) -> bool:
    return path.suffix.lower() in types()


def plain(name: str) -> str:
    """A name as most systems write it: macOS writes an accent as a character of its own."""
    return unicodedata.normalize("NFC", name)


def split_folders(root: Path) -> dict[str, Path]:
    """The folders of the splits in `root`, by split. Empty if `root` contains the classes.

    Raises:
        ConfigError: if some folders are splits and others are not, two are the same split, or none is for training.
    """
    folders, _ = entries(root, root)
    spelled = {name: SPLITS[name.casefold()] for name in folders if name.casefold() in SPLITS}
    others = [name for name in folders if name not in spelled]
    if not spelled or (others and len(spelled) == 1 and not entries(folders[next(iter(spelled))], root)[0]):
        return {}  # a single folder of pictures called "train" beside others is a class: a vehicle
    where = f"dataset.path={root} contains the splits {named(spelled)}"
    allowed = "; ".join(f"{split}: {', '.join(spellings)}" for split, spellings in SPELLINGS.items())
    if others:
        raise ConfigError(
            f"{where}, and beside them {named(others)}; allowed: only splits ({allowed}); hint: move the others"
        )
    if "train" not in spelled.values() or len(set(spelled.values())) < len(spelled):
        raise ConfigError(f"{where}; allowed: one folder for training, and at most one of each other split; {allowed}")
    return {split: folders[name] for split in SPELLINGS for name in folders if spelled[name] == split}


def class_names(folder: Path, root: Path) -> list[str]:
    """The names of the class folders in `folder`, in the order of their characters.

    Raises:
        ConfigError: if there are fewer than two, some look alike, or they are named as splits.
    """
    folders, files = entries(folder, root)
    where = f"dataset.path={folder}" if folder == root else f"dataset.path={root}: {folder}"
    names = [plain(name) for name in folders]
    if splits := named_as_splits(names):
        raise ConfigError(
            f"{where} contains {named(splits)}, which are named as splits, not as classes; "
            f"allowed: {ALLOWED}, or folders train, validation and test of that form"
        )
    if len({name.strip() for name in names}) < len(names):
        raise ConfigError(f"{where} contains names that differ only in blanks, of {names}; allowed: different names")
    if len(folders) > 1:
        return names
    inner, found = folder, folders
    while len(found) == 1 and (deeper := entries(next(iter(found.values())), root)[0]):
        inner, found = next(iter(found.values())), deeper
    given = f"only one class folder, {named(folders)}" if folders else "no class folder"
    if files and not folders:
        given += f", but {contents(files)}"
    hint = f"; hint: dataset.path={inner}" if inner != folder else ""
    raise ConfigError(f"{where} contains {given}; allowed: {ALLOWED}, and at least two classes{hint}")


def find(folder: Path, root: Path, classes: list[str]) -> Found:
    """The pictures in the class folders of a split, and in folders inside them.

    Raises:
        ConfigError: for other classes than `classes`, or for folders of folders that do not look like classes.
    """
    found, unused = entries(folder, root)
    folders = {plain(name): path for name, path in found.items()}
    if unknown := [name for name in folders if name not in classes]:
        raise ConfigError(
            f"dataset.path={root}: {folder} has the classes {named(unknown)}; "
            f"allowed: those of training, {named(classes)}"
        )
    pictures: list[tuple[str, int]] = []
    inside: dict[str, list[str]] = {}  # of each class, the folder inside it that contains a picture
    for name, path in folders.items():
        files = sorted(below(path, root), key=lambda file: (str(file.parent), file.name))
        unused += [file for file in files if not is_picture(file)]
        of_class = [file for file in files if is_picture(file)]
        pictures += zip(map(str, of_class), repeat(classes.index(name)))
        inside[name] = [file.relative_to(path).parts[0] for file in of_class if file.parent != path]
    nested = sum(map(len, inside.values()))
    suspects = [name for name in inside if folders.keys() & set(inside[name]) - {name}]
    if pictures and nested == len(pictures) and (are_alike(inside) or any(map(split_of, folders))):
        suspects = list(inside)
    if suspects:
        classes_inside = named(sorted({each for name in suspects for each in inside[name]}))
        raise ConfigError(
            f"dataset.path={root}: {named(suspects)} contain folders that look like classes ({classes_inside}); "
            f"allowed: {ALLOWED}, or folders train, validation and test of that form"
        )
    return Found(folder, folders, classes, pictures, unused, nested)


def are_alike(inside: dict[str, list[str]]) -> bool:
    """Whether several folders contain pictures in folders of the same names."""
    return len(inside) > 1 and len(set(map(frozenset, inside.values()))) == 1


def split_of(name: str) -> tuple[str, str] | None:
    """The split that a word of the name spells, and the rest of the name: train and A of trainA, train and set of
    train_set.
    """
    words = re.findall("[A-Z]?[a-z]+|[A-Z]+|[0-9]+", name)
    for word in words:
        if split := SPLITS.get(word.casefold().removesuffix("set")):
            return split, " ".join(words).replace(word, "", 1).casefold()
    return None


def named_as_splits(names: list[str]) -> list[str]:
    """The names that spell several splits, if all names do, or those of the same rest: trainA and testA."""
    spelled = {name: found for name in names if (found := split_of(name))}
    if len(spelled) == len(names) and len({split for split, _ in spelled.values()}) > 1:
        return names
    rests = [rest for _, rest in set(spelled.values())]
    return [name for name, (_, rest) in spelled.items() if rests.count(rest) > 1]


def below(folder: Path, root: Path) -> list[Path]:
    """All files in `folder` and in the folders inside it."""
    folders, files = entries(folder, root)
    return files + [file for inner in folders.values() for file in below(inner, root)]
