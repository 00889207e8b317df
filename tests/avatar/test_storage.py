import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from support.strand import strand

from flare_cli.avatar.avatar import Avatar
from flare_cli.avatar.storage import load_avatar, save_avatar
from flare_cli.config.loading import config_to_dict, load_config
from flare_cli.config.schema import LightSettings
from flare_cli.data.tensor_file import load_tensors, save_tensors
from flare_cli.errors import AvatarError
from flare_cli.fit.avatar_spec import stage_spec
from flare_cli.head.hanging_hair import with_hanging_hair
from flare_cli.head.open_head import EARLIER


@pytest.fixture
def avatar(open_head, tiny_config) -> Avatar:
    return new_avatar(open_head, tiny_config)


@pytest.fixture
def neural_avatar(open_head, tiny_config) -> Avatar:
    return new_avatar(open_head, replace(tiny_config, light=LightSettings(kind="neural")))


def new_avatar(open_head, config) -> Avatar:
    torch.manual_seed(0)
    spec = stage_spec(config, config.stage[0], subdivisions=1)
    avatar = Avatar(open_head, torch.randn(open_head.n_shape), spec)
    with torch.no_grad():
        avatar.mesh.offsets.normal_(std=0.01)
    return avatar


def test_avatar_survives_a_round_trip(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {"subject": "someone"})
    loaded, header = load_avatar(path)
    assert header["subject"] == "someone"
    assert loaded.spec == avatar.spec
    for name, tensor in avatar.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], tensor, rtol=0, atol=0)
    torch.testing.assert_close(loaded.neutral_vertices(), avatar.neutral_vertices(), rtol=0, atol=0)


def test_hair_that_hangs_is_in_the_file(open_head, tiny_config, tmp_path: Path):
    avatar = new_avatar(with_hanging_hair(open_head, strand(open_head)), tiny_config)
    save_avatar(tmp_path / "avatar.safetensors", avatar, {})
    loaded, _ = load_avatar(tmp_path / "avatar.safetensors")
    assert loaded.head.faces.equal(avatar.head.faces)
    assert loaded.head.regions.keys() == avatar.head.regions.keys()
    torch.testing.assert_close(loaded.neutral_vertices(), avatar.neutral_vertices(), rtol=0, atol=0)


def test_missing_and_damaged_files_are_named(avatar: Avatar, tmp_path: Path):
    with pytest.raises(AvatarError, match="does not exist"):
        load_avatar(tmp_path / "none.safetensors")
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AvatarError, match="damaged"):
        load_avatar(path)


def test_other_version_and_other_head_are_refused(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {"version": 99})
    with pytest.raises(AvatarError, match="version 99"):
        load_avatar(path)
    save_tensors(path, tensors, header | {"head": {"name": "open-head", "sha256": "0"}})
    with pytest.raises(AvatarError, match="another edition"):
        load_avatar(path)


def test_an_avatar_of_an_earlier_edition_of_the_head_is_read(avatar: Avatar, tmp_path: Path):
    """Only its teeth and tongue have moved since."""
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    tensors, header = load_tensors(path)
    save_tensors(path, tensors, header | {"head": {"name": "open-head", "sha256": min(EARLIER)}})
    torch.testing.assert_close(load_avatar(path)[0].mesh.offsets, avatar.mesh.offsets)


@pytest.mark.parametrize("levels", [1, 2])
def test_a_hash_grid_of_few_levels_is_read(levels: int, open_head, tmp_path: Path):
    """One level has the coarsest resolution, not the finest."""
    sizes = [f"material.levels={levels}", "material.base_resolution=4", "material.finest_resolution=512"]
    config = load_config("demo", [*sizes, "light.visibility=false"])
    avatar = Avatar(open_head, torch.zeros(open_head.n_shape), stage_spec(config, config.stage[0], subdivisions=0))
    save_avatar(tmp_path / "avatar.safetensors", avatar, {})
    assert load_avatar(tmp_path / "avatar.safetensors")[0].spec == avatar.spec


