import cv2
import numpy as np
import pytest
import trimesh

from flare_cli.data.meshes.obj import write_obj
from flare_cli.data.meshes.textured_mesh import PbrTextures, TexturedMesh, split_at_seams


@pytest.fixture
def mesh():
    """A unit square of two triangles that lie apart in the atlas."""
    return TexturedMesh(
        positions=np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]),
        normals=np.tile([0.0, 0, 1], (4, 1)),
        faces=np.array([[0, 1, 2], [0, 2, 3]]),
        uv=np.array([[0.0, 0], [0.4, 0], [0.4, 0.4], [0.6, 0.6], [1, 1], [0.6, 1]]),
        uv_faces=np.array([[0, 1, 2], [3, 4, 5]]),
    )


@pytest.fixture
def textures():
    rng = np.random.default_rng(0)
    return PbrTextures(
        albedo=rng.integers(0, 255, (4, 4, 3), dtype=np.uint8),
        roughness=rng.integers(0, 255, (4, 4), dtype=np.uint8),
        specular=rng.integers(0, 255, (4, 4), dtype=np.uint8),
    )


def test_all_files_are_written_and_named_after_the_obj(tmp_path, mesh, textures):
    files = write_obj(tmp_path / "out" / "me.obj", mesh, textures)
    names = ["me.obj", "me.mtl", "me_albedo.png", "me_roughness.png", "me_specular.png"]
    assert files[0].name == "me.obj"
    assert sorted(p.name for p in files) == sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    material = (tmp_path / "out" / "me.mtl").read_text()
    assert "map_Kd me_albedo.png" in material
    assert "map_Pr me_roughness.png" in material
    assert (cv2.imread(str(tmp_path / "out" / "me_albedo.png"))[..., ::-1] == textures.albedo).all()
    assert (cv2.imread(str(tmp_path / "out" / "me_roughness.png"), 0) == textures.roughness).all()


def test_positions_are_shared_across_seams(tmp_path, mesh, textures):
    lines = write_obj(tmp_path / "me.obj", mesh, textures)[0].read_text().splitlines()
    assert sum(line.startswith("v ") for line in lines) == 4
    assert sum(line.startswith("vt ") for line in lines) == 6
    assert [line for line in lines if line.startswith("f ")] == ["f 1/1/1 2/2/2 3/3/3", "f 1/4/1 3/5/3 4/6/4"]


def test_trimesh_reads_surface_and_texture_back(tmp_path, mesh, textures):
    loaded = trimesh.load(write_obj(tmp_path / "me.obj", mesh, textures)[0])
    np.testing.assert_allclose(loaded.triangles, mesh.positions[mesh.faces], atol=1e-6)
    np.testing.assert_allclose(loaded.visual.uv[loaded.faces], mesh.uv[mesh.uv_faces], atol=1e-6)
    assert loaded.visual.material.image.size == (4, 4)


def test_seams_split_only_vertices_with_two_texture_coordinates(mesh):
    split = split_at_seams(mesh.faces, mesh.uv_faces)
    assert len(split.position) == 6
    assert (split.position[split.faces] == mesh.faces).all()
    assert (split.uv[split.faces] == mesh.uv_faces).all()
    seamless = split_at_seams(mesh.faces, mesh.faces)
    assert (seamless.faces == mesh.faces).all()
