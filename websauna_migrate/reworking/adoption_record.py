"""What an adoption changed on disk, kept beside the scripts so that it can be taken back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

#: The folder of the record; no script is looked for in it.
FOLDER = ".adopted"


class AdoptionRecord:
    """The record of one package's adoption.

    :ivar files: the files that were changed, with their former texts
    :ivar created: the files that were made
    :ivar settings: what was added to the INI file, by INI file
    """

    def __init__(self, directory: Path) -> None:
        """Read the record of a script directory, if there is one."""
        self.folder = directory / FOLDER
        self.files: dict[str, str] = {}
        self.created: list[str] = []
        self.settings: dict[str, dict[str, str]] = {}
        if self.exists:
            found = json.loads((self.folder / "record.json").read_text(encoding="utf-8"))
            self.files, self.created = found["files"], found["created"]
            self.settings = found["settings"]

    @property
    def exists(self) -> bool:
        """True if something on disk can be taken back."""
        return (self.folder / "record.json").is_file()

    def write(self, texts: Mapping[Path, str]) -> None:
        """Change files, and remember what they were."""
        for path, text in texts.items():
            self.files.setdefault(str(path), path.read_bytes().decode("utf-8"))
            self._save()
            path.write_bytes(text.encode("utf-8"))

    def add_settings(self, ini: Path, text: str, settings: Mapping[str, str]) -> None:
        """Write an INI file that has more settings."""
        self.settings.setdefault(str(ini), {}).update(settings)
        self._save()
        ini.write_bytes(text.encode("utf-8"))

    def add_created(self, paths: Iterable[str]) -> None:
        """Remember files that were made."""
        self.created += paths
        self._save()

    def take_back(self) -> tuple[str, ...]:
        """Let a package's files be as they were, and return their paths; the record goes."""
        done = [*self.files, *self.created]
        for name, text in self.files.items():
            if Path(name).read_bytes() != (former := text.encode("utf-8")):
                Path(name).write_bytes(former)
        for name in self.created:
            Path(name).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)
        return tuple(done)

    def take_settings_back(self, wanted: Callable[[str], bool]) -> tuple[str, ...]:
        """Take settings out of their INI files, and return the paths of these.

        :param wanted: which, by their keys
        """
        done = []
        for ini, settings in self.settings.items():
            going = {key: value for key, value in settings.items() if wanted(key)}
            if going:
                text = Path(ini).read_bytes().decode("utf-8")
                Path(ini).write_bytes(remove_settings(text, going).encode("utf-8"))
                self.settings[ini] = {k: v for k, v in settings.items() if k not in going}
                done.append(ini)
        if any(self.settings.values()) or self.files or self.created:
            self._save()
        else:
            shutil.rmtree(self.folder, ignore_errors=True)
        return tuple(done)

    def _save(self) -> None:
        """Write the record; it comes before the change that it tells of."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n", encoding="utf-8")
        found = {"files": self.files, "created": self.created, "settings": self.settings}
        text = json.dumps(found, indent=1, sort_keys=True)
        (self.folder / "record.json").write_text(text, encoding="utf-8")


#: The section of an application in an INI file.
SECTION = re.compile(r"^\[(app:[^\]]+)\][ \t]*(?:[#;].*)?\r?$", re.M)


def add_settings(text: str, settings: Mapping[str, str]) -> str | None:
    """Return an INI file's text with more settings at the top of its application's section.

    :returns: ``None`` if there is no such section, or several and none is ``main``
    """
    sections = {found[1].strip(): found for found in SECTION.finditer(text)}
    found = sections.get("app:main") or (
        next(iter(sections.values())) if len(sections) == 1 else None
    )
    if found is None:
        return None
    line_end = "\r\n" if "\r\n" in text else "\n"
    lines = "".join(f"{line}{line_end}" for line in lines_of(settings))
    end = text.find("\n", found.end()) + 1 or len(text)
    head = text[:end] if text[:end].endswith("\n") else text[:end] + line_end
    return head + lines + text[end:]


def remove_settings(text: str, settings: Mapping[str, str]) -> str:
    """Return an INI file's text without settings that :func:`add_settings` has added."""
    for line in lines_of(settings):
        text = re.sub(rf"^{re.escape(line)}\r?\n", "", text, count=1, flags=re.M)
    return text


def lines_of(settings: Mapping[str, str]) -> list[str]:
    """Return settings as lines."""
    return [f"{key} = {value}" for key, value in settings.items()]
