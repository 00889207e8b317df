"""A person: an actor's control mesh made smooth, carved, painted, haired and dressed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from flare_cli.data.celebamask import Label
from flare_cli.errors import HeadError
from flare_cli.head.library import load_head
from flare_cli.head.skinning import landmark_points
from flare_cli.render.geometry import vertex_normals
from flare_cli.synthetic.loop_subdivision import SmoothMesh
from flare_cli.synthetic.paint import Noise, smooth_step
from flare_cli.synthetic.people import clothing, hair
from flare_cli.synthetic.people.brows_and_lashes import brow_hairs, brow_share, lashes
from flare_cli.synthetic.people.face_space import FaceSpace
from flare_cli.synthetic.people.glasses import glasses
from flare_cli.synthetic.people.ict_person import ball_centre, ict_actor
from flare_cli.synthetic.people.interface import Actor, FilmedPerson, HeadParameters
from flare_cli.synthetic.people.open_head_person import open_head_actor
from flare_cli.synthetic.people.parts import Motion, Paint, Part, joined, rigid_motion
from flare_cli.synthetic.people.recipe import PersonRecipe
from flare_cli.synthetic.people.refined_mesh import refined
from flare_cli.synthetic.people.skin_detail import Crease, creases, grain
from flare_cli.synthetic.people.skin_paint import beard_area, region_labels, skin_paint
from flare_cli.synthetic.performance import Performance
from flare_cli.synthetic.raytrace import PaintedMesh

# Edges of the control mesh (the longest at a vertex, metres) are halved until they are no longer: on all skin, and on
# the face. Teeth of one piece (the open head's) are told apart by paint.
COARSE, FINE, TOOTH = 0.005, 0.0018, 0.001


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """The head's own mesh, refined. Relief (along the normal, metres) and paint belong to its vertices."""

    mesh: SmoothMesh
    relief: Float[np.ndarray, "W"]
    creases: tuple[Crease, ...]
    paint: Paint

    def placed(self, control: Float[Tensor, "V 3"], arkit: Float[np.ndarray, "52"]) -> Float[np.ndarray, "W 3"]:
        """The carved surface over a posed control mesh."""
        smooth = self.mesh.matrix @ control.double().numpy()
        height = self.relief - sum(crease.now(arkit) for crease in self.creases)
        return smooth + height[:, None] * normals_of(smooth, self.mesh.faces)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What `make_filmed_person` makes."""

    actor: Actor
    labels: Int[Tensor, "V"]
    skin: Skin
    parts: tuple[Part, ...]
    paint: Paint
    triangles: Int[Tensor, "G 3"]

    @property
    def faces(self) -> Int[Tensor, "F 3"]:
        """Of the control mesh."""
        return self.actor.faces

    def control(self, performance: Performance, frame: int) -> Float[Tensor, "V 3"]:
        """The control mesh's vertices in one frame, world metres."""
        return self.actor.control(performance, frame)

    def parameters(self, performance: Performance) -> HeadParameters | None:
        """Exact parameters of our own head model; None where the person is of another."""
        return self.actor.parameters(performance)

    def posed(self, performance: Performance, frame: int) -> PaintedMesh:
        """The detailed, painted surface in one frame, world metres."""
        control = self.actor.control(performance, frame)
        skin = self.skin.placed(control, performance.arkit[frame].double().numpy())
        skull = self._skull(control)
        vertices = np.concatenate([skin, *(part.placed(skin, skull) for part in self.parts)])
        placed = torch.from_numpy(vertices).float()
        return PaintedMesh(
            vertices=placed,
            faces=self.triangles,
            normals=vertex_normals(placed[None], self.triangles)[0],
            albedo=torch.from_numpy(self.paint.albedo).float(),
            roughness=torch.from_numpy(self.paint.roughness).float(),
            labels=torch.from_numpy(self.paint.labels),
            specular=torch.from_numpy(self.paint.specular).float(),
            sharp=torch.from_numpy(self.paint.sharp).float(),
        )

    def _skull(self, control: Float[Tensor, "V 3"]) -> Motion:
        scalp = torch.from_numpy(self.actor.space.regions["scalp"] > 0.5)
        return rigid_motion(self.actor.neutral[scalp].double().numpy(), control[scalp].double().numpy())


