"""Where networks come from: downloads, archives, weights files, and whether a foreign graph is safe."""