def test_half_written_file_never_replaces_a_whole_one(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    whole = path.read_bytes()
    with pytest.raises(TypeError):
        save_avatar(path, avatar, {"not json": object()})
    assert path.read_bytes() == whole


@pytest.mark.parametrize("encoding", ["hash", "frequency"])
def test_files_of_version_1_are_read(encoding: str, open_head, tmp_path: Path):
    """They hold the whole config, and what it leaves open beside it."""
    config = load_config("paper", ["mesh.jaw_open=0.3", "material.log2_entries=9", f"stage.encoding={encoding}"])
    avatar = Avatar(open_head, torch.randn(open_head.n_shape), stage_spec(config, config.stage[1], subdivisions=1))
    path = tmp_path / "avatar.safetensors"
    old_header = {
        "version": 1,
        "head": {"name": open_head.name, "sha256": open_head.sha256},
        "structure": {"encoding": encoding, "subdivisions": 1},
        "fresnel": [0.028, 0.047],
        "config": config_to_dict(config),
        "seconds": 12.5,
    }
    save_tensors(path, avatar.state_dict(), old_header)
    loaded, header = load_avatar(path)
    assert loaded.spec == avatar.spec
    assert header["seconds"] == 12.5
    for name, tensor in avatar.state_dict().items():
        assert (loaded.state_dict()[name] == tensor).all()


def test_files_of_version_2_are_read(neural_avatar: Avatar, tmp_path: Path):
    """They knew one kind of light."""
    avatar = neural_avatar
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    tensors, header = load_tensors(path)
    light = {name: header["spec"]["light"][name] for name in ("width", "depth", "floor")}
    save_tensors(path, tensors, header | {"version": 2, "spec": header["spec"] | {"light": light}})
    loaded, _ = load_avatar(path)
    assert loaded.spec == avatar.spec
    for name, tensor in avatar.state_dict().items():
        assert (loaded.state_dict()[name] == tensor).all()


NONSENSE = {
    "NaN in a tensor": lambda t, h: (t | {"mesh.offsets": torch.full_like(t["mesh.offsets"], torch.nan)}, h),
    "infinite light": lambda t, h: (t | {"light.detail": torch.full_like(t["light.detail"], torch.inf)}, h),
    "another mesh": lambda t, h: (t | {"mesh.offsets": t["mesh.offsets"][:-1]}, h),
    "no mesh": lambda t, h: ({n: v for n, v in t.items() if n != "mesh.offsets"}, h),
    "a header that is a list": lambda t, h: (t, [1, 2]),
    "a header that is null": lambda t, h: (t, None),
    "a spec that is null": lambda t, h: (t, h | {"spec": None}),
    "a head that is null": lambda t, h: (t, h | {"head": None}),
    "a head that is a number": lambda t, h: (t, h | {"head": {"name": 3, "sha256": "0"}}),
    "subdivisions below 0": lambda t, h: (t, h | {"spec": h["spec"] | {"subdivisions": -1}}),
    "subdivisions without end": lambda t, h: (t, h | {"spec": h["spec"] | {"subdivisions": 30}}),
    "more subdivisions than there are": lambda t, h: (t, h | {"spec": h["spec"] | {"subdivisions": 4}}),
    "a hash grid without end": lambda t, h: (
        t,
        h | {"spec": h["spec"] | {"material": h["spec"]["material"] | {"log2_entries": 24, "finest_resolution": 9999}}},
    ),
    "F0 that is not finite": lambda t, h: (t, h | {"spec": h["spec"] | {"f0": {"skin": torch.nan, "other": 0.04}}}),
    "a key too much": lambda t, h: (t, h | {"spec": h["spec"] | {"colour": 1}}),
    "a version from the future": lambda t, h: (t, h | {"version": 10**30}),
    "a version that is a text": lambda t, h: (t, h | {"version": "3"}),
}


@pytest.mark.parametrize("damage", NONSENSE)
def test_nonsense_is_refused_with_the_name_of_the_file(damage: str, avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    tensors, header = NONSENSE[damage](*load_tensors(path))
    save_file(tensors, path, metadata={"flare": json.dumps(header)})
    with pytest.raises(AvatarError) as caught:
        load_avatar(path)
    assert str(path) in caught.value.message
    assert caught.value.hint


def test_a_header_nested_without_end_is_refused(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_file({"shape": torch.zeros(3)}, path, metadata={"flare": '{"a":' * 10**5})
    with pytest.raises(AvatarError, match="damaged or not a flare file"):
        load_avatar(path)


def test_confidence_is_kept_where_there_is_some(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    assert load_avatar(path)[0].confidence is None
    avatar.confidence = torch.rand(len(avatar.head.template), 1)
    save_avatar(path, avatar, {})
    torch.testing.assert_close(load_avatar(path)[0].confidence, avatar.confidence, rtol=0, atol=0)


def test_a_file_of_the_version_before_confidence_is_read(avatar: Avatar, tmp_path: Path):
    path = tmp_path / "avatar.safetensors"
    save_avatar(path, avatar, {})
    tensors, header = load_tensors(path)
    one_light = {name: tensor[0] if name.startswith("light.") else tensor for name, tensor in tensors.items()}
    save_tensors(path, one_light, header | {"version": 3})
    read = load_avatar(path)[0]
    assert read.confidence is None
    assert read.light.videos == (0,)
