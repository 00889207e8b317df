"""Settings that make a fit small where a test does not look at them."""

# Tracing what shadows each vertex is two thirds of a fit of a few steps.
FEW_RAYS = ("light.visibility_poses=2", "light.visibility_rays=32")