def make_filmed_person(recipe: PersonRecipe, head_data: Path | None) -> FilmedPerson:
    """The person of a recipe. Raises `HeadError` where an ICT head has no, or no readable, `head_data`."""
    actor = _actor(recipe, head_data)
    noise = Noise(recipe.seed)
    faces = actor.faces.numpy()
    cover, shirt = hair.scalp_cover(actor.space, faces), clothing.shirt_cover(actor.space, noise)
    mesh = _refined(actor, cover, shirt, one_piece_teeth=recipe.head == "open-head")
    rest = mesh.matrix @ actor.neutral.double().numpy()
    space = actor.space.carried(mesh.matrix)
    worn = _Worn(cover=mesh.matrix @ cover, shirt=clothing.shirt_cover(space, noise))
    eyes = _eye_centres(actor)
    relief = _relief(space, worn, recipe, noise)
    dressed = rest + relief[:, None] * normals_of(rest, mesh.faces)
    skin = Skin(
        mesh=mesh,
        relief=relief,
        creases=tuple(_uncovered(crease, worn, space) for crease in creases(space, noise)),
        paint=_painted(space, dressed, eyes, worn, recipe),
    )
    parts = _parts(dressed, space, skin, worn, eyes, recipe)
    starts = np.cumsum([len(dressed), *(len(part.paint.albedo) for part in parts)])
    triangles = [mesh.faces, *(part.faces + start for part, start in zip(parts, starts, strict=False))]
    labels = region_labels(actor.space)
    labels[cover > 0.5], labels[shirt > 0.5] = Label.HAIR, Label.CLOTH
    return Person(
        actor=actor,
        labels=torch.from_numpy(labels),
        skin=skin,
        parts=parts,
        paint=joined([skin.paint, *(part.paint for part in parts)]),
        triangles=torch.from_numpy(np.concatenate(triangles)),
    )


def normals_of(vertices: Float[np.ndarray, "V 3"], faces: Int[np.ndarray, "F 3"]) -> Float[np.ndarray, "V 3"]:
    """Unit normals of a mesh."""
    return vertex_normals(torch.from_numpy(vertices).float()[None], torch.from_numpy(faces))[0].double().numpy()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Worn:
    """How much of hair and shirt covers each vertex of the fine mesh, 0..1."""

    cover: Float[np.ndarray, "W"]
    shirt: Float[np.ndarray, "W"]


def _actor(recipe: PersonRecipe, head_data: Path | None) -> Actor:
    if recipe.head == "open-head":
        return open_head_actor(recipe.seed)
    if head_data is None:
        raise HeadError("an ICT person needs the head's files", hint="say where they are: --head-data FOLDER")
    return ict_actor(recipe.seed, head_data)


def _refined(
    actor: Actor, cover: Float[np.ndarray, "V"], shirt: Float[np.ndarray, "V"], *, one_piece_teeth: bool
) -> SmoothMesh:
    """The control mesh, its edges halved until they are short: shortest on the face and where hair and shirt end."""
    faces, regions = actor.faces.numpy(), actor.space.regions
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    lengths = np.linalg.norm(np.diff(actor.neutral.double().numpy()[edges], axis=1)[:, 0], axis=1)
    longest = np.zeros(len(cover))
    np.maximum.at(longest, edges, lengths[:, None])
    ends = [(values > 0.05) & (values < 0.95) for values in (cover, shirt)]
    fine = (regions["face"] > 0.5) & (cover < 0.5) | (regions["eyes"] > 0.5) | ends[0] | ends[1]
    wanted = np.where(fine, FINE, COARSE)
    wanted[regions["skin"] + regions["eyes"] < 0.5] = np.inf
    wanted[regions["teeth"] > 0.5] = TOOTH if one_piece_teeth else np.inf
    levels = int(np.ceil(np.log2((longest / wanted).max())))
    return refined(faces, len(longest), [(longest > wanted * 2**level).astype(float) for level in range(levels)])


def _eye_centres(actor: Actor) -> Float[np.ndarray, "2 3"]:
    """Of the left ball and the right, at rest."""
    eyes, left = actor.space.regions["eyes"] > 0.5, actor.space.places[:, 0] > 0
    rest = actor.neutral.double().numpy()
    return np.stack([ball_centre(rest[eyes & side]) for side in (left, ~left)])


