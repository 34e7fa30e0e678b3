"""Pictures without libraries: a canvas, PNG, SVG, graphs, and the progress bar."""
