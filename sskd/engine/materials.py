"""What the stages of a cell have in common, and the model that one of them starts from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState, is_initialized
from accelerate.utils import DistributedDataParallelKwargs

from sskd.config import Config
from sskd.data.coco import CocoData, load_coco
from sskd.data.datasets import DataSet
from sskd.engine.checkpoint import load_weights
from sskd.engine.fit import derive_seed
from sskd.engine.stages import Stage
from sskd.engine.store import Store, StoredStage
from sskd.models.build import build_model
from sskd.models.contract import InstanceModel

__all__ = ["Materials", "check_device", "load_model", "make_accelerator"]


@dataclass(frozen=True)
class Materials:
    """What the stages of a cell have in common."""

    config: Config
    dataset: DataSet
    labeled: Path
    """COCO JSON of the labeled images, with their annotations."""
    unlabeled: Path
    """COCO JSON of the unlabeled images; it holds no annotation."""
    held_out: Path | None
    """COCO JSON of the images that AP is measured on in the place of val, if there are any."""
    classes: tuple[str, ...]
    """Names, in the order of the category ids."""
    store: Store
    stages: Mapping[str, Stage]

    def stored(self, name: str) -> StoredStage:
        """A stage that an earlier one of the same cell has finished."""
        stage = self.stages[name]
        stored = self.store.read(stage.name, stage.key)
        assert stored is not None, f"{name} must be finished first"
        return stored

    def measured(self) -> CocoData:
        """The images that AP is measured on."""
        if self.held_out is not None:
            return load_coco(self.held_out, self.dataset.images)
        return load_coco(self.dataset.val_json, self.dataset.val_images)


def make_accelerator(config: Config, *, training: bool = True) -> Accelerator:
    """Device and precision of training as the config says; the device alone for anything else.

    Raises:
        ValueError: If the device is not there or cannot train so, or there are fewer than
            processes.
    """
    device, count = config.runtime.device, config.runtime.processes
    gpus = check_device(config, training=training)
    precision = config.numerics.precision if training else "no"
    if is_initialized() and AcceleratorState().mixed_precision != precision:
        AcceleratorState._reset_state()  # it is one for the process, whose cells may differ
    # Without a contrastive term its projection learns nothing.
    wrapper = DistributedDataParallelKwargs(find_unused_parameters=True)
    return Accelerator(
        cpu=device == "cpu" or (count > 1 and not gpus),
        mixed_precision=precision,
        kwargs_handlers=[wrapper],
    )


def check_device(config: Config, *, training: bool = True) -> int:
    """Check that the device that a config asks for is there; gives the GPUs that it may use.

    Raises:
        ValueError: If it is not or cannot train in its precision, or there are fewer than
            processes.
    """
    device, count = config.runtime.device, config.runtime.processes
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("runtime.device 'cuda': no CUDA device is available; use 'cpu' or 'auto'")
    gpus = torch.cuda.device_count() if device != "cpu" else 0
    if gpus and count > gpus:
        raise ValueError(f"runtime.processes {count}: each needs a GPU, and {gpus} are here")
    if training and config.numerics.precision == "fp16" and not gpus:
        # Without the scaling of its gradients, which is for GPUs, small ones are lost.
        raise ValueError("numerics.precision 'fp16' needs a GPU; use 'bf16' or 'no'")
    return gpus


def load_model(materials: Materials, stage: Stage, weights_of: str | None) -> InstanceModel:
    """A stage's model, with the weights of another stage or fresh ones.

    Fresh weights depend on the role and the seed alone, so that the arms of an ablation start from
    the same ones.
    """
    generator = torch.Generator().manual_seed(derive_seed("weights", stage.role, stage.seed))
    config = getattr(materials.config, stage.role)
    model = build_model(config, classes=materials.classes, generator=generator)
    if weights_of is not None:
        load_weights(materials.stored(weights_of).weights, model)
    return model
