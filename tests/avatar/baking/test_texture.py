import numpy as np
import torch

from flare_cli.avatar.baking.texture import fill_gutters, rasterize_uv


def test_texels_know_their_place_on_the_surface():
    # One triangle that covers the lower left half of the atlas.
    uv, faces = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.tensor([[0, 1, 2]])
    texels, triangle, barycentric = rasterize_uv(uv, faces, 16)
    row, column = texels // 16, texels % 16
    expected = torch.stack([(column + 0.5) / 16, 1 - (row + 0.5) / 16], 1)  # row 0 is at v = 1
    torch.testing.assert_close(barycentric @ uv, expected)
    assert (triangle == 0).all()
    assert 100 < len(texels) < 140


def test_islands_are_told_apart():
    uv = torch.tensor([[0.0, 0.0], [0.4, 0.0], [0.0, 0.4], [1.0, 1.0], [0.6, 1.0], [1.0, 0.6]])
    texels, triangle, _ = rasterize_uv(uv, torch.tensor([[0, 1, 2], [3, 4, 5]]), 32)
    low = texels // 32 > 16
    assert (triangle[low] == 0).all()
    assert (triangle[~low] == 1).all()


def test_gutters_take_the_nearest_covered_texel():
    picture, covered = np.zeros((5, 5, 2)), np.zeros((5, 5), bool)
    picture[0, 0], picture[4, 4] = 1, 2
    covered[0, 0] = covered[4, 4] = True
    filled = fill_gutters(picture, covered)
    assert (filled[1, 1] == 1).all()
    assert (filled[3, 4] == 2).all()
    assert (filled[covered] == picture[covered]).all()


def test_an_atlas_without_triangles_stays_as_it_is():
    picture = np.ones((4, 4, 1))
    assert (fill_gutters(picture, np.zeros((4, 4), bool)) == picture).all()
