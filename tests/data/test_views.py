import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, binary_erosion
from torch import Tensor

from sskd.config import ViewsConfig
from sskd.data.views import make_views, to_model_input

MEAN = np.array((0.485, 0.456, 0.406))
STD = np.array((0.229, 0.224, 0.225))


def _config(**changes: object) -> ViewsConfig:
    plain = {
        "geometry": "shared",
        "crop": (40, 48),
        "scale": (1.0, 1.0),
        "flip": 0.0,
        "jitter": (0.4, 0.4, 0.4, 0.1),
        "jitter_probability": 0.0,
        "grayscale": 0.0,
        "blur_kernel": 5,
        "blur_sigma": (0.1, 2.0),
        "blur_probability": 0.0,
        "strong_scale": (0.5, 1.0),
    }
    return ViewsConfig(**{**plain, **changes})  # type: ignore[arg-type]


EVERYTHING = {
    "scale": (0.5, 2.0),
    "flip": 0.5,
    "jitter_probability": 0.8,
    "grayscale": 0.3,
    "blur_probability": 0.5,
    "geometry": "mapped",
}


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def _no_masks(image: np.ndarray) -> np.ndarray:
    return np.zeros((0, *image.shape[:2]), bool)


def _colours(view: Tensor) -> np.ndarray:
    """A normalised view (3, h, w) back in [0, 1], (h, w, 3)."""
    return view.permute(1, 2, 0).numpy() * STD + MEAN


def test_without_randomness_the_weak_view_is_the_image() -> None:
    image = _noise(40, 48)
    mask = np.zeros((1, 40, 48), bool)
    mask[0, 3:9, 30:44] = True
    views = make_views([image], [mask], config=_config(), generator=_generator())
    np.testing.assert_allclose(_colours(views.weak[0]), image / 255, atol=1e-6)
    torch.testing.assert_close(views.weak[0], to_model_input(image))
    torch.testing.assert_close(views.strong, views.weak)
    torch.testing.assert_close(views.weak_to_strong, torch.eye(3)[None])
    np.testing.assert_array_equal(views.masks[0].numpy(), mask)


def test_flip_mirrors_image_and_masks() -> None:
    image = _noise(40, 48)
    mask = np.random.default_rng(1).random((3, 40, 48)) < 0.5
    views = make_views([image], [mask], config=_config(flip=1.0), generator=_generator())
    np.testing.assert_allclose(_colours(views.weak[0]), image[:, ::-1] / 255, atol=1e-6)
    np.testing.assert_array_equal(views.masks[0].numpy(), mask[:, :, ::-1])


def test_a_smaller_image_is_padded_with_zeros_and_no_mask() -> None:
    image = np.full((10, 12, 3), 255, np.uint8)
    mask = np.ones((1, 10, 12), bool)
    config = _config(scale=(0.5, 0.5), flip=0.5)
    for seed in range(20):
        views = make_views([image], [mask], config=config, generator=_generator(seed))
        seen = views.masks[0][0]
        assert int(seen.sum()) == 20 * 24
        assert (views.weak[0][:, ~seen] == 0).all()
        assert (views.weak[0][:, seen] > 2).all()


