"""What covers the skull goes on where nobody saw it: hair as hair, a cap as a cap, and a bald head as skin."""

import math

import pytest
import torch
from jaxtyping import Float
from torch import Tensor, nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.completion import Completion, completed, completion_of, values_at_vertices
from flare_cli.avatar.material import Material
from flare_cli.avatar.unseen.locks import locks_like, samples_of
from flare_cli.avatar.unseen.scalp import find_scalp
from flare_cli.avatar.unseen.shape import BEYOND
from flare_cli.config.loading import load_config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.model import HeadModel
from flare_cli.render.geometry import vertex_normals

SKIN, HAIR, UNSEEN = (0.45, 0.28, 0.2), (0.10, 0.06, 0.04), (0.1, 0.9, 0.1)
SKIN_ROUGHNESS, HAIR_ROUGHNESS = 0.5, 0.97
SEEN_FROM = 0.02  # metres before the middle of the head
STRIPE = 0.008


def is_hair(place: Float[Tensor, "*batch 3"]) -> Tensor:
    """Above the forehead, and at the temples."""
    _, y, z = place.unbind(-1)
    return (y > 0.05) | ((z < 0.045) & (y > 0.0))


class Painted(nn.Module):
    """Hair of stripes that run down and back, skin, and what no camera saw is green."""

    def __init__(self, avatar: Avatar, hair: tuple[float, float, float], roughness: float = HAIR_ROUGHNESS) -> None:
        super().__init__()
        template, canonical = avatar.head.template, avatar.material_positions()[: len(avatar.head.template)]
        skull = avatar.head.regions["scalp"]  # does not move with the jaw
        self.scale = float(
            (template[skull] - template[skull][0]).norm() / (canonical[skull] - canonical[skull][0]).norm()
        )
        self.shift = template[skull][0] - self.scale * canonical[skull][0]
        self.hair, self.roughness = hair, roughness

    def forward(self, position: Float[Tensor, "P 3"]) -> Material:
        place = self.scale * position + self.shift
        stripes = torch.exp(0.3 * torch.sin(2 * math.pi / STRIPE * place[:, :1]))
        hair = is_hair(place)[:, None]
        albedo = torch.where(hair, place.new_tensor(self.hair) * stripes, place.new_tensor(SKIN))
        albedo = torch.where(place[:, 2:] < SEEN_FROM, place.new_tensor(UNSEEN), albedo)
        roughness = torch.where(hair, self.roughness, SKIN_ROUGHNESS)
        return Material(albedo, roughness, torch.full_like(roughness, 0.3))


