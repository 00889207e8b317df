"""Every command once, on a tiny synthetic recording."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import trimesh
from imageio_ffmpeg import get_ffmpeg_exe
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation
from support.small_settings import FEW_RAYS

from flare_cli.apps.animate import AnimateRequest, animate
from flare_cli.apps.evaluate import EvalRequest, evaluate
from flare_cli.apps.export import ExportRequest, export
from flare_cli.apps.fit import FitRequest, FitResult, fit
from flare_cli.apps.relight import RelightRequest, relight
from flare_cli.cli.main import main
from flare_cli.data.hdr import load_envmap
from flare_cli.data.image import read_rgb
from flare_cli.data.video import VideoReader
from flare_cli.errors import AvatarError, BackendError, FlareError, SubjectError
from flare_cli.fit.run_folder import load_run, newest_run
from flare_cli.head.arkit import ARKIT_NAMES
from flare_cli.head.joints import Joint
from flare_cli.parallel.progress import quiet
from flare_cli.show.filming.film import SHEET_FRAMES, Film
from flare_cli.show.filming.lamps import PRESETS
from flare_cli.show.filming.lighting import Lighting
from flare_cli.show.predictions import PredictionsRequest
from flare_cli.subject.folder import Subject
from flare_cli.synthetic.recording import make_synthetic_subject

STEPS = 30
STUDIO = (Path("studio"),)
SETTINGS = ("data.size=64", f"stage.steps={STEPS}", "material.log2_entries=12", *FEW_RAYS)


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory) -> Subject:
    return make_synthetic_subject(tmp_path_factory.mktemp("subject") / "me", frames=10, size=64, samples=4)


@pytest.fixture(scope="module")
def fitted(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> FitResult:
    run = tmp_path_factory.mktemp("runs") / "me"
    return fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=SETTINGS), quiet)


@pytest.fixture
def run(fitted: FitResult) -> Path:
    return fitted.avatar.parent


def test_fit_writes_avatar_config_log_and_preview(fitted: FitResult, run: Path):
    assert fitted.training_frames == 8
    assert fitted.held_out_frames == 2
    assert {p.name for p in run.iterdir()} >= {"avatar.safetensors", "config.toml", "metrics.jsonl", "preview"}
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == STEPS - 1
    assert read_rgb(fitted.preview).std() > 10


def test_finished_run_is_not_overwritten(subject: Subject, run: Path):
    before = (run / "avatar.safetensors").read_bytes()
    with pytest.raises(AvatarError, match="already holds"):
        fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=SETTINGS), quiet)
    assert (run / "avatar.safetensors").read_bytes() == before


def test_a_backend_that_is_not_here_is_told_before_anything_is_written(subject: Subject, tmp_path: Path):
    for setting in ("run.rasterizer=nvdiffrast", "run.hash_grid=tinycudann"):
        request = FitRequest(
            subject=subject.folder, run=tmp_path / "new", config="demo", overrides=(*SETTINGS, setting), device="cpu"
        )
        with pytest.raises(BackendError, match="GPUs only"):
            fit(request, quiet)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("command", ["eval", "relight", "animate"])
def test_drawing_takes_another_rasterizer(command: str, run: Path, capsys, monkeypatch, tmp_path: Path):
    extra = {"eval": [], "relight": ["-o", str(tmp_path / "out")], "animate": ["-o", str(tmp_path / "out")]}[command]
    extra += ["--driver", "blink"] if command == "animate" else []
    monkeypatch.setattr(sys, "argv", ["flare", command, str(run), "--rasterizer", "vulkan", *extra])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert "unknown rasterizer 'vulkan'" in capsys.readouterr().err


def test_eval_scores_the_held_out_frames(run: Path):
    result = evaluate(EvalRequest(run=run), quiet)
    assert result.frames == 2
    assert result.mean["silhouette_iou"] is not None
    assert result.mean["silhouette_iou"] > 0.8
    assert result.truth is not None
    assert result.truth.albedo_aligned >= result.truth.albedo_raw
    with result.table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["9", "10"]
    expected = np.mean([float(row["psnr_foreground"]) for row in rows])
    assert json.loads(result.report.read_text())["mean"]["psnr_foreground"] == pytest.approx(expected)


def test_predictions_are_pictures_of_every_scored_frame(run: Path, tmp_path: Path):
    request = PredictionsRequest(folder=tmp_path, envmaps=(Path("studio"), Path("sunset")), exposure=-1.0)
    evaluate(EvalRequest(run=run, predictions=request), quiet)
    index = json.loads((tmp_path / "predictions.json").read_text())
    assert index["frames"] == [9, 10]
    for kind in ("colour", "mask", "albedo", "material", "normal", "relit/studio", "relit/sunset"):
        assert sorted(p.name for p in (tmp_path / kind).iterdir()) == ["10.png", "9.png"]

    def read(kind: str):
        return cv2.imread(str(tmp_path / kind / "9.png"), cv2.IMREAD_UNCHANGED)

    inside = read("mask") == 255
    normal = read("normal")[..., ::-1] / 65535 * 2 - 1
    np.testing.assert_allclose(np.linalg.norm(normal[inside], axis=-1), 1, atol=1e-3)
    assert normal[inside][:, 2].mean() > 0.3  # the face looks at the camera, which is at +z
    assert (read("albedo")[~inside & (read("mask") == 0)] == 0).all()
    assert (read("material")[..., 0] == 0).all()  # blue, as OpenCV orders channels
    own = read_rgb(run / "eval" / "frames" / "9.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "colour" / "9.png"), own)


def test_relight_follows_the_light(run: Path, tmp_path: Path):
    pictures = []
    for yaw in (0, 180):
        out = tmp_path / str(yaw)
        film, lighting = Film(out=out, frames=1, background="black"), Lighting(envmaps=STUDIO, rotate_degrees=yaw)
        relight(RelightRequest(run=run, film=film, lighting=lighting), quiet)
        pictures.append(read_rgb(out / "00001.png").astype(float))
    assert np.abs(pictures[0] - pictures[1]).mean() > 1


def test_several_lights_are_a_film_each_and_one_sheet(run: Path, tmp_path: Path):
    lighting = Lighting(envmaps=(Path("studio"), Path("sunset")), lamps=(PRESETS["rim"],), exposure=-1.0)
    film = Film(out=tmp_path / "relit.mp4", frames=8, sheet=tmp_path / "sheet.png", beside=True, camera="orbit")
    result = relight(RelightRequest(run=run, film=film, lighting=lighting), quiet)
    names = ["relit-studio.mp4", "relit-sunset.mp4", "sheet.png"]
    assert [file.name for file in result.files] == names
    assert sorted(file.name for file in tmp_path.iterdir()) == names
    assert result.exposure == {"studio": -1, "sunset": -1}
    assert read_rgb(tmp_path / "sheet.png").shape == (2 * 64 + 4, SHEET_FRAMES * (128 + 4) - 4, 3)
    assert [frame.rgb.shape for frame in VideoReader(result.files[0])] == 8 * [(64, 128, 3)]


def test_a_cut_out_is_the_picture_over_black_with_its_coverage(run: Path, tmp_path: Path):
    pictures = {}
    for background in ("black", "transparent"):
        film = Film(out=tmp_path / background, frames=1, background=background)
        relight(RelightRequest(run=run, film=film), quiet)
        pictures[background] = cv2.imread(str(film.out / "00001.png"), cv2.IMREAD_UNCHANGED).astype(int)
    cut_out, over_black = pictures["transparent"], pictures["black"]
    inside = cut_out[..., 3] == 255
    assert 0.2 < inside.mean() < 0.9
    assert np.abs(cut_out[..., :3] - over_black)[inside].max() <= 1
    # Coverage below half of 1/255 is stored as none, and near black sRGB multiplies it by 12.92. Where the neck fades
    # out radiance is up to a quarter above 1 here.
    assert over_black[cut_out[..., 3] == 0].max() <= 1.25 * 12.92 / 2


def test_the_original_background_is_the_recordings(subject: Subject, run: Path, tmp_path: Path):
    film = Film(out=tmp_path / "relit", frames=3, background="original")
    relight(RelightRequest(run=run, film=film), quiet)
    recorded = read_rgb(subject.image_path(int(subject.track.frames[2]))).astype(int)
    np.testing.assert_array_equal(read_rgb(tmp_path / "relit" / "00003.png")[:, :4], recorded[:, :4])
    film = Film(out=tmp_path / "moved", frames=3, background="original")
    animate(AnimateRequest(run=run, driver=Path("turntable"), film=film), quiet)
    assert np.abs(read_rgb(tmp_path / "moved" / "00001.png")[:8, :4] - recorded[:8, :4]).max() <= 2


def test_films_of_another_shape_rate_and_end(run: Path, tmp_path: Path):
    film = Film(out=tmp_path / "talk", size=40, width=100, fps=6, frames=5, loop=True, background="#ff0000")
    result = animate(AnimateRequest(run=run, driver=Path("talk"), film=film), quiet)
    assert result.frames == 8  # 1 2 3 4 5 4 3 2
    pictures = [read_rgb(path) for path in sorted((tmp_path / "talk").iterdir())]
    assert [picture.shape for picture in pictures] == 8 * [(40, 100, 3)]
    np.testing.assert_array_equal(pictures[1], pictures[7])
    np.testing.assert_array_equal(pictures[0][0, 0], (255, 0, 0))


@pytest.mark.parametrize(
    ("film", "lighting", "said"),
    [
        ({"background": "transparent", "out": Path("film.mp4")}, Lighting(), "has no transparency"),
        ({"background": "blur"}, Lighting(), "no environment for --background blur"),
        ({"background": "original", "camera": "track"}, Lighting(), "filmed by the recording's camera"),
        ({"background": "beach"}, Lighting(), "'beach' is not a background"),
        ({"beside": True}, Lighting(), "nothing to show beside"),
        ({"sheet": Path("sheet.jpg")}, Lighting(), "a sheet is a PNG"),
        ({}, Lighting(envmaps=(Path("studio"), Path("measured/studio"))), "have the same name"),
    ],
)
def test_what_can_not_be_filmed_is_told_before_the_work(film, lighting: Lighting, said: str, run: Path, tmp_path: Path):
    asked = Film(**{"out": tmp_path / "out", **film})
    with pytest.raises(FlareError, match=said):
        animate(AnimateRequest(run=run, driver=Path("blink"), film=asked, lighting=lighting), quiet)
    assert not list(tmp_path.iterdir())


def test_a_driving_videos_sound_goes_with_the_avatar(subject: Subject, run: Path, monkeypatch, tmp_path: Path):
    talkie = tmp_path / "talkie.mp4"
    tone = ["-f", "lavfi", "-i", "testsrc=size=64x64:rate=12", "-f", "lavfi", "-i", "sine=frequency=440", "-t", "2"]
    subprocess.run([get_ffmpeg_exe(), "-v", "error", *tone, "-c:a", "aac", str(talkie)], check=True)
    # The subject that tracking would have made of the video: the recording at hand.
    monkeypatch.setattr("flare_cli.drive.drivers._preprocessed", lambda *_: subject.folder)
    for sound, heard in ((True, 1), (False, 0)):
        film = Film(out=tmp_path / f"{sound}.mp4")
        assert animate(AnimateRequest(run=run, driver=talkie, film=film, sound=sound), quiet).frames == 10
        log = subprocess.run(
            [get_ffmpeg_exe(), "-i", str(film.out)], capture_output=True, text=True, check=False
        ).stderr
        assert log.count("Audio: aac") == heard


def test_relight_writes_a_video(run: Path, tmp_path: Path):
    out = tmp_path / "relit.mp4"
    lighting = Lighting(envmaps=(Path("overcast"),), turn=True)
    relight(RelightRequest(run=run, film=Film(out=out), lighting=lighting), quiet)
    video = cv2.VideoCapture(str(out))
    assert int(video.get(cv2.CAP_PROP_FRAME_COUNT)) == 10


@pytest.fixture(scope="module")
def explicit(subject: Subject, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a fit with explicit light and visibility."""
    settings = ("kind=explicit", "directions=64", "visibility=true")
    overrides = (*SETTINGS, *(f"light.{setting}" for setting in settings))
    run = tmp_path_factory.mktemp("runs") / "explicit"
    return fit(FitRequest(subject=subject.folder, run=run, config="demo", overrides=overrides), quiet).avatar.parent