@pytest.mark.parametrize("size", [(33, 70), (70, 33), (200, 210)])
def test_masks_lie_on_what_they_mark(size: tuple[int, int]) -> None:
    """An image that is white inside its mask stays so in every view, but for the edge's blend."""
    mask = np.zeros((1, *size), bool)
    mask[0, size[0] // 3 : 2 * size[0] // 3, size[1] // 4 : 2 * size[1] // 3] = True
    image = np.repeat(mask[0][:, :, None], 3, axis=2).astype(np.uint8) * 255
    config = _config(scale=(0.5, 2.0), flip=0.5)
    whole = 0
    for seed in range(40):
        views = make_views([image], [mask], config=config, generator=_generator(seed))
        white = _colours(views.weak[0])[:, :, 0]
        white[np.isclose(white, MEAN[0], atol=1e-4)] = 0  # padding
        seen = views.masks[0][0].numpy()
        assert (white[binary_erosion(seen, iterations=3)] > 0.99).all()
        outside = ~binary_dilation(seen, iterations=3)
        assert (white[3:-3, 3:-3][outside[3:-3, 3:-3]] < 0.01).all()
        if (
            seen.any()
            and not np.concatenate((seen[[0, -1]].ravel(), seen[:, [0, -1]].ravel())).any()
        ):
            whole += 1  # the centres of what is white and of what is marked
            np.testing.assert_allclose(_centroid(white), _centroid(seen * 1.0), atol=0.5)
    assert whole > 3


def _centroid(view: np.ndarray) -> tuple[float, float]:
    """x and y of the bright spot of a dark view (h, w)."""
    weight = np.clip(view - 0.02, 0, None)
    rows, columns = np.mgrid[: view.shape[0], : view.shape[1]]
    return (columns * weight).sum() / weight.sum(), (rows * weight).sum() / weight.sum()


@pytest.mark.parametrize("flip", [0.0, 1.0, 0.5])
def test_weak_to_strong_maps_a_landmark_to_its_place(flip: float) -> None:
    """The spot is found by its brightness in both views, without any knowledge of the warp."""
    rows, columns = np.mgrid[:120, :140]
    config = _config(geometry="mapped", scale=(1.5, 2.0), flip=flip, strong_scale=(0.5, 0.9))
    checked = 0
    flips = set()
    for seed in range(60):
        x, y = np.random.default_rng(seed).uniform((20, 20), (120, 100))
        spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 2.5**2))
        image = np.repeat(spot.astype(np.uint8)[:, :, None], 3, axis=2)
        views = make_views([image], [_no_masks(image)], config=config, generator=_generator(seed))
        matrix = views.weak_to_strong[0].numpy()
        dark = _colours(views.weak[0])[:, :, 0]
        if dark.max() < 0.5:
            continue  # the spot was cropped away
        weak = _centroid(dark)
        mapped = matrix @ (*weak, 1.0)
        inside = 9 < weak[0] < 38 and 9 < weak[1] < 30
        if inside and 11 < mapped[0] < 36 and 11 < mapped[1] < 28:
            strong = _centroid(_colours(views.strong[0])[:, :, 0])
            np.testing.assert_allclose(mapped[:2], strong, atol=0.3)
            flips.add(bool(matrix[0, 0] < 0))
            checked += 1
    assert checked >= 5
    assert flips == {0.0: {False}, 1.0: {True}, 0.5: {False, True}}[flip]


def test_the_strong_crop_spans_the_view_from_centre_to_centre() -> None:
    config = _config(geometry="mapped", flip=0.5, strong_scale=(0.5, 1.0))
    image = _noise(40, 48)
    for seed in range(30):
        views = make_views([image], [_no_masks(image)], config=config, generator=_generator(seed))
        back = torch.linalg.inv(views.weak_to_strong[0])
        corners = back @ torch.tensor([[0.0, 0, 1], [47, 39, 1]]).T
        assert corners[0].min() >= -1e-4
        assert corners[0].max() <= 47 + 1e-4
        assert corners[1].min() >= -1e-4
        assert corners[1].max() <= 39 + 1e-4
        share = (corners[1, 1] - corners[1, 0]) / 39
        assert 0.5 - 1e-4 <= share <= 1 + 1e-4


def test_same_generator_state_same_views_and_the_global_generator_is_left_alone() -> None:
    images = [_noise(60, 50), _noise(30, 90)]
    masks = [np.ones((2, 60, 50), bool), np.ones((1, 30, 90), bool)]
    config = _config(**EVERYTHING)
    before = torch.random.get_rng_state()
    first, again, other = (
        make_views(images, masks, config=config, generator=_generator(seed)) for seed in (3, 3, 4)
    )
    assert torch.equal(before, torch.random.get_rng_state())
    for one, two in zip(first[:3], again[:3], strict=True):
        assert torch.equal(one, two)
    assert all(torch.equal(one, two) for one, two in zip(first.masks, again.masks, strict=True))
    assert not torch.equal(first.weak, other.weak)
    assert torch.isfinite(first.strong).all()


def test_the_first_images_do_not_see_how_many_follow() -> None:
    """Arms with and without unlabeled images train on the same views of the labeled ones."""
    images = [_noise(60, 50, seed) for seed in range(8)]
    masks = [_no_masks(image) for image in images]
    config = _config(**EVERYTHING)
    few = make_views(images[:3], masks[:3], config=config, generator=_generator())
    many = make_views(images, masks, config=config, generator=_generator())
    assert torch.equal(few.weak, many.weak[:3])
    torch.testing.assert_close(few.strong, many.strong[:3])


def test_shared_geometry_changes_colours_only() -> None:
    image = _noise(40, 48) // 2 + 60
    config = _config(jitter_probability=1.0, jitter=(0.4, 0.0, 0.0, 0.0))
    views = make_views([image], [_no_masks(image)], config=config, generator=_generator())
    ratio = _colours(views.strong[0]) / _colours(views.weak[0])
    assert 0.6 <= ratio.min() <= ratio.max() <= 1.4
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-4)
    grey = make_views(
        [image], [_no_masks(image)], config=_config(grayscale=1.0), generator=_generator()
    )
    assert np.ptp(_colours(grey.strong[0]), axis=2).max() < 1e-5
    torch.testing.assert_close(grey.weak[0], to_model_input(image))


def test_no_images_is_an_error() -> None:
    with pytest.raises(ValueError, match="no images"):
        make_views([], [], config=_config(), generator=_generator())
