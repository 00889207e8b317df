"""A mouth as it is shown."""

import copy
import math
from dataclasses import replace

import pytest
import torch

from flare_cli.avatar.avatar import Avatar, Posed
from flare_cli.avatar.baking.bake import posed_by_arkit
from flare_cli.avatar.baking.detail import of_detail
from flare_cli.avatar.bust import presented
from flare_cli.avatar.mouth import MOUTH, gap_shade, with_divided_teeth, with_lit_mouth, within_teeth
from flare_cli.avatar.picture import visible_surface
from flare_cli.config.loading import load_config
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.flame.surface import border_loops
from flare_cli.head.model import HeadModel
from flare_cli.render.backend import choose_rasterizer
from flare_cli.render.camera import look_at
from flare_cli.render.light.samples import even_samples, sum_light
from flare_cli.render.light.visibility import trace_visibility
from flare_cli.render.raster.fragments import foreground

SMILE = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0, "jawOpen": 0.6}


@pytest.fixture(scope="module")
def avatar(open_head: HeadModel) -> Avatar:
    config = load_config("cpu", ["material.log2_entries=10"])
    made = Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(config, config.stage[0])).requires_grad_(False)
    made.confidence = torch.ones(len(open_head.template), 1)
    return made


def in_face(avatar: Avatar, weights: dict[str, float]) -> Posed:
    return posed_by_arkit(avatar, torch.tensor([[weights.get(name, 0.0) for name in ARKIT_NAMES]]))


def mouth(avatar: Avatar, posed: Posed) -> dict:
    """A camera before the lips, and what its pixels see."""
    lips = posed.vertices[0][avatar.region_mask(("lips",))[:, 0] > 0.5].mean(0, keepdim=True)
    camera = look_at(lips + torch.tensor([[0, 0, 0.6]]), lips, fov_y=2 * math.atan(0.04 / 0.6), height=96, width=96)
    views = camera.projections()
    faces = avatar.mesh.topology.faces
    return {"views": views, "fragments": choose_rasterizer().rasterize(views.clip(posed.vertices), faces, 96, 96)}


def irradiance_of_teeth(avatar: Avatar, posed: Posed) -> tuple[float, float, float]:
    """Of even light, in the pixels that show teeth: as it is shaded, as rays from there find it, and rms difference."""
    seen, rasterizer, faces = mouth(avatar, posed), choose_rasterizer(), avatar.mesh.topology.faces
    pixels = foreground(seen["fragments"])
    surface = visible_surface(avatar, posed, seen["views"], rasterizer, seen["fragments"], pixels)
    values = torch.cat([posed.vertices[0], avatar.region_mask(("teeth",))], 1)[None]
    places, teeth = rasterizer.interpolate(values, faces, seen["fragments"], pixels).split([3, 1], 1)
    there = teeth[:, 0] > 0.99
    assert there.sum() > 200
    normal = surface.normal[there]
    truth = trace_visibility(places[there], normal, posed.vertices[0], faces, 256)
    assert surface.visibility is not None
    shaded, found = (
        sum_light(even_samples(256), normal, normal, normal[:, :1] * 0 + 1, normal[:, :1] * 0 + 1, visibility)[0][:, 0]
        for visibility in (surface.visibility[there], truth)
    )
    return float(shaded.mean()), float(found.mean()), float((shaded - found).square().mean().sqrt())


def test_teeth_alone_are_divided_and_the_surface_stays(avatar: Avatar):
    fine, teeth = with_divided_teeth(avatar), avatar.head.regions["teeth"]
    faces = avatar.head.faces
    inside = int(teeth[faces].all(1).sum())
    assert len(fine.mesh.topology.faces) == len(faces) + 3 * inside
    assert len(border_loops(fine.mesh.topology.faces.numpy())) == len(border_loops(faces.numpy()))
    one, other = in_face(avatar, SMILE).vertices[0], in_face(fine, SMILE).vertices[0]
    torch.testing.assert_close(other[: len(one)], one)
    uv = fine.mesh.topology.uv[fine.mesh.topology.uv_faces].double()
    before = avatar.head.uv[avatar.head.uv_faces].double()

    def area(corners: torch.Tensor) -> torch.Tensor:
        a, b = (corners[:, k] - corners[:, 0] for k in (1, 2))
        return (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs().sum()

    torch.testing.assert_close(area(uv), area(before))


def test_teeth_of_a_smile_are_as_light_as_rays_from_the_pixels_find(avatar: Avatar):
    fine = with_divided_teeth(avatar)

    def lit(avatar: Avatar) -> tuple[float, float, float]:
        posed = in_face(avatar, SMILE)
        return irradiance_of_teeth(avatar, with_lit_mouth(avatar, posed, mouth(avatar, posed)["fragments"]))

    shaded, truth, difference = lit(fine)
    assert shaded == pytest.approx(truth, rel=0.05)
    assert difference < 0.06
    shaded, truth, before = lit(avatar)
    assert shaded < 0.96 * truth
    assert before > 1.5 * difference


def test_only_what_is_seen_of_a_mouth_is_traced(avatar: Avatar):
    opened = in_face(avatar, SMILE)
    nothing = replace(mouth(avatar, opened)["fragments"], triangle=torch.full((1, 96, 96), -1, dtype=torch.int32))
    assert with_lit_mouth(avatar, opened, nothing) is opened
    lit = with_lit_mouth(avatar, opened, mouth(avatar, opened)["fragments"])
    assert lit.visibility is not None
    assert opened.visibility is not None
    changed = (lit.visibility != opened.visibility).any(2)[0]
    assert changed.any()
    assert avatar.region_mask(MOUTH)[changed, 0].min() == 1
    blind = replace(opened, visibility=None)
    assert with_lit_mouth(avatar, blind, mouth(avatar, opened)["fragments"]) is blind


def test_each_tooth_is_apart_from_the_next(avatar: Avatar):
    """The head model has sixteen squares side by side in each jaw, as many as there are teeth: seventeen ends."""
    fine, head = with_divided_teeth(avatar), avatar.head
    within, places = within_teeth(fine)[:, 0], fine.mesh.topology.carried(head.template)
    on_teeth = fine.region_mask(("teeth",))[:, 0] == 1
    assert within[~on_teeth].eq(1).all()
    # The edges of the upper front teeth: the lowest row of the upper jaw, farthest to the front.
    edge = on_teeth & ((places[:, 1] + 0.07).abs() < 0.0006) & (places[:, 2] > 0.1)
    order = places[edge, 0].argsort()
    assert within[edge][order].tolist() == [0, 1, 0, 1, 0, 1, 0, 1, 0]
    assert gap_shade(torch.tensor([[0.0], [0.5], [1.0]])).flatten().tolist() == pytest.approx([0.6, 1, 1])
    assert within_teeth(avatar).eq(1).all()


def test_teeth_that_are_modelled_one_by_one_are_left_alone(avatar: Avatar):
    small = copy.copy(with_divided_teeth(avatar))
    small.head = replace(avatar.head, template=0.3 * avatar.head.template)
    assert within_teeth(small).eq(1).all()


def test_who_is_shown_has_divided_teeth_in_files_too(avatar: Avatar):
    shown = presented(avatar, fill=True, bust="open").avatar
    assert shown.mesh.subdivisions == 1
    assert of_detail(shown, "light") is shown
    assert presented(avatar, fill=False, bust="open").avatar is avatar
    divided = Avatar(avatar.head, avatar.shape, replace(avatar.spec, subdivisions=1)).requires_grad_(False)
    assert with_divided_teeth(divided) is divided
