"""Small networks at very many points, each in the way that is fastest on its device."""