def _relief(space: FaceSpace, worn: _Worn, recipe: PersonRecipe, noise: Noise) -> Float[np.ndarray, "W"]:
    skin = grain(space, noise, recipe.seed) * np.clip(space.regions["skin"], 0, 1)
    bare = (1 - smooth_step(worn.shirt, 0.2, 0.5)) * (1 - smooth_step(worn.cover, 0.3, 0.6))
    cap = hair.cap_relief(worn.cover, space.places, noise) if recipe.hair == "cap" else 0
    return skin * bare + clothing.cloth_relief(worn.shirt, space, noise) + cap


def _uncovered(crease: Crease, worn: _Worn, space: FaceSpace) -> Crease:
    """A crease where neither hair nor shirt lies on it."""
    bare = (worn.cover < 0.3) & (worn.shirt < 0.2) & (space.regions["skin"] > 0.5)
    return Crease(depth=crease.depth * bare, units=crease.units, rest=crease.rest)


def _painted(
    space: FaceSpace,
    dressed: Float[np.ndarray, "W 3"],
    eyes: Float[np.ndarray, "2 3"],
    worn: _Worn,
    recipe: PersonRecipe,
) -> Paint:
    """The skin's paint, with what is under the hair and the shirt."""
    offsets = dressed - eyes[np.where(space.places[:, 0] > 0, 0, 1)]
    paint = skin_paint(space, offsets, recipe)
    noise = Noise(recipe.seed + 1100)
    colour = hair.hair_colour(recipe)
    brow = 0.5 * brow_share(space)[:, None]
    paint.albedo[:] = paint.albedo * (1 - brow) + brow * colour
    hairy = smooth_step(worn.cover + 0.1 * noise(space.places, 0.003, octaves=2), 0.3, 0.5)
    under = colour * hair.cap_tone(space.places, noise)[:, None]
    paint.albedo[:] += hairy[:, None] * (0.9 * (under - paint.albedo))
    paint.labels[hairy > 0.5] = Label.HAIR
    for values, of_hair in ((paint.roughness, hair.GLOSS.roughness), (paint.specular, hair.GLOSS.specular)):
        values[:] += hairy * (of_hair - values)
    clothed = worn.shirt > 0.5
    cloth = clothing.cloth_paint(dressed[clothed], clothing.rib(worn.shirt, space)[clothed], recipe.cloth, recipe.seed)
    for name in ("albedo", "roughness", "specular", "sharp", "labels"):
        getattr(paint, name)[clothed] = getattr(cloth, name)
    return paint


def _parts(
    dressed: Float[np.ndarray, "W 3"],
    space: FaceSpace,
    skin: Skin,
    worn: _Worn,
    eyes: Float[np.ndarray, "2 3"],
    recipe: PersonRecipe,
) -> tuple[Part, ...]:
    """Everything that stands on the skin or hangs from it."""
    faces, seed = skin.mesh.faces, recipe.seed
    body = clothing.body(dressed, faces, space, recipe.cloth, seed)
    chest, normals = body.rest(dressed), normals_of(dressed, faces)
    skull = space.regions["ears"] < 0.5  # hair falls over ears, and lets them through
    solid = (
        np.concatenate([dressed[skull], chest]),
        np.concatenate([normals[skull], normals_of(chest, body.faces)]),
    )
    ground = hair.Ground(vertices=dressed, normals=normals, faces=faces, space=space, obstacles=solid)
    colour = hair.hair_colour(recipe)
    landmarks = load_head("open-head")
    points = landmark_points(landmarks, landmarks.template[None])[0].double().numpy()
    parts: list[Part] = [
        body,
        hair.hair_of_head(ground, worn.cover, recipe),
        brow_hairs(ground, colour, seed),
        *lashes(ground, points, colour, seed),
    ]
    if recipe.stubble > 0:
        parts.append(hair.stubble(ground, beard_area(space), recipe.stubble, colour, seed))
    if recipe.glasses:
        parts.append(glasses(dressed, space, eyes, seed))
    return tuple(parts)
