"""What Mitsuba lacks: a surface with our ray tracer's lobes, and integrators that also say what they met.

Import it after a Mitsuba variant is set (`synthetic/mitsuba.py` does): its classes belong to that variant, and Mitsuba
finds them under the names below. Directions of a surface are in its shading frame, z along the smooth normal.
"""

from __future__ import annotations

import importlib
from typing import Any

dr: Any = importlib.import_module("drjit")
mi: Any = importlib.import_module("mitsuba")

SURFACE, SEEN, CENTRES = "flare_surface", "flare_seen", "flare_centres"
# Attributes of the mesh, as Mitsuba wants them to be called. Gloss is roughness, specular intensity, share of the sharp
# lobe.
ALBEDO, GLOSS = "vertex_albedo", "vertex_gloss"
# GGX's alpha of the sharp lobe, relative to that of the one lobe which stands for both.
SHARP_ALPHA = 0.4
# Part of the sampled directions that follow the mirror's lobe; it changes the noise, not the mean.
MIRROR_SHARE = 0.25


class Surface(mi.BSDF):
    """Lambert plus GGX (separable Smith, Schlick from `f0`; `f0` of 0 is matte), the same from either side.

    Albedo, perceptual roughness (its square is GGX's alpha), specular intensity (a factor of the reflectance) and the
    share of a sharp lobe are attributes of the mesh's vertices. With two lobes (Weyrich et al. 2006 fit skin by such),
    the broad one is as much broader as keeps the mean of alpha: the mean slope of GGX's facets, pi / 2 alpha, is then
    that of the single lobe whose roughness the mesh holds.
    """

    def __init__(self, props: Any) -> None:
        super().__init__(props)
        self.f0 = props["f0"]
        lobes = mi.BSDFFlags.DiffuseReflection | mi.BSDFFlags.GlossyReflection
        self.m_components = [lobes | mi.BSDFFlags.FrontSide | mi.BSDFFlags.BackSide]
        self.m_flags = self.m_components[0]

    def sample(self, ctx: Any, si: Any, choice: Any, point: Any, active: Any = True) -> Any:
        """A direction that goes on from `si`, mostly by the cosine, else mirrored about a GGX normal."""
        side, view = self._seen(si)
        gloss = _Gloss(si, active)
        alpha2 = dr.square(dr.select(choice < MIRROR_SHARE * gloss.share, gloss.sharp, gloss.broad))
        cosine = dr.sqrt((1 - point.y) / (1 + (alpha2 - 1) * point.y))
        sine, phi = dr.safe_sqrt(1 - dr.square(cosine)), 2 * dr.pi * point.x
        half = mi.Vector3f(sine * dr.cos(phi), sine * dr.sin(phi), cosine)
        mirrored = 2 * dr.dot(view, half) * half - view
        light = dr.select(choice < MIRROR_SHARE, mirrored, mi.warp.square_to_cosine_hemisphere(point))
        sampled = mi.BSDFSample3f(side * light)
        value, sampled.pdf = self.eval_pdf(ctx, si, sampled.wo, active)
        sampled.eta = 1.0
        sampled.sampled_type = mi.UInt32(+mi.BSDFFlags.GlossyReflection)
        sampled.sampled_component = mi.UInt32(0)
        found = active & (sampled.pdf > 0)
        return sampled, dr.select(found, value / dr.maximum(sampled.pdf, 1e-9), 0.0)

    def eval(self, ctx: Any, si: Any, wo: Any, active: Any = True) -> Any:
        """Reflected towards `si.wi` from `wo`, per steradian, times the cosine to the light."""
        return self.eval_pdf(ctx, si, wo, active)[0]

    def pdf(self, ctx: Any, si: Any, wo: Any, active: Any = True) -> Any:
        """Density of `sample` per steradian."""
        return self.eval_pdf(ctx, si, wo, active)[1]

    def eval_pdf(self, ctx: Any, si: Any, wo: Any, active: Any = True) -> Any:
        """Both. Nothing comes from behind the face or behind the smooth surface (Walter et al. 2007, eq. 33 and 34)."""
        side, view = self._seen(si)
        light = side * wo
        before_face = dr.dot(si.n, si.to_world(wo)) * dr.dot(si.n, si.to_world(si.wi)) > 0
        lit = active & (light.z > 0) & before_face
        half = dr.normalize(view + light)
        to_view, to_light = dr.maximum(view.z, 1e-3), dr.maximum(light.z, 1e-6)
        on_half, bent = dr.maximum(half.z, 0.0), dr.maximum(dr.dot(view, half), 0.0)
        gloss = _Gloss(si, active)
        facets, shape = mi.Float(0.0), mi.Float(0.0)
        for share, alpha in ((1 - gloss.share, gloss.broad), (gloss.share, gloss.sharp)):
            alpha2 = dr.square(alpha)
            lobe = share * alpha2 / (dr.pi * dr.square(dr.square(on_half) * (alpha2 - 1) + 1))
            facets, shape = facets + lobe, shape + lobe * _smith(to_view, alpha2) * _smith(to_light, alpha2)
        fresnel = self.f0 + (1 - self.f0) * dr.power(dr.maximum(1 - bent, 0.0), 5) if self.f0 > 0 else 0.0
        mirrored = gloss.specular * fresnel * shape / (4 * to_view * to_light)
        albedo = si.shape.eval_attribute_3(ALBEDO, si, active)
        value = (albedo / dr.pi + mi.Color3f(mirrored)) * to_light
        mirror = facets * on_half / dr.maximum(4 * bent, 1e-6)
        density = (1 - MIRROR_SHARE) * to_light / dr.pi + MIRROR_SHARE * mirror
        return dr.select(lit, value, 0.0), dr.select(lit, density, 0.0)

    def _seen(self, si: Any) -> tuple[Any, Any]:
        """Sign that turns the smooth normal to the side of the face that is looked at; the direction to the viewer."""
        side = turned(si)
        return side, side * si.wi

    def to_string(self) -> str:
        """What Mitsuba prints."""
        return f"{SURFACE}[f0={self.f0}]"


