"""What leaves for other programs: rigs, textures, names, fewer triangles, and the light that vertices see."""
