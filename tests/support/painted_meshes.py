"""Plain painted meshes, a camera and a lamp for tests of the tracers."""

import torch

from flare_cli.render.camera import look_at
from flare_cli.synthetic.raytrace import PaintedMesh


def camera(size=32, distance=3.0, fov=0.8):
    eye, target = torch.tensor([[0.0, 0.0, distance]]), torch.zeros(1, 3)
    return look_at(eye, target, fov_y=fov, height=size, width=size)


def painted(mesh, *, albedo=1.0, roughness=0.5, f0=0.0, smooth=False):
    vertices = torch.tensor(mesh.vertices).float()
    normals = vertices if smooth else torch.tensor(mesh.vertex_normals.copy()).float()
    ones = torch.ones(len(vertices))
    return PaintedMesh(
        vertices=vertices,
        faces=torch.tensor(mesh.faces),
        normals=normals,
        albedo=albedo * ones[:, None].expand(-1, 3),
        roughness=roughness * ones,
        labels=torch.ones(len(vertices), dtype=torch.long),
        f0=f0,
    )


def sun(direction_row, direction_column, radiance=100.0):
    envmap = torch.zeros(32, 64, 3)
    envmap[direction_row, direction_column] = radiance
    return envmap