def seen_from_the_front(
    head: HeadModel,
    covering: int | None,
    hair: tuple[float, float, float] = HAIR,
    roughness: float = HAIR_ROUGHNESS,
) -> Avatar:
    """`covering` is the column of what is where there is hair: 0 hair, 1 a cap, None bare."""
    config = load_config("demo", ["material.log2_entries=10"])
    avatar = Avatar(head, torch.zeros(head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)
    avatar.material = Painted(avatar, hair, roughness)
    seen = (head.template[:, 2:] > SEEN_FROM).float()
    coverings = torch.zeros(len(seen), 2)
    if covering is not None:
        coverings[:, covering] = is_hair(head.template) * seen[:, 0]
    avatar.remember(confidence=seen, squarest=seen.clone(), coverings=coverings)
    return avatar


def points_in(avatar: Avatar, inside: Tensor, count: int = 4000) -> tuple[Material, Completion]:
    """Completed material at random places of triangles all of whose corners are `inside`."""
    completion = completion_of(avatar)
    assert completion is not None
    faces = avatar.head.faces[inside[avatar.head.faces].all(1)]
    drawn = torch.Generator().manual_seed(0)
    corners = faces[torch.randint(len(faces), (count,), generator=drawn)]
    weights = torch.rand(count, 3, generator=drawn).log()
    weights = (weights / weights.sum(1, keepdim=True))[..., None]
    at, positions = completion.at_vertices(avatar), avatar.material_positions()
    own = avatar.material((positions[corners] * weights).sum(1))
    return completion.mixed((at[corners] * weights).sum(1), own, avatar), completion


def unseen_skull(avatar: Avatar, above: float = 0.03) -> Tensor:
    """Not near what was seen, and well above the hairline."""
    return (find_scalp(avatar).growth[:, 0] > above) & (avatar.head.template[:, 2] < SEEN_FROM - 0.015)


def test_the_back_of_a_head_has_the_hair_of_its_front(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    material, _ = points_in(avatar, unseen_skull(avatar))
    # The stripes' logarithm is 0.3 sin: its deviation is 0.3 / sqrt(2), its mean 0, and it ends at 0.3.
    logarithm = (material.albedo / torch.tensor(HAIR)).log()
    assert logarithm.mean(0).abs().max() < 0.06
    assert 0.6 * 0.3 / math.sqrt(2) < logarithm.std() < 1.2 * 0.3 / math.sqrt(2)
    assert logarithm.abs().max() < 0.3 + 1e-3
    torch.testing.assert_close(
        material.roughness, torch.full_like(material.roughness, HAIR_ROUGHNESS), atol=0.01, rtol=0
    )


def test_a_bald_head_stays_bald(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, None, SKIN)
    material, completion = points_in(avatar, unseen_skull(avatar))
    assert completion.covering is None
    assert (material.albedo / torch.tensor(SKIN)).log().abs().max() < 0.3
    assert (material.albedo.mean(0) / torch.tensor(SKIN)).log().abs().max() < 0.05


def test_a_few_wrong_labels_make_no_hair(open_head: HeadModel):
    """One vertex in eight of the seen skull."""
    avatar = seen_from_the_front(open_head, None, SKIN)
    avatar.coverings[torch.arange(len(avatar.coverings)) % 8 == 0, 0] = 1
    material, _ = points_in(avatar, unseen_skull(avatar))
    assert (material.albedo.mean(0) / torch.tensor(SKIN)).log().abs().max() < 0.05


def test_a_cap_goes_on_without_locks(open_head: HeadModel):
    red = (0.5, 0.05, 0.05)
    avatar = seen_from_the_front(open_head, 1, red)
    material, completion = points_in(avatar, unseen_skull(avatar))
    assert completion.covering is not None
    assert completion.covering.locks is None
    logarithm = (material.albedo / torch.tensor(red)).log()
    assert logarithm.mean(0).abs().max() < 0.06
    assert logarithm.std() < 0.05


def test_hair_ends_in_a_soft_line_at_the_nape_and_ears_stay_bare(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    completion = completion_of(avatar)
    growth, (_, _, z) = find_scalp(avatar).growth[:, 0], open_head.template.T
    redness = values_at_vertices(avatar, completion)[:, 0]
    skin = (growth < -0.03) & (z < 0) & (avatar.confidence[:, 0] == 0) & open_head.regions["neck"]
    assert (redness[skin] / SKIN[0]).log().abs().max() < 0.1
    ears = open_head.regions["ears"]
    assert (redness[ears] / SKIN[0]).log().abs().max() < 0.1
    material, _ = points_in(avatar, (growth.abs() < 0.02) & (z < -0.03))
    between = (material.albedo[:, 0] > 1.5 * HAIR[0]) & (material.albedo[:, 0] < 0.8 * SKIN[0])
    assert between.float().mean() > 0.2


def test_what_was_seen_stays_to_the_bit(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    bare = ~avatar.region_mask(("teeth", "tongue", "inner_mouth"))[:, 0].bool()
    seen = (avatar.confidence[:, 0] == 1) & bare
    own = avatar.material(avatar.material_positions()).in_columns()
    filled = values_at_vertices(avatar, completion_of(avatar))
    assert torch.equal(filled[seen], own[seen])
    assert not torch.equal(filled[~seen & bare], own[~seen & bare])


def test_a_head_that_was_seen_all_around_is_left_alone(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    everywhere = torch.ones_like(avatar.confidence)
    avatar.remember(confidence=everywhere, squarest=everywhere, coverings=avatar.coverings)
    avatar.mesh.offsets.copy_(0.01 * torch.randn(avatar.mesh.offsets.shape, generator=torch.Generator().manual_seed(0)))
    completion = completion_of(avatar)
    assert torch.equal(completed(avatar, completion).mesh.offsets, avatar.mesh.offsets)
    bare = ~avatar.region_mask(("teeth", "tongue", "inner_mouth"))[:, 0].bool()
    faces = open_head.faces[bare[open_head.faces].all(1)]
    own = avatar.material(avatar.material_positions()[faces].mean(1))
    mixed = completion.mixed(completion.at_vertices(avatar)[faces].mean(1), own, avatar)
    torch.testing.assert_close(mixed.in_columns(), own.in_columns(), atol=1e-6, rtol=0)


@pytest.mark.parametrize(("colour", "roughness"), [(HAIR, SKIN_ROUGHNESS), ((0.4, 0.3, 0.2), HAIR_ROUGHNESS)])
def test_an_avatar_of_before_knows_hair_by_its_colour_or_by_its_being_matt(
    open_head: HeadModel, colour: tuple[float, float, float], roughness: float
):
    avatar = seen_from_the_front(open_head, 0, colour, roughness)
    avatar.coverings = avatar.squarest = None
    material, _ = points_in(avatar, unseen_skull(avatar))
    assert (material.albedo / torch.tensor(colour)).log().mean(0).abs().max() < 0.1


def test_a_divided_mesh_has_hair_too(open_head: HeadModel):
    """New vertices between one that was seen and one that was not are no bare ones."""
    avatar = seen_from_the_front(open_head, 0)
    avatar.subdivide_mesh()
    completion = completion_of(avatar)
    assert completion.covering is not None
    well_above = completion.covering.scalp.growth > 0.03
    assert completion.covering.share[well_above & (completion.own == 0)].min() == 1


def test_who_is_bald_on_top_has_hair_below_alone(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    avatar.coverings[open_head.template[:, 1] > 0.05] = 0
    covering = completion_of(avatar).covering
    growth, (_, y, z) = covering.scalp.growth[:, 0], open_head.template.T
    assert covering.share[(z < -0.04) & (y < 0.0) & (growth > 0.01)].mean() > 0.5
    assert covering.share[(z < SEEN_FROM) & (y > 0.09) & (growth > 0)].max() < 0.1


def test_combed_hair_has_longer_locks_than_curls(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    share = avatar.coverings[:, :1]
    combed = samples_of(avatar, share)
    straight = locks_like(avatar, combed, find_scalp(avatar)).pattern

    class Curly(Painted):
        def forward(self, position: Float[Tensor, "P 3"]) -> Material:
            material = super().forward(position)
            place = 2 * math.pi / STRIPE * (self.scale * position + self.shift)
            curls = torch.exp(0.3 * place.sin().prod(1, keepdim=True) * 2)
            return Material(material.albedo.new_tensor(HAIR) * curls, material.roughness, material.specular)

    avatar.material = Curly(avatar, HAIR)
    curly = locks_like(avatar, samples_of(avatar, share), find_scalp(avatar)).pattern

    def along(pattern: Tensor) -> float:
        """Correlation of places 15 mm apart on the way from the crown."""
        rows = pattern[40:120] - pattern[40:120].mean()
        return float((rows[:-10] * rows[10:]).mean() / rows.square().mean())

    assert along(straight) > along(curly) + 0.2


def test_locks_are_evenly_spread_and_close_around_the_crown(open_head: HeadModel):
    avatar = seen_from_the_front(open_head, 0)
    pattern = locks_like(avatar, samples_of(avatar, avatar.coverings[:, :1]), find_scalp(avatar)).pattern
    assert torch.equal(pattern[:, 0], pattern[:, -1])
    quantiles = pattern[40:].flatten().quantile(torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]))
    torch.testing.assert_close(quantiles, torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9]), atol=0.08, rtol=0)


@pytest.mark.parametrize("which", ["open_head", "flame_head"])
def test_the_scalp_of_any_head_is_its_own_mirror_image_and_leaves_the_face_free(
    which: str, request: pytest.FixtureRequest
):
    head: HeadModel = request.getfixturevalue(which)
    avatar = seen_from_the_front(head, 0)
    growth, (x, y, z) = find_scalp(avatar).growth[:, 0], head.template.T
    top = head.regions["scalp"] & (y > y[head.regions["scalp"]].quantile(0.5))
    assert (growth[top] > 0).all()
    for name in ("ears", "lips", "eyes", "nose"):
        assert (growth[head.regions[name]] < 0).all()
    assert (growth[head.regions["neck"] & (z > 0)] < 0).all()
    behind = (z < z[head.regions["scalp"]].median()) & (growth > 0)
    assert abs(float(x[behind].mean())) < 0.005


def test_hair_is_as_thick_behind_as_where_it_was_seen(open_head: HeadModel):
    """The seen part of the skull is lifted by 15 mm along its normals; what a fit drags along points up."""
    avatar = seen_from_the_front(open_head, 0)
    normals = vertex_normals(avatar.neutral_vertices()[None], open_head.faces)[0]
    seen, skull = avatar.confidence[:, 0] == 1, find_scalp(avatar).growth[:, 0] > 0.05
    offsets = torch.zeros_like(normals)
    offsets[skull & seen] = 0.015 * normals[skull & seen]
    offsets[skull & ~seen] = torch.tensor([0.0, 0.015, 0.0])
    avatar.mesh.offsets.copy_(offsets)
    moved = completed(avatar, completion_of(avatar)).mesh.offsets
    assert torch.equal(moved[seen & skull], offsets[seen & skull])
    behind = skull & (open_head.template[:, 2] < SEEN_FROM - 1.2 * BEYOND)
    thick = (moved * normals).sum(1)
    assert thick[behind & (open_head.template[:, 1] > 0.08)].min() > 0.007
    assert thick[behind].min() > 0
    assert thick.max() < 0.015 + 1e-4
    assert (moved - thick[:, None] * normals)[behind].norm(dim=1).max() < 1e-4
    assert (offsets * normals).sum(1)[behind].min() < -0.001


def test_an_ear_that_was_not_seen_squarely_moves_as_a_whole(open_head: HeadModel):
    """Both are shifted by 5 mm; of the left one, which was seen edge-on, the lobe is folded by 12 mm."""
    avatar = seen_from_the_front(open_head, 0)
    ears, (x, y, _) = open_head.regions["ears"], open_head.template.T
    avatar.confidence[ears], avatar.squarest[ears & (x < 0)], avatar.squarest[ears & (x > 0)] = 1, 1, 0.2
    shift = torch.tensor([0.005, 0.0, 0.0])
    offsets = shift.expand(len(x), 3).clone()
    lobe = ears & (y < y[ears].min() + 0.004)
    offsets[lobe] += torch.tensor([0.0, 0.0, 0.012])
    avatar.mesh.offsets.copy_(offsets)
    moved = completed(avatar, completion_of(avatar)).mesh.offsets
    assert torch.equal(moved[ears & (x < 0)], offsets[ears & (x < 0)])
    assert (moved - shift)[ears & (x > 0)].norm(dim=1).max() < 0.007
    assert (moved - shift)[ears & (x > 0)].norm(dim=1).mean() < 0.001
