"""The room of Metal: the GPU of a Mac through the Objective-C run time."""
