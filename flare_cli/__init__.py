"""One ordinary video of a person in, one relightable, animatable, rigged head avatar out."""

__version__ = "0.2.0"
