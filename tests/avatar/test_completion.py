"""What the recording never showed, filled in."""

import numpy as np
import pytest
import torch
from support.strand import strand
from torch import nn

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.bake import bake_textures
from flare_cli.avatar.baking.texture import rasterize_uv
from flare_cli.avatar.completion import (
    HIDDEN,
    LUMINANCE,
    SKIN_BLUE,
    SKIN_RED,
    Completion,
    completed,
    completion_of,
    mirrored_vertices,
    values_at_vertices,
)
from flare_cli.avatar.material import Material
from flare_cli.avatar.picture import draw
from flare_cli.config.loading import load_config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.hanging_hair import HANGING_HAIR, with_hanging_hair
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import Cameras
from flare_cli.render.colour import srgb_from_linear
from flare_cli.synthetic.people.skin_colour import skin_albedo

SIZE = 128


def avatar_of(head: HeadModel) -> Avatar:
    config = load_config("demo", ["material.log2_entries=10"])
    torch.manual_seed(0)
    return Avatar(head, torch.zeros(head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)


@pytest.fixture
def avatar(open_head: HeadModel) -> Avatar:
    """Only its left half was seen; there it has a bump, and colours that differ from the other side's."""
    made = avatar_of(open_head)
    x = open_head.template[:, :1]
    made.confidence = (x > -0.002).float()
    made.mesh.offsets.copy_(0.01 * torch.sigmoid((x - 0.03) / 0.005) * torch.tensor([[1.0, 0, 0]]))
    for parameter in made.material.parameters():
        parameter.normal_(std=0.3)
    return made


def test_the_head_is_its_own_mirror_image(open_head: HeadModel):
    mirror = mirrored_vertices(open_head.template)
    assert (mirror[mirror] == torch.arange(len(mirror))).float().mean() > 0.99


def test_the_unseen_side_takes_the_seen_ones_shape_and_the_seen_one_stays(avatar: Avatar):
    whole = completed(avatar, completion_of(avatar))
    x, before, after = avatar.head.template[:, 0], avatar.mesh.offsets, whole.mesh.offsets
    mirror = mirrored_vertices(avatar.head.template)
    far = x < -0.05
    torch.testing.assert_close(after[far][:, 0], -before[mirror[far]][:, 0], atol=1e-3, rtol=0)
    torch.testing.assert_close(after[x > 0.03], before[x > 0.03], atol=1e-4, rtol=0)
    assert whole.material is avatar.material
    assert before[far].abs().max() < 1e-4


def test_the_unseen_sides_texture_is_the_seen_ones(avatar: Avatar):
    head = avatar.head
    texels, triangle, barycentric = rasterize_uv(head.uv, head.uv_faces, SIZE)
    corners = head.faces[triangle]
    x = (head.template[corners][..., 0] * barycentric).sum(1)
    hidden = torch.stack([head.regions[name] for name in HIDDEN]).any(0)[corners].any(1)
    albedo = bake_textures(avatar, SIZE, completion_of(avatar)).albedo.reshape(-1, 3)[texels.numpy()] / 255
    mirror = mirrored_vertices(head.template)
    for side, vertices in ((x > 0.01, corners), (x < -0.01, mirror[corners])):
        places = (avatar.material_positions()[vertices] * barycentric[..., None]).sum(1).contiguous()
        expected = srgb_from_linear(avatar.material(places).albedo)
        inside = (side & ~hidden).numpy()
        # Triangles that are partly seen lie about the middle.
        away = np.abs(albedo[inside] - expected[side & ~hidden].numpy()).max(1)
        assert (away < 0.02).mean() > 0.98


def test_a_completed_head_is_drawn_the_same_from_both_sides(avatar: Avatar):
    """A camera in the plane of symmetry; without the completion the halves differ."""
    camera = Cameras(
        intrinsics=torch.tensor([[160.0, 160.0, 32.0, 32.0]]),
        camera_from_world=torch.tensor([[[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 0.9]]]),
        height=64,
        width=64,
    )
    rest = {"expression": torch.zeros(1, avatar.head.n_expression), "pose": torch.zeros(1, 5, 3)}

    def asymmetry(completion: Completion | None) -> float:
        drawn = completed(avatar, completion)
        picture = draw(
            drawn,
            drawn.posed(**rest, translation=torch.zeros(1, 3)),
            camera.projections(),
            light=drawn.light,
            rasterizer=choose_rasterizer(),
            completion=completion,
        )
        albedo = picture.buffer(picture.material.albedo)[0]
        inside = (albedo > 0).all(-1) & (albedo.flip(1) > 0).all(-1)
        return float((albedo - albedo.flip(1)).abs().mean(-1)[inside].median())

    assert asymmetry(completion_of(avatar)) < 0.3 * asymmetry(None)
    assert asymmetry(completion_of(avatar)) < 0.01


def test_teeth_that_were_never_seen_are_white_and_the_tongue_is_red(avatar: Avatar):
    avatar.confidence = torch.zeros_like(avatar.confidence)
    filling = completion_of(avatar).filling
    teeth, tongue = (filling[avatar.head.regions[name]].mean(0) for name in ("teeth", "tongue"))
    assert teeth[:3].min() > 0.4
    assert tongue[0] > 2 * tongue[1]


def test_the_inside_of_the_mouth_has_its_usual_material_even_where_it_was_seen(avatar: Avatar):
    """What little light it gets leaves its own open: this avatar's is noise."""
    avatar.confidence = torch.ones_like(avatar.confidence)
    whole = completion_of(avatar)
    teeth = avatar.head.regions["teeth"]
    material = whole.mixed(whole.at_vertices(avatar), avatar.material(avatar.material_positions()), avatar)
    luminance, usual = torch.tensor(LUMINANCE), torch.tensor(HIDDEN["teeth"])
    got = torch.cat([material.albedo @ luminance[:, None], material.roughness, material.specular], 1)[teeth]
    expected = torch.tensor([usual[:3] @ luminance, *usual[3:]])
    torch.testing.assert_close(got, expected.expand(int(teeth.sum()), 3))


class OneColour(nn.Module):
    """Skin of one albedo."""

    def __init__(self, albedo: tuple[float, float, float]) -> None:
        super().__init__()
        self.albedo = torch.tensor(albedo)

    def forward(self, at: torch.Tensor) -> Material:
        half = torch.full_like(at[:, :1], 0.5)
        return Material(albedo=self.albedo.expand(len(at), 3), roughness=half, specular=half)


def test_what_a_lamp_left_in_the_skin_is_in_the_mouth_too_and_half_of_it_in_teeth(avatar: Avatar):
    """Skin that white light can't have made: its red is a stop beyond any skin's, its blue two."""
    avatar.confidence = torch.ones_like(avatar.confidence)

    def hues(albedo: tuple[float, float, float]) -> dict[str, torch.Tensor]:
        avatar.material = OneColour(albedo)
        filling = completion_of(avatar).filling[:, :3].log2()
        hue = filling[:, [0, 2]] - filling[:, 1:2]
        return {name: hue[avatar.head.regions[name]].mean(0) for name in HIDDEN}

    for melanin in (0.02, 0.1, 0.4):  # whoever it is, white light leaves nothing
        for region, found in hues(tuple(skin_albedo(np.array(melanin), np.array(0.02)).tolist())).items():
            red, green, blue = torch.tensor(HIDDEN[region][:3]).log2()
            torch.testing.assert_close(found, torch.stack([red - green, blue - green]), atol=0.07, rtol=0)
    usual = hues((0.2 * 2 ** SKIN_RED[1], 0.2, 0.2 * 2 ** SKIN_BLUE[0]))
    tinted = hues((0.1 * 2 ** (SKIN_RED[1] + 1), 0.1, 0.1 * 2 ** (SKIN_BLUE[0] - 2)))
    for region, part in (("tongue", 1.0), ("teeth", 0.5)):
        torch.testing.assert_close(tinted[region] - usual[region], part * torch.tensor([1.0, -2.0]), atol=1e-3, rtol=0)


def test_an_avatar_that_does_not_know_what_was_seen_is_left_alone(avatar: Avatar):
    avatar.confidence = None
    assert completion_of(avatar) is None
    assert completed(avatar, None) is avatar


def test_the_mirror_of_hair_that_hangs_is_such_hair_and_no_other_vertex_has_another(open_head: HeadModel):
    hairy, own = with_hanging_hair(open_head, strand(open_head)), len(open_head.template)
    mirror = mirrored_vertices(hairy.template, hairy.regions[HANGING_HAIR])
    assert mirror[:own].equal(mirrored_vertices(open_head.template))
    assert (mirror[own:] - own).tolist() == [4, 5, 6, 7, 0, 1, 2, 3]


def test_the_unseen_side_of_hair_that_hangs_gets_the_seen_ones_colour(open_head: HeadModel):
    avatar = avatar_of(with_hanging_hair(open_head, strand(open_head)))
    own, left = len(open_head.template), slice(len(open_head.template), len(open_head.template) + 4)
    seen = (avatar.head.template[:, :1] > -0.002).float()
    hair = avatar.head.regions[HANGING_HAIR] | avatar.head.regions["scalp"]
    avatar.remember(confidence=seen, squarest=seen, coverings=torch.stack([hair.float(), 0 * hair], 1))
    values = values_at_vertices(avatar, completion_of(avatar))
    torch.testing.assert_close(values[left.stop :], values[left], atol=1e-3, rtol=0)
    assert completed(avatar, completion_of(avatar)).mesh.offsets[own:].abs().max() < 1e-6