def test_explicit_light_goes_through_every_command(subject: Subject, explicit: Path, tmp_path: Path):
    assert evaluate(EvalRequest(run=explicit), quiet).mean["psnr_foreground"] > 15
    animate(AnimateRequest(run=explicit, driver=subject.folder, film=Film(out=tmp_path / "own")), quiet)
    assert len(list((tmp_path / "own").glob("*.png"))) == 10
    light = load_envmap(export(ExportRequest(run=explicit, kind="hdr", out=tmp_path), quiet).file)
    assert light.shape == (64, 128, 3)
    assert light.min() > 0


def test_traced_shadows_are_close_to_learned_ones_and_not_the_same(explicit: Path, tmp_path: Path):
    pictures = []
    for quality in ("normal", "high"):
        out = tmp_path / quality
        film = Film(out=out, frames=1, background="black", traced=quality == "high")
        relight(RelightRequest(run=explicit, film=film, lighting=Lighting(envmaps=(Path("night_street"),))), quiet)
        pictures.append(read_rgb(next(out.glob("*.png"))).astype(float))
    difference = np.abs(pictures[0] - pictures[1])
    assert difference.max() > 0
    assert difference.mean() < 2


def test_animating_by_the_own_recording_gives_the_own_performance(subject: Subject, run: Path, tmp_path: Path):
    animate(AnimateRequest(run=run, driver=subject.folder, film=Film(out=tmp_path / "own"), absolute=True), quiet)
    animate(AnimateRequest(run=run, driver=subject.folder, film=Film(out=tmp_path / "relative")), quiet)
    for name in ("00001.png", "00010.png"):
        own, relative = read_rgb(tmp_path / "own" / name), read_rgb(tmp_path / "relative" / name)
        assert np.abs(own.astype(int) - relative).mean() < 0.5


