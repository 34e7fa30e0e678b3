"""The version of dlgrad, in a file that setup.py can read without importing the package.

Floor 0.
"""

__version__ = "0.1.0"
