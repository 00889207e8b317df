"""Whom `flare synth` films: two kinds of heads, and procedural skin, hair, eyes, clothes and glasses for either."""
