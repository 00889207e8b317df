import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.baking.bake import bake_mesh, bake_textures
from flare_cli.data.image import write_png
from flare_cli.data.meshes.obj import write_obj
from flare_cli.errors import AvatarError
from flare_cli.render.backend import choose_rasterizer
from flare_cli.show.filming.performance import Performance
from flare_cli.show.viewing.edited import EditedTextures
from flare_cli.show.viewing.studio import Studio
from flare_cli.show.viewing.view import OWN_LIGHT, View

CPU = torch.device("cpu")
VIEW = View(height=96, width=96, light=OWN_LIGHT, background="black")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exported")


@pytest.fixture
def folder(avatar: Avatar, exported: Path, tmp_path: Path) -> Path:
    """As `flare export --format obj` writes it."""
    with torch.no_grad():  # a field as smooth as fitted ones: noise in its finest levels is finer than texels
        avatar.material.encoding.table.mul_(0.02)
    if not (exported / "me.obj").exists():  # each test's avatar is the same
        write_obj(exported / "me.obj", bake_mesh(avatar), bake_textures(avatar, 1024))
    return shutil.copytree(exported, tmp_path, dirs_exist_ok=True)


def studio_with(avatar: Avatar, own: Performance, textures: EditedTextures | None) -> Studio:
    return Studio(avatar, choose_rasterizer(), own, {}, textures)


def test_exported_textures_look_like_the_avatar(avatar: Avatar, own: Performance, folder: Path):
    plain, textured = (studio_with(avatar, own, textures) for textures in (None, EditedTextures(folder, CPU)))
    for mode in ("picture", "albedo", "roughness", "specular"):
        one, other = (studio.look(replace(VIEW, mode=mode)).picture.astype(float) for studio in (plain, textured))
        inside = one.sum(-1) > 0
        assert np.abs(one - other)[inside].mean() < 0.15 * one[inside].std() + 1, mode


def test_what_is_painted_shows_when_it_is_saved(avatar: Avatar, own: Performance, folder: Path):
    textures = EditedTextures(folder, CPU)
    studio = studio_with(avatar, own, textures)
    before, stamp = studio.look(replace(VIEW, mode="albedo")).picture, textures.stamp()
    assert textures.stamp() == stamp
    rows = np.zeros((64, 64, 3), np.uint8)
    rows[..., 0], rows[..., 2] = 200, 40
    write_png(folder / "me_albedo.png", rows)
    assert textures.stamp() != stamp
    painted = studio.look(replace(VIEW, mode="albedo")).picture
    inside = before.sum(-1) > 0
    assert (np.abs(painted[inside].astype(int) - [200, 0, 40]) <= 1).all()
    lit = studio.look(VIEW).picture[inside].astype(float)
    assert lit[:, 0].mean() > 3 * lit[:, 2].mean()


def test_rows_and_columns_lie_where_the_avatar_has_them(avatar: Avatar, own: Performance, folder: Path):
    """A texture that says its own coordinates shows at each pixel the texture coordinates of what it sees."""
    size = 256
    ramp = ((np.arange(size) + 0.5) / size * 255).round().astype(np.uint8)
    write_png(folder / "me_roughness.png", np.broadcast_to(ramp, (size, size)).copy())  # u
    write_png(folder / "me_specular.png", np.broadcast_to(ramp[::-1, None], (size, size)).copy())  # v, up
    textures = EditedTextures(folder, CPU).current()
    topology = avatar.mesh.topology
    uv = topology.uv[topology.uv_faces].mean(1)
    shown = textures.over(avatar.material(torch.zeros(len(uv), 3)), uv)
    torch.testing.assert_close(torch.cat([shown.roughness, shown.specular], 1), uv, atol=0.01, rtol=0)


def test_a_file_that_is_half_written_changes_nothing(avatar: Avatar, own: Performance, folder: Path):
    studio = studio_with(avatar, own, EditedTextures(folder, CPU))
    before = studio.look(VIEW).picture
    whole = (folder / "me_albedo.png").read_bytes()
    (folder / "me_albedo.png").write_bytes(whole[:100])
    assert (studio.look(VIEW).picture == before).all()
    os.unlink(folder / "me_albedo.png")
    assert (studio.look(VIEW).picture == before).all()
    (folder / "me_albedo.png").write_bytes(whole)
    assert (studio.look(VIEW).picture == before).all()


def test_parts_without_a_file_stay_the_avatars(avatar: Avatar, own: Performance, folder: Path):
    plain = studio_with(avatar, own, None)
    (folder / "me_roughness.png").unlink()
    textured = studio_with(avatar, own, EditedTextures(folder, CPU))
    view = replace(VIEW, mode="roughness")
    assert (textured.look(view).picture == plain.look(view).picture).all()


def test_folders_without_textures_or_with_too_many_are_refused(folder: Path, tmp_path_factory):
    with pytest.raises(AvatarError, match="no textures") as caught:
        EditedTextures(tmp_path_factory.mktemp("empty"), CPU)
    assert "flare export" in caught.value.hint
    (folder / "other_albedo.png").write_bytes((folder / "me_albedo.png").read_bytes())
    with pytest.raises(AvatarError, match=r"me_albedo.png and other_albedo.png"):
        EditedTextures(folder, CPU)
    (folder / "other_albedo.png").unlink()
    (folder / "me_albedo.png").write_text("nothing")
    with pytest.raises(AvatarError, match="not a picture"):
        EditedTextures(folder, CPU)
