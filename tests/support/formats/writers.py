"""Each format written by its own rules from the one known scene (docs of the formats, not of our importers)."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import torch
from scipy.spatial.transform import Rotation
from support.formats.scene import HEIGHT, WIDTH, Scene

from flare_cli.data.image import write_png
from flare_cli.head.landmarks68 import MEDIAPIPE_OF_68

OPENGL = np.diag([1.0, -1.0, -1.0])


def picture(scene: Scene, i: int, mask: np.ndarray) -> np.ndarray:
    """Grey skin over a blue room; the number of the frame is in the corner's colour."""
    image = np.full((HEIGHT, WIDTH, 3), (40, 60, 90), np.uint8)
    image[mask > 0] = (200, 150, 120)
    image[0, 0] = (i, i, i)
    return image


def head_fixed_cameras(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Per frame [R | t] (OpenCV) that sees the head without its root motion as the scene's camera sees it with it."""
    fixed, offset = scene.camera_from_world[:, :3], scene.camera_from_world[:, 3]
    motion = Rotation.from_rotvec(scene.pose[:, 0]).as_matrix()
    shift = scene.root + scene.translation - np.einsum("nij,nj->ni", motion, scene.root)
    return fixed @ motion, shift @ fixed.T + offset


def write_imavatar(
    folder: Path,
    scene: Scene,
    *,
    legacy: bool = False,
    file: str = "flame_params.json",
    first: int = 1,
    keypoints: bool = True,
    moving_camera: bool = False,
) -> None:
    """x4 units, OpenGL, fractions with a negative fx. The head's translation is in world_mat."""
    masks, found = scene.masks(), scene.keypoints()
    frames, points = [], {}
    rotation, offset = scene.camera_from_world[:, :3], scene.camera_from_world[:, 3]
    rotations, offsets = np.repeat(rotation[None], len(scene), 0), scene.translation @ rotation.T + offset
    pose = scene.pose.copy()
    if moving_camera:
        rotations, offsets = head_fixed_cameras(scene)
        pose[:, 0] = 0
    for i in range(len(scene)):
        n = first + i
        write_png(folder / "image" / f"{n}.png", picture(scene, i, masks[i]))
        write_png(folder / "mask" / f"{n}.png", masks[i])
        label = cv2.resize((masks[i] > 0).astype(np.uint8), (512, 512), interpolation=cv2.INTER_NEAREST)
        write_png(folder / "semantic" / f"{n}.png", label)
        world_mat = np.concatenate([rotations[i], 4 * offsets[i][:, None]], 1)
        points[f"{n}.png"] = found[i][list(MEDIAPIPE_OF_68)].tolist()
        frames.append(
            {
                "file_path": f"./image/{n}",
                "world_mat": (OPENGL @ world_mat).tolist(),
                "expression": scene.expression[i, :50].tolist(),
                "pose": pose[i].ravel().tolist(),
                "bbox": [-1, -1, 1, 1],
                "flame_keypoints": [[0, 0]] * 68,
            }
        )
    fx, fy, cx, cy = scene.intrinsics
    size = np.array([WIDTH, HEIGHT, WIDTH, HEIGHT]) / (512 if legacy else 1)
    intrinsics = np.array([-fx, fy, cx, cy]) / size
    params = {"frames": frames, "intrinsics": intrinsics.tolist(), "shape_params": scene.shape[:100].tolist()}
    (folder / file).write_text(json.dumps(params))
    if keypoints:
        (folder / "keypoint.json").write_text(json.dumps(points))


def write_spark(folder: Path, scene: Scene) -> None:
    write_imavatar(folder, scene, file="flame_params_optimized.json")


def write_vhap(folder: Path, scene: Scene, *, held_out: int = 2) -> None:
    """OpenGL camera-to-world; FLAME parameters per timestep; teeth in the offsets."""
    masks = scene.masks()
    view = np.eye(4)
    view[:3] = scene.camera_from_world
    transform = np.linalg.inv(view)
    transform[:3, 1:3] *= -1
    fx, fy, cx, cy = scene.intrinsics
    lens = {"fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "h": HEIGHT, "w": WIDTH}
    lens["camera_angle_x"] = 2 * np.arctan(WIDTH / (2 * fx))
    frames = []
    (folder / "flame_param").mkdir(parents=True)
    for i in range(len(scene)):
        name = f"{i:05d}_00.png"
        write_png(folder / "images" / name, picture(scene, i, masks[i]))
        write_png(folder / "fg_masks" / name, masks[i])
        arrays = {
            "translation": scene.translation[i][None],
            "rotation": scene.pose[i, 0][None],
            "neck_pose": scene.pose[i, 1][None],
            "jaw_pose": scene.pose[i, 2][None],
            "eyes_pose": scene.pose[i, 3:].reshape(1, 6),
            "shape": scene.shape,
            "expr": scene.expression[i][None],
            "static_offset": np.zeros((1, 5143, 3)),
        }
        np.savez(folder / "flame_param" / f"{i:05d}.npz", **{k: v.astype(np.float32) for k, v in arrays.items()})
        frames.append(
            {
                **lens,
                "timestep_index": i,
                "camera_index": 0,
                "transform_matrix": transform.tolist(),
                "file_path": f"images/{name}",
                "fg_mask_path": f"fg_masks/{name}",
                "flame_param_path": f"flame_param/{i:05d}.npz",
            }
        )
    split = {"": frames, "_train": frames[:-held_out], "_val": [], "_test": frames[-held_out:]}
    for name, part in split.items():
        record = {
            "frames": part,
            **lens,
            "timestep_indices": [f["timestep_index"] for f in part],
            "camera_indices": [0],
        }
        (folder / f"transforms{name}.json").write_text(json.dumps(record))


def write_metrical_tracker(folder: Path, scene: Scene, *, pictures: str = "input") -> None:
    """Head-fixed world; torch pickles of numpy arrays; 6D rotations, rows b1 and b2."""
    masks = scene.masks()
    rotations, offsets = head_fixed_cameras(scene)
    fx, fy, cx, cy = scene.intrinsics
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
    (folder / "checkpoint").mkdir(parents=True)
    for i in range(len(scene)):
        if pictures:
            rgba = np.dstack([picture(scene, i, masks[i])[..., ::-1], masks[i]])
            (folder / pictures).mkdir(exist_ok=True)
            cv2.imwrite(str(folder / pictures / f"{i:05d}.png"), rgba)

        def six(rotvec):
            return Rotation.from_rotvec(rotvec).as_matrix()[:2].reshape(1, 6)

        frame = {
            "flame": {
                "exp": scene.expression[i][None].astype(np.float32),
                "shape": scene.shape[None].astype(np.float32),
                "tex": np.zeros((1, 140), np.float32),
                "sh": np.zeros((1, 9, 3), np.float32),
                "eyes": np.concatenate([six(scene.pose[i, 3]), six(scene.pose[i, 4])], 1),
                "eyelids": np.array([[0.3, 0.1]], np.float32),
                "jaw": six(scene.pose[i, 2]),
            },
            "camera": {"R": np.zeros((1, 6)), "t": np.zeros((1, 3)), "fl": np.ones((1, 1)), "pp": np.zeros((1, 2))},
            "opencv": {"R": rotations[i][None], "t": offsets[i][None], "K": K[None]},
            "img_size": np.array([HEIGHT, WIDTH]),
            "frame_id": f"{i:05d}",
            "global_step": i,
        }
        torch.save(frame, folder / "checkpoint" / f"{i:05d}.frame")


def write_insta(folder: Path, scene: Scene, *, opengl: bool = False) -> None:
    """OpenCV camera-to-world (some released sets: OpenGL); RGBA pictures; checkpoints beside."""
    write_metrical_tracker(folder, scene, pictures="images")
    rotations, offsets = head_fixed_cameras(scene)
    fx, fy, cx, cy = scene.intrinsics
    frames = []
    for i in range(len(scene)):
        view = np.eye(4)
        view[:3] = np.concatenate([rotations[i], offsets[i][:, None]], 1)
        transform = np.linalg.inv(view)
        if opengl:
            transform[:, 1:3] *= -1
        red = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        red[scene.masks()[i] > 0, 0] = 250
        write_png(folder / "seg_mask" / f"{i:05d}.png", red)
        frames.append(
            {
                "transform_matrix": transform.tolist(),
                "file_path": f"images/{i:05d}.png",
                "mesh_path": f"meshes/{i:05d}.obj",
                "exp_path": f"flame/exp/{i:05d}.txt",
                "seg_mask_path": f"seg_mask/{i:05d}.png",
            }
        )
    top = {"w": WIDTH, "h": HEIGHT, "fl_x": fx, "fl_y": fy, "cx": cx, "cy": cy, "integer_depth_scale": 0.001}
    for name, part in (("", frames), ("_train", frames[:-1]), ("_test", frames[-1:]), ("_val", frames[-1:])):
        (folder / f"transforms{name}.json").write_text(json.dumps({**top, "frames": part}))


def write_neural_head_avatars(folder: Path, scene: Scene) -> None:
    """PyTorch3D camera (row vectors; x left, y up), minus the root joint, angles before their tanh limits."""
    masks = scene.masks()
    for i in range(len(scene)):
        place = folder / f"frame_{i:04d}"
        write_png(place / "image_0000.png", picture(scene, i, masks[i]))
        write_png(place / "seg_0000.png", masks[i])
        write_png(place / "parsing_0000.png", (masks[i] > 0).astype(np.uint8))
    degrees = {
        "neck_pose": [(-90, 90), (-60, 60), (-80, 80)],
        "jaw_pose": [(-5, 60), (-0.1, 0.1), (-0.1, 0.1)],
        "eyes_pose": [(-50, 50), (-50, 50), (-0.1, 0.1)] * 2,
    }

    def before_limits(name: str, angles: np.ndarray) -> np.ndarray:
        low, high = np.radians(degrees[name]).T
        return np.arctanh(2 * (angles - low) / (high - low) - 1)

    mirrored = np.diag([-1.0, -1.0, 1.0]) @ scene.camera_from_world
    fx, fy, cx, cy = scene.intrinsics
    rows = np.random.default_rng(0).permutation(len(scene))
    arrays = {
        "rotation": scene.pose[:, 0],
        "translation": scene.translation + scene.root,
        "neck_pose": before_limits("neck_pose", scene.pose[:, 1]),
        "jaw_pose": before_limits("jaw_pose", scene.pose[:, 2]),
        "eyes_pose": before_limits("eyes_pose", scene.pose[:, 3:].reshape(-1, 6)),
        "expr": scene.expression,
        "frame": np.arange(len(scene)),
        "view": np.zeros(len(scene), int),
    }
    (folder / "tracking_0").mkdir()
    np.savez(
        folder / "tracking_0" / "tracked_flame_params.npz",
        **{name: values[rows] for name, values in arrays.items()},
        shape=scene.shape,
        texture=np.zeros(100),
        n_processed=len(scene),
        K=np.array([[fx, 0, cx], [0, fy, HEIGHT - cy], [0, 0, 1]]),
        RT=np.concatenate([mirrored[:, :3].T, mirrored[:, 3:]], 1),
        image_size=np.array([HEIGHT, WIDTH]),
    )
    split = {"train": list(range(len(scene) - 1)), "val": [len(scene) - 1]}
    (folder / "split.json").write_text(json.dumps(split))
