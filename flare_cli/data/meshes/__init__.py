"""Meshes as files for other programs: glTF, USD, OBJ, PLY, and a page that shows one."""
