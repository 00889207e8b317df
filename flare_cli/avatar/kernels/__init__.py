"""GPU kernels of the avatar's networks."""
