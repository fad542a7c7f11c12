"""The benchmark's own script, run on folders alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

DIRECTLY = """
import json, sys
import numpy as np
# What NumPy 2.4 takes away from version 2.3.0: a function, and counts that are Python's integers.
np.in1d = getattr(np, "in1d", np.isin)
import cityscapesscripts.evaluation.evalInstanceLevelSemanticLabeling as script
def write(content, path):
    with open(path, "w") as file:
        json.dump(content, file, default=lambda value: value.item())
script.writeDict2JSON = write
script.args.gtInstancesFile = sys.argv.pop()  # by default in the package's own folder
script.main()
"""


def run_directly(root: Path, predictions: Path, folder: Path) -> dict:
    """The benchmark's own script, as its readme says, on folders alone."""
    folder.mkdir()
    environment = {"CITYSCAPES_DATASET": str(root), "CITYSCAPES_RESULTS": str(predictions)}
    done = subprocess.run(
        [sys.executable, "-c", DIRECTLY, str(folder / "instances.json")],
        cwd=folder,
        capture_output=True,
        env=os.environ | environment,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    # It writes its result into the data set's folder.
    (result,) = (root / "evaluationResults").glob("*.json")
    return json.loads(result.read_text())["averages"]
