"""The version of dlgrad, in a file that setup.py can read without importing the package.

Floor 0.
"""

__version__ = "0.1.0"
debug = False
cuda = None  # dlgrad is built for no version: it takes the driver and the compiler it finds
hip = None
git_version = None
