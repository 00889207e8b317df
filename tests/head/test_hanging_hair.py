import torch
from support.strand import strand

from flare_cli.head.hanging_hair import HANGING_HAIR, STRIP, with_hanging_hair
from flare_cli.head.skinning import pose_vertices


def test_a_head_without_hair_that_hangs_is_itself(open_head):
    assert with_hanging_hair(open_head, None) is open_head


def test_the_heads_own_vertices_stay_and_hair_follows_its_joint(open_head):
    hairy, generator = with_hanging_hair(open_head, strand(open_head)), torch.Generator().manual_seed(0)
    motion = {
        "shape": torch.randn(open_head.n_shape, generator=generator),
        "expression": torch.rand(2, open_head.n_expression, generator=generator),
        "pose": 0.2 * torch.randn(2, len(open_head.parents), 3, generator=generator),
        "translation": torch.randn(2, 3, generator=generator),
    }
    own = len(open_head.template)
    posed = pose_vertices(hairy, **motion)
    assert torch.allclose(posed[:, :own], pose_vertices(open_head, **motion), atol=1e-6)
    places = strand(open_head).places
    lengths = torch.cdist(posed[:, own:], posed[:, own:])
    assert torch.allclose(lengths, torch.cdist(places, places).expand(2, 8, 8), atol=1e-5)


def test_regions_tell_hair_that_hangs_from_all_else(open_head):
    hairy, own = with_hanging_hair(open_head, strand(open_head)), len(open_head.template)
    assert hairy.regions[HANGING_HAIR].nonzero()[:, 0].tolist() == list(range(own, own + 8))
    assert all(not inside[own:].any() for name, inside in hairy.regions.items() if name != HANGING_HAIR)


def test_its_chart_lies_below_all_others(open_head):
    hairy, own = with_hanging_hair(open_head, strand(open_head)), len(open_head.faces)
    assert hairy.uv[hairy.uv_faces[:own], 1].min() >= STRIP
    assert hairy.uv[hairy.uv_faces[own:], 1].max() < STRIP
    assert hairy.uv.min() >= 0
    assert hairy.uv.max() <= 1
