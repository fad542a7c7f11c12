"""Where MLflow shows the cells of a report, and how to get there."""

from sskd.reporting.document import Block, Heading, Link, Paragraph
from sskd.studies.shown import PORT, Shown

__all__ = ["in_mlflow"]


def in_mlflow(shown: Shown | None) -> list[Block]:
    """A section with a link to the comparison of a report's own runs; none where there is no run.

    The link is of this machine alone, and the text of none.

    Args:
        shown: The report's finished cells as MLflow has them.
    """
    if shown is None:
        return []
    line = (
        f"Each finished cell is a run, named by variant and seed, of `{shown.experiment}`. While "
        "`sskd ui` (with `--home`, if the command above has it) is open where they were computed, "
        "this compares them:"
    )
    number = len(shown.runs)
    text = f"the {number} runs of this report, compared" if number > 1 else "the run of this report"
    return [
        Heading("In MLflow"),
        Paragraph((line,)),
        Link(text, f"http://127.0.0.1:{PORT}{shown.page}"),
    ]
