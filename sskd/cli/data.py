"""The ``sskd data`` group: add a data set, check it, split it, look at it, audit labels of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sskd.cli.console import percent, print_table, say
from sskd.cli.options import Home, examples

if TYPE_CHECKING:
    from sskd.data.audit import Agreement
    from sskd.data.conversion import Source

__all__ = ["app"]

app = typer.Typer(
    help="Data sets: add, make, check, split, show; audit pseudo-labels.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A data set (see `sskd list`).")]
Root = Annotated[Path, typer.Argument(metavar="ROOT", help="Where its folders are.")]
Force = Annotated[bool, typer.Option("--force", help="Replace one of this name.")]


@app.command(
    epilog=examples("sskd data add cells --train train.json --val val.json --images images/")
)
def add(
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    train: Annotated[Path, typer.Option("--train", metavar="JSON", help="COCO file to train on.")],
    val: Annotated[Path, typer.Option("--val", metavar="JSON", help="COCO file to evaluate on.")],
    images: Annotated[Path, typer.Option("--images", metavar="DIR", help="Folder of the images.")],
    val_images: Annotated[
        Path | None,
        typer.Option("--val-images", metavar="DIR", help="Where the val images are, if elsewhere."),
    ] = None,
    unlabeled_images: Annotated[
        Path | None,
        typer.Option("--unlabeled-images", metavar="DIR", help="More images, without any labels."),
    ] = None,
    force: Force = False,
    home: Home = Path("runs"),
) -> None:
    """Register COCO instances under a name; nothing is copied.

    Every annotation is validated first, and nothing is registered if one is wrong.
    """
    from sskd.cli.progress import open_display
    from sskd.data.coco import load_coco
    from sskd.data.datasets import add_dataset

    with open_display() as display:
        added = add_dataset(
            home,
            name,
            train=train,
            val=val,
            images=images,
            val_images=val_images,
            unlabeled_images=unlabeled_images,
            force=force,
            progress=display,
        )
    data = load_coco(added.train_json, added.images)
    say(
        f"added {added.name}: {len(data.images)} training images, {len(data.categories)} classes; "
        f"next: sskd data check {added.name}"
    )


@app.command(
    "add-cityscapes",
    epilog=examples(
        "sskd data add-cityscapes /data/cityscapes",
        "sskd data add-cityscapes /data/cityscapes --name city",
    ),
)
def add_cityscapes(
    root: Root,
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="What to call it.")
    ] = "cityscapes",
    force: Force = False,
    home: Home = Path("runs"),
) -> None:
    """Register Cityscapes from leftImg8bit and gtFine, train and val.

    8 thing classes, groups as crowd regions. Pictures stay where they are; the instances go into
    COCO files in the home folder. Interrupted, it goes on where it stopped.
    """
    from sskd.data.cityscapes import cityscapes

    _convert(home, name, cityscapes(root), force=force)


@app.command(
    "add-ade20k",
    epilog=examples(
        "sskd data add-ade20k /data/ADEChallengeData2016",
        "sskd data add-ade20k /data/ADEChallengeData2016 --name rooms",
    ),
)
def add_ade20k(
    root: Root,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="What to call it.")] = (
        "ade20k"
    ),
    force: Force = False,
    home: Home = Path("runs"),
) -> None:
    """Register ADE20K's instance challenge: images, annotations_instance.

    100 thing classes. Pictures stay where they are; the instances go into COCO files in the home
    folder. Interrupted, it goes on where it stopped.
    """
    from sskd.data.ade20k import ade20k

    _convert(home, name, ade20k(root), force=force)


@app.command(epilog=examples("sskd data make toycity"))
def make(name: Name, home: Home = Path("runs")) -> None:
    """Draw the embedded data set now; otherwise its first use does."""
    from sskd.cli.progress import open_display
    from sskd.data.datasets import open_dataset

    if name != "toycity":
        raise ValueError(f"only toycity can be made, not {name!r}; see sskd data add --help")
    with open_display() as display:
        made = open_dataset(home, name, progress=display)
    say(f"{made.name} is in {made.folder}")


@app.command(
    epilog=examples(
        "sskd data check toycity", "sskd data check mine --queries 32 --label-fraction 0.05"
    )
)
def check(
    name: Name,
    queries: Annotated[
        int,
        typer.Option("--queries", min=1, metavar="N", help="Instances a model can predict."),
    ] = 100,
    label_fraction: Annotated[
        float,
        typer.Option("--label-fraction", metavar="P", help="The share that will be labeled."),
    ] = 0.1,
    short_side: Annotated[
        int,
        typer.Option(
            "--short-side", min=1, metavar="N", help="Of the pictures at the model's input."
        ),
    ] = 128,
    home: Home = Path("runs"),
) -> None:
    """Find what would hurt training or make its numbers wrong.

    Exits with 1 if something must be repaired first.
    """
    from sskd.cli.progress import open_display
    from sskd.data.datasets import check_dataset, open_dataset

    dataset = open_dataset(home, name)
    with open_display() as display:
        findings = check_dataset(
            dataset,
            queries=queries,
            label_fraction=label_fraction,
            short_side=short_side,
            progress=display,
        )
    if not findings:
        say(f"{name}: nothing found that would hurt training")
        return
    print_table(
        ("severity", "where", "finding"), [(f.severity, f.where, f.message) for f in findings]
    )
    if any(f.severity == "error" for f in findings):
        raise typer.Exit(1)


@app.command(
    epilog=examples(
        "sskd data split toycity --label-fraction 0.1",
        "sskd data split cityscapes --labeled-list lists/296.txt",
    )
)
def split(
    name: Name,
    label_fraction: Annotated[
        float | None,
        typer.Option(
            "--label-fraction", metavar="P", help="Share of images that keeps labels, 0 < P <= 1."
        ),
    ] = None,
    labeled_list: Annotated[
        Path | None,
        typer.Option(
            "--labeled-list",
            metavar="FILE",
            help="Instead: a published list, one image's file name, stem or id a line.",
        ),
    ] = None,
    split_seed: Annotated[
        int, typer.Option("--split-seed", min=0, metavar="N", help="Which order of the images.")
    ] = 0,
    home: Home = Path("runs"),
) -> None:
    """Show which images a label fraction, or a published list, keeps labels for.

    Splits of one seed are nested: 5 % within 10 % within 30 %. To train with a list, say
    --set data.labeled_list=FILE; it counts by its content, not by its name.
    """
    from sskd.data.coco import load_coco
    from sskd.data.datasets import open_dataset
    from sskd.data.labeled_lists import find_images, read_list
    from sskd.data.splits import make_listed_split, make_split

    if (label_fraction is None) == (labeled_list is None):
        raise ValueError("either --label-fraction P or --labeled-list FILE is needed")
    names = read_list(labeled_list) if labeled_list is not None else ()
    dataset = open_dataset(home, name)
    train = load_coco(dataset.train_json, dataset.images)
    if labeled_list is not None:
        made = make_listed_split(train, find_images(names, train, labeled_list), seed=split_seed)
    else:
        assert label_fraction is not None
        made = make_split(train, fraction=label_fraction, seed=split_seed)
    counts = {category.id: 0 for category in train.categories}
    for image_id in made.labeled:
        for annotation in train.annotations(image_id):
            counts[annotation.category_id] += 1
    say(
        f"{name}: {len(made.labeled)} labeled and {len(made.unlabeled)} unlabeled images "
        f"(split {made.sha256[:16]})"
    )
    print_table(
        ("class", "labeled instances"),
        [(category.name, str(counts[category.id])) for category in train.categories],
    )


@app.command(
    epilog=examples(
        "sskd data audit toycity 1f3c9a2b",
        "sskd data audit mine labels/pseudo_labels.json --iou 0.75",
    )
)
def audit(
    name: Name,
    labels: Annotated[
        str,
        typer.Argument(
            metavar="LABELS",
            help="A COCO file of pseudo-labels, a stage's folder, or the beginning of the "
            "fingerprint of a cell: what its student learned from.",
        ),
    ],
    iou: Annotated[
        float,
        typer.Option("--iou", metavar="X", help="Overlap from which on one is right, 0 < X <= 1."),
    ] = 0.5,
    home: Home = Path("runs"),
) -> None:
    """Hold pseudo-labels against the labels that training never saw.

    Precision and recall, by class, and by score: what another threshold would have kept.
    """
    from sskd.cli.checkpoints import find_pseudo_labels
    from sskd.data.audit import audit as measure
    from sskd.data.coco import load_coco
    from sskd.data.datasets import open_dataset

    if not 0 < iou <= 1:
        raise ValueError(f"--iou {iou:g}: must be above 0 and at most 1")
    path = find_pseudo_labels(labels, home=home)
    dataset = open_dataset(home, name)
    found = measure(path, load_coco(dataset.train_json, dataset.images), iou_threshold=iou)
    whole = found.agreement()
    say(
        f"{path}: {whole.predicted} pseudo-labels and {whole.hidden} instances on {found.images} "
        f"images of {name}; one is right from IoU {iou:g} on"
    )
    rows = [("all", whole), *((c, found.agreement(name=c)) for c in found.classes)]
    columns = ("pseudo-labels", "precision %", "recall %")
    print_table(("class", "instances", *columns), [(c, str(a.hidden), *_row(a)) for c, a in rows])
    lowest = min(found.scores, default=1.0)
    steps = [step / 10 for step in range(10) if step / 10 >= lowest - 0.1]
    print_table(
        ("score above", *columns),
        [(f"{step:.1f}", *_row(found.agreement(above=step))) for step in steps],
    )


@app.command(epilog=examples("sskd data show toycity --out toycity.png --count 12"))
def show(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="PNG", help="The picture. Default: NAME.png.")
    ] = None,
    count: Annotated[
        int, typer.Option("--count", min=1, metavar="N", help="How many images.")
    ] = 12,
    seed: Annotated[int, typer.Option("--seed", min=0, metavar="N", help="Which images.")] = 0,
    home: Home = Path("runs"),
) -> None:
    """Write a picture of images with their masks drawn."""
    from sskd.data.datasets import draw, open_dataset

    dataset = open_dataset(home, name)
    path = out or Path(f"{dataset.name}.png")
    draw(dataset, path, count=count, seed=seed)
    say(f"wrote {path}")


def _row(agreement: "Agreement") -> tuple[str, str, str]:
    return (
        str(agreement.predicted),
        percent(agreement.precision),
        percent(agreement.recall),
    )


def _convert(home: Path, name: str, source: "Source", *, force: bool) -> None:
    from sskd.cli.progress import open_display
    from sskd.data.conversion import add_converted

    unusual = source.unusual_counts()
    if unusual is not None:
        typer.echo(f"warning: {unusual}; fine if a part of it is meant", err=True)
    with open_display() as display:
        added = add_converted(home, name, source, force=force, progress=display)
    say(
        f"added {added.name}: {len(source.train)} training and {len(source.val)} val images, "
        f"{len(source.categories)} classes; next: sskd data check {added.name}"
    )
