"""Which runs stand in one comparison, in homes whose cells are fake and whose MLflow is real."""

import json
from dataclasses import replace
from inspect import signature
from urllib.parse import parse_qs, unquote

import pytest

from sskd.cli.studies import ui
from sskd.studies.cells import cells
from sskd.studies.databases import open_mlflow
from sskd.studies.shown import PORT, comparison_pages, keep_plan, receipt, shown_cells

EXPERIMENT = "ablate/negatives@tiny-toycity"


@pytest.fixture
def planned(negatives, tiny):
    """Four variants under two seeds; of each setting another fingerprint."""

    def planned(setting: str):
        return [
            replace(cell, fingerprint=f"{setting}{cell.seed}{cell.variant}")
            for cell in cells(negatives, tiny, {}, range(2))
        ]

    return planned


@pytest.fixture
def finish(home):
    """Show a cell as finished; gives its run."""
    client = open_mlflow(home)
    experiment = client.create_experiment(f"sskd/{EXPERIMENT}")

    def finish(cell, status="FINISHED"):
        run = client.create_run(experiment).info.run_id
        client.set_terminated(run, status)
        path = receipt(home, EXPERIMENT, cell)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"run_id": run}))
        return run

    finish.client = client
    return finish


def compared(page: str) -> list[str]:
    route, _, query = page.partition("?")
    assert route == "/#/compare-runs"
    assert " " not in query
    assert '"' not in query
    return json.loads(parse_qs(unquote(query))["runs"][0])


def test_the_comparison_has_the_cells_of_the_last_plan_alone(home, planned, finish):
    first, second = planned("a"), planned("b")
    runs = {cell.fingerprint: finish(cell) for cell in [*first, *second]}
    keep_plan(home, EXPERIMENT, "plan-a", first)
    assert compared(comparison_pages(home)[EXPERIMENT]) == [runs[c.fingerprint] for c in first]
    keep_plan(home, EXPERIMENT, "plan-b", second[:4])
    assert compared(comparison_pages(home)[EXPERIMENT]) == [runs[c.fingerprint] for c in second[:4]]
    # More seeds of the same plan are added, fewer take nothing away.
    for wanted in (second, second[:4]):
        keep_plan(home, EXPERIMENT, "plan-b", wanted)
        page = comparison_pages(home)[EXPERIMENT]
        assert compared(page) == [runs[c.fingerprint] for c in second]


def test_cells_are_compared_in_their_order_where_mlflow_has_them(home, planned, finish):
    mine = planned("a")
    assert shown_cells(home, EXPERIMENT, mine) is None
    runs = [finish(cell) for cell in mine[:3]]
    failed, deleted = finish(mine[3], "FAILED"), finish(mine[4])
    finish.client.delete_run(deleted)
    other = finish(planned("b")[0])
    shown = shown_cells(home, EXPERIMENT, mine[::-1])
    assert shown.experiment == f"sskd/{EXPERIMENT}"
    assert compared(shown.page) == list(shown.runs) == runs[::-1]
    assert not {failed, deleted, other} & {*shown.runs}
    (home / "mlflow.db").unlink()
    assert shown_cells(home, EXPERIMENT, mine) is None
    assert comparison_pages(home) == {}


def test_the_port_of_links_is_the_commands() -> None:
    assert signature(ui).parameters["port"].default == PORT
