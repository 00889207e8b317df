"""What hues skin has in white light."""

# Red and blue over green, in stops of linear sRGB: from very pale (255, 224, 210) to very dark (90, 56, 40), and as far
# as television's warm colours take it. Chosen by hand.
SKIN_RED, SKIN_BLUE = (0.3, 1.8), (-1.1, -0.1)
