"""What is fitted: mesh, deformer, materials, light; and how it becomes a picture."""