def test_exported_files_open_elsewhere(run: Path, tmp_path: Path):
    glb = export(ExportRequest(run=run, kind="glb", out=tmp_path, texture_size=128), quiet)
    obj = export(ExportRequest(run=run, kind="obj", out=tmp_path, texture_size=128), quiet)
    assert glb.morph_targets == len(ARKIT_NAMES)
    for result in (glb, obj):
        mesh = trimesh.load(result.file, force="mesh")
        assert len(mesh.faces) == result.triangles
        height = mesh.extents[1]
        assert 0.2 < height < 0.6  # metres
        assert mesh.visual.uv is not None


def test_textures_alone_are_those_of_the_obj(run: Path, tmp_path: Path):
    textures = export(ExportRequest(run=run, kind="textures", out=tmp_path / "a", texture_size=64), quiet)
    export(ExportRequest(run=run, kind="obj", out=tmp_path / "b", texture_size=64), quiet)
    names = ["me_albedo.png", "me_roughness.png", "me_specular.png", "me_occlusion.png"]
    assert [file.name for file in textures.files] == names
    for file in textures.files[:3]:  # an OBJ knows no occlusion
        np.testing.assert_array_equal(read_rgb(file), read_rgb(tmp_path / "b" / file.name))


def test_a_sequence_has_a_mesh_a_frame_as_the_avatar_moves(subject: Subject, run: Path, tmp_path: Path):
    avatar, track = load_run(run, torch.device("cpu")).avatar, subject.track
    # The own performance about the rest pose: the person's own neutral turns and place are taken out.
    pose = track.pose.clone()
    for joint in (Joint.ROOT, Joint.NECK):
        neutral = Rotation.from_rotvec(track.pose[:, joint].median(0).values.numpy())
        turned = neutral.inv() * Rotation.from_rotvec(track.pose[:, joint].numpy())
        pose[:, joint] = torch.from_numpy(turned.as_rotvec()).float()
    place = track.translation - track.translation.median(0).values
    expected = avatar.posed(expression=track.expression, pose=pose, translation=place).vertices.numpy()
    for suffix in ("obj", "ply"):
        request = ExportRequest(
            run=run,
            kind=f"{suffix}-sequence",
            out=tmp_path,
            texture_size=64,
            driver=subject.folder,
            fill=False,
            bust="open",
        )
        result = export(request, quiet)
        frames = sorted((tmp_path / "me").glob(f"*.{suffix}"))
        assert [file.name for file in frames] == [f"{number:05d}.{suffix}" for number in range(1, 11)]
        assert (result.file, result.files[:10]) == (frames[0], frames)
        for file, posed in zip(frames, expected, strict=True):
            mesh = trimesh.load(file, process=False)
            assert len(mesh.faces) == result.triangles
            assert mesh.visual.uv is not None
            distance, _ = cKDTree(posed).query(mesh.vertices)
            assert distance.max() < 2e-6
    assert (tmp_path / "me" / "me_albedo.png").is_file()
    with pytest.raises(AvatarError, match="of a performance"):
        export(ExportRequest(run=run, kind="obj-sequence", out=tmp_path), quiet)


