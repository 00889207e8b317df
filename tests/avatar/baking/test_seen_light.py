"""What vertices see of the light, as exported files get it."""

import base64
import gzip

import numpy as np
import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.bake import posed_by_arkit
from flare_cli.avatar.baking.seen_light import SHAPES, bake_seen_light, quadratic
from flare_cli.config.loading import load_config
from flare_cli.data.meshes.seen_light import SeenLight
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.model import HeadModel
from flare_cli.render.light.sphere import even_directions, harmonics

VERTICES = 1500  # the head's first, for speed


def new_avatar(head: HeadModel, *settings: str) -> Avatar:
    config = load_config("cpu", ["material.log2_entries=10", *settings])
    return Avatar(head, torch.zeros(head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)


def values(numbers: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
    """c + b.d + d.M d at each direction."""
    c, b, m = numbers.split([1, 3, 5], -1)
    xx, yy, xy, xz, yz = m.unbind(-1)
    matrix = torch.stack([xx, xy, xz, xy, yy, yz, xz, yz, -xx - yy], -1).unflatten(-1, (3, 3))
    return c + b @ directions.T + torch.einsum("ki,...ij,kj->...k", directions, matrix, directions)


def test_a_quadratic_function_is_that_of_the_harmonics():
    numbers = torch.randn(4, 9, generator=torch.Generator().manual_seed(0))
    directions = even_directions(50)
    expected = numbers @ harmonics(directions).T
    torch.testing.assert_close(values(quadratic(numbers), directions), expected, atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def seen(open_head: HeadModel) -> SeenLight:
    return bake_seen_light(new_avatar(open_head), VERTICES, (("jawOpen", 0.5), ("mouthPucker", 1.0)))


def test_rest_and_change_add_up_to_what_is_traced_with_the_mouth_open(open_head: HeadModel, seen: SeenLight):
    avatar = new_avatar(open_head)
    weights = torch.zeros(1, len(ARKIT_NAMES))
    weights[0, ARKIT_NAMES.index("jawOpen")] = 0.5
    posed = posed_by_arkit(avatar, weights)
    traced = avatar.traced_visibility(posed, 512, slice(VERTICES))[0]
    directions = even_directions(64)
    expected = (traced @ harmonics(directions).T).clamp(0, 1)
    got = torch.from_numpy(seen.at_rest + seen.changes[seen.shapes.index(("jawOpen", 0.5))]).float()
    above = posed.normals[0, :VERTICES] @ directions.T > 0
    off = (values(got, directions).clamp(0, 1) - expected)[above]
    moved = (values(torch.from_numpy(seen.at_rest), directions).clamp(0, 1) - expected)[above]
    assert off.square().mean() < 0.25 * moved.square().mean()


def test_a_smile_shows_teeth_of_a_mouth_that_is_open(open_head: HeadModel):
    avatar, smile = new_avatar(open_head), ("mouthSmileLeft", "mouthSmileRight")
    teeth = torch.nonzero(open_head.regions["teeth"])[:, 0]
    seen = bake_seen_light(avatar, len(open_head.template), (("jawOpen", 0.5), *((name, 1.0) for name in smile)))
    weights = torch.zeros(1, len(ARKIT_NAMES))
    for name, weight in (("jawOpen", 0.5), *((name, 1.0) for name in smile)):
        weights[0, ARKIT_NAMES.index(name)] = weight
    posed = posed_by_arkit(avatar, weights)
    directions = even_directions(64)
    expected = (avatar.traced_visibility(posed, 512, teeth)[0] @ harmonics(directions).T).clamp(0, 1)
    above = posed.normals[0, teeth] @ directions.T > 0

    def off(shapes: int) -> torch.Tensor:
        added = torch.from_numpy(seen.at_rest + seen.changes[:shapes].sum(0))[teeth].float()
        return (values(added, directions).clamp(0, 1) - expected)[above].square().mean()

    assert off(3) < 0.6 * off(1)


def test_shapes_of_one_morph_are_neighbours_by_weight():
    names = [name for name, _ in SHAPES]
    assert set(names) < set(ARKIT_NAMES)
    for name in set(names):
        weights = [weight for other, weight in SHAPES if other == name]
        assert weights == sorted(set(weights))
        assert weights[-1] == 1
        first = names.index(name)
        assert names[first : first + len(weights)] == [name] * len(weights)


def test_all_is_seen_of_an_avatar_without_shadows(open_head: HeadModel):
    seen = bake_seen_light(new_avatar(open_head, "light.visibility=false"), 7)
    assert seen.changes.shape == (0, 7, 9)
    directions = even_directions(16)
    torch.testing.assert_close(values(torch.from_numpy(seen.at_rest), directions), torch.ones(7, 16))


def test_a_file_gets_each_row_to_a_step_of_its_own_scale(seen: SeenLight):
    extras = seen.extras()
    data = np.frombuffer(gzip.decompress(base64.b64decode(str(extras["data"]))), np.int8)
    rows = data.reshape(-1, extras["vertices"], 9) * np.array(extras["scales"])[:, None, None]
    for row, expected in zip(rows, [seen.at_rest, *seen.changes], strict=True):
        assert np.abs(row - expected).max() <= 0.51 / 127 * np.abs(expected).max()
