"""Where reports go if nobody says otherwise: settings of one's own have a folder of their own.

``reports/<scale>-<data>`` has what a scale's own settings gave. A setting that changes numbers adds
itself, as in ``reports/tiny-toycity+label-fraction=0.05``, so that nothing takes the place of a
report on other settings. The number of seeds, or of a search's trials, is no such setting.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sskd.config import SHORT_NAMES, Config, base_for, canonical, digest
from sskd.studies.cells import changed, experiment_name, own_changes
from sskd.studies.efficiency import EFFICIENCY
from sskd.studies.grid import UNDECLARED
from sskd.studies.search_plan import PlannedSearch

if TYPE_CHECKING:
    from sskd.cli.prepare import PreparedStudy

__all__ = ["efficiency_folder", "report_folder", "search_folder"]

LONGEST = 60
"""Letters of settings in a folder's name; what goes beyond is told by a digest alone."""


_NAMES = {key: name for name, key in SHORT_NAMES.items()}


def report_folder(study: "PreparedStudy") -> Path:
    """Of an ablation's report, or of a sweep's: values that no file declares are settings, too."""
    cell = study.cells[0]
    settings = {key: own for key, (_, own) in own_changes(study.ablation, cell).items()}
    if study.ablation.path == UNDECLARED:
        for variant in study.ablation.variants.values():
            for key, value in variant.changes.items():
                settings[key] = [*settings.get(key, []), value]
    return _folder(experiment_name(study.ablation.name, cell.config), settings)


def search_folder(planned: PlannedSearch) -> Path:
    """Of a search's report."""
    return _folder(planned.experiment, planned.changes)


def efficiency_folder(config: Config) -> Path:
    """Of the report on what models cost."""
    changes = changed(config, base_for(config.scale, config.data.name), {})
    settings = {key: own for key, (_, own) in changes.items()}
    return _folder(experiment_name(EFFICIENCY, config), settings)


def _folder(experiment: str, settings: Mapping[str, Any]) -> Path:
    parts = [experiment.partition("@")[2]]
    room, whole = LONGEST, True
    for key, value in settings.items():
        word, exact = _word(value)
        part = f"{_NAMES.get(key, key)}={word}"
        room -= len(part) + 1
        whole = whole and exact and room >= 0
        if room >= 0:
            parts.append(part)
    if not whole:
        parts.append(digest(dict(settings))[:8])
    return Path("reports") / "+".join(parts)


def _word(value: Any) -> tuple[str, bool]:
    """A value as part of a folder's name, and whether that tells it from others."""
    text = value if isinstance(value, str) else canonical(value).replace('"', "").strip("[]")
    word = re.sub(r"[^A-Za-z0-9._,-]+", "-", text.rpartition("/")[2]).strip("-")
    return word, word == text