class _Gloss:
    """GGX's alphas, how the lobes share the mirrored light, and its intensity, where a ray met the mesh."""

    def __init__(self, si: Any, active: Any) -> None:
        gloss = si.shape.eval_attribute_3(GLOSS, si, active)
        alpha = dr.square(gloss.x)
        self.specular, self.share = gloss.y, gloss.z
        self.sharp = SHARP_ALPHA * alpha
        self.broad = alpha * (1 - SHARP_ALPHA * self.share) / (1 - self.share)


def _smith(cosine: Any, alpha2: Any) -> Any:
    return 2 * cosine / (cosine + dr.sqrt(alpha2 + (1 - alpha2) * dr.square(cosine)))


def turned(si: Any) -> Any:
    """1 where the smooth normal points to the viewer's side of the face, else -1."""
    along = dr.dot(si.n, si.sh_frame.n) * dr.dot(si.n, si.to_world(si.wi))
    return dr.select(along < 0, -1.0, 1.0)


class Seen(mi.SamplingIntegrator):
    """Radiance by the nested `light` integrator, and of the first surface: hit, albedo, gloss, normal, position."""

    NAMES = ("hit", "alb.r", "alb.g", "alb.b", "rough", "spec", "n.x", "n.y", "n.z", "p.x", "p.y", "p.z")

    def __init__(self, props: Any) -> None:
        super().__init__(props)
        self.light = props["light"]

    def sample(self, scene: Any, sampler: Any, ray: Any, medium: Any = None, active: Any = True) -> Any:
        """One camera ray."""
        si = scene.ray_intersect(ray, active)
        if si.shape is None:  # a single ray (the scalar variant) that meets nothing
            return mi.Color3f(0.0), False, [0.0] * len(self.NAMES)
        hit = si.is_valid() & active
        radiance, _, _ = self.light.sample(scene, sampler, ray, medium, active)
        albedo = si.shape.eval_attribute_3(ALBEDO, si, hit)
        normal = turned(si) * si.sh_frame.n
        gloss = si.shape.eval_attribute_3(GLOSS, si, hit)
        found = [albedo.x, albedo.y, albedo.z, gloss.x, gloss.y]
        found += [normal.x, normal.y, normal.z, si.p.x, si.p.y, si.p.z]
        return radiance, hit, [dr.select(hit, value, 0.0) for value in [mi.Float(1.0), *found]]

    def aov_names(self) -> list[str]:
        """Names of what is returned beside radiance, in its order."""
        return list(self.NAMES)


class Centres(mi.SamplingIntegrator):
    """The face that a ray meets (counted from 1, 0 for none) and where in it: the second and third corner's weight."""

    def sample(self, scene: Any, sampler: Any, ray: Any, medium: Any = None, active: Any = True) -> Any:
        """One camera ray."""
        met = scene.ray_intersect_preliminary(ray, True, active)
        hit = met.is_valid() & active
        values = [mi.Float(met.prim_index) + 1, met.prim_uv.x, met.prim_uv.y]
        return mi.Color3f(0.0), hit, [dr.select(hit, value, 0.0) for value in values]

    def aov_names(self) -> list[str]:
        """Names of what is returned beside radiance, in its order."""
        return ["face", "second", "third"]


mi.register_bsdf(SURFACE, Surface)
mi.register_integrator(SEEN, Seen)
mi.register_integrator(CENTRES, Centres)
