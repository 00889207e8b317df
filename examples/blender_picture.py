"""A picture of an exported GLB by Blender's path tracer under a map: the clicks of `docs/import/blender.md`.

blender --background --python examples/blender_picture.py -- me.glb me.png [map.hdr [SHAPE=WEIGHT ...]]
python examples/blender_picture.py me.glb me.png [map.hdr [SHAPE=WEIGHT ...]]        # with the package bpy
"""

import math
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

SIZE, SAMPLES = 384, 64
STUDIO = Path(__file__).parents[1] / "assets" / "env_maps" / "studio.hdr"


def main(glb: str, picture: str, light: str = str(STUDIO), *shapes: str) -> None:
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=glb)
    heads = [thing for thing in bpy.data.objects if thing.type == "MESH" and thing.data.shape_keys]
    for head in heads:
        for name, weight in (shape.split("=") for shape in shapes):
            head.data.shape_keys.key_blocks[name].value = float(weight)
    middle = sum((head.matrix_world @ Vector(corner) for head in heads for corner in head.bound_box), Vector())
    middle /= 8 * len(heads)
    scene = bpy.context.scene
    scene.camera = camera_at(middle + Vector((0.3, -1.0, 0.05)), middle)
    scene.world = lit_by(light)
    scene.render.engine = "CYCLES"
    scene.cycles.samples = SAMPLES
    scene.render.film_transparent = True
    scene.render.resolution_x = scene.render.resolution_y = SIZE
    scene.view_settings.view_transform = "Standard"  # the others are made for photographs
    scene.render.filepath = str(Path(picture).resolve())
    bpy.ops.render.render(write_still=True)


def camera_at(place: Vector, target: Vector) -> bpy.types.Object:
    made = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    made.data.angle = math.radians(22)
    made.location = place
    made.rotation_euler = (target - place).to_track_quat("-Z", "Y").to_euler()
    bpy.context.scene.collection.objects.link(made)
    return made


def lit_by(light: str) -> bpy.types.World:
    world = bpy.data.worlds.new("light")
    world.use_nodes = True
    nodes, links = world.node_tree.nodes, world.node_tree.links
    background = next(node for node in nodes if node.type == "BACKGROUND")
    picture = nodes.new("ShaderNodeTexEnvironment")
    picture.image = bpy.data.images.load(light)
    width, height = picture.image.size
    pixels = np.array(picture.image.pixels[:]).reshape(height, width, 4)[..., :3]
    rows = np.sin((np.arange(height) + 0.5) / height * math.pi)  # the share of the sphere that a row has
    background.inputs["Strength"].default_value = rows.sum() / (pixels.mean((1, 2)) @ rows)  # mean radiance 1
    # Blender has a map's middle at +x, and the head looks along -y: a quarter turn puts the middle behind it.
    turn, place = nodes.new("ShaderNodeMapping"), nodes.new("ShaderNodeTexCoord")
    turn.inputs["Rotation"].default_value[2] = -math.pi / 2
    links.new(place.outputs["Generated"], turn.inputs["Vector"])
    links.new(turn.outputs["Vector"], picture.inputs["Vector"])
    links.new(picture.outputs["Color"], background.inputs["Color"])
    return world


if __name__ == "__main__":
    main(*(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:]))