def test_usd_and_a_sequence_move_alike(run: Path, tmp_path: Path):
    """Joints and blend shapes in Pixar's library, against the avatar's own expressions and correctives."""
    skel, usd = pytest.importorskip("pxr.UsdSkel"), pytest.importorskip("pxr.Usd")
    talk = {"run": run, "out": tmp_path, "texture_size": 64, "driver": Path("talk")}
    stage = usd.Stage.Open(str(export(ExportRequest(kind="usd", **talk), quiet).file))
    frames = [file for file in export(ExportRequest(kind="ply-sequence", **talk), quiet).files if file.suffix == ".ply"]
    assert stage.GetEndTimeCode() == len(frames) - 1
    assert skel.BakeSkinning(skel.Root(stage.GetDefaultPrim()))
    points = stage.GetPrimAtPath("/me/Head").GetAttribute("points")
    for frame in range(0, len(frames), 7):
        mesh = trimesh.load(frames[frame], process=False)
        distance, _ = cKDTree(mesh.vertices).query(np.array(points.Get(frame)))
        assert distance.max() < 0.004  # a morph goes straight where the jaw turns
        assert distance.mean() < 3e-4


def no_room(*arguments: object, **named: object) -> None:
    raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of")


def refused_for_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *arguments: object) -> str:
    monkeypatch.setattr(sys, "argv", ["flare", *map(str, arguments)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    message = capsys.readouterr().err
    assert "error: the GPU ran out of memory: 2.50 GiB more were needed" in message
    assert "Traceback" not in message
    return message


@pytest.mark.parametrize("command", ["animate", "relight", "eval", "export"])
def test_drawing_without_room_is_one_message(command: str, run: Path, capsys, monkeypatch, tmp_path: Path):
    monkeypatch.setattr("flare_cli.show.track_pictures.draw", no_room)
    monkeypatch.setattr("flare_cli.apps.export.bake_textures", no_room)
    out = tmp_path / "out.mp4"
    options = {"animate": ["--driver", "blink", "-o", out], "relight": ["-o", out], "eval": [], "export": ["-o", out]}
    refused_for_memory(capsys, monkeypatch, command, run, "--device", "cpu", *options[command])
    assert not out.exists()


def test_unknown_export_format_and_empty_driver(run: Path, tmp_path: Path):
    with pytest.raises(AvatarError, match="not an export format"):
        export(ExportRequest(run=run, kind="fbx", out=tmp_path / "out"), quiet)
    assert not (tmp_path / "out").exists()
    with pytest.raises(SubjectError, match="is not a subject"):
        animate(AnimateRequest(run=run, driver=tmp_path, film=Film(out=tmp_path / "x.mp4")), quiet)


def test_newest_run_is_the_one_written_last(run: Path, tmp_path: Path):
    for name, age in (("old", 100), ("new", 50)):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        (folder / "avatar.safetensors").write_bytes(b"")
        stamp = run.stat().st_mtime - age
        os.utime(folder / "avatar.safetensors", (stamp, stamp))
    assert newest_run(tmp_path / "runs").name == "new"
