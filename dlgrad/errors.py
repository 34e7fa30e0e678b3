"""The exceptions of dlgrad.

Floor 0.  Each derives from the built-in type that PyTorch raises in the same place, so that
`except RuntimeError`, `except TypeError` and `except IndexError` work as a PyTorch user
expects.  A message says what was given, what was expected, and one thing to do.
"""


class DlgradError(Exception):
    """The base of every error that dlgrad raises on purpose."""


class ShapeError(DlgradError, RuntimeError):
    """Shapes that do not fit each other or the operation."""


class DTypeError(DlgradError, RuntimeError, TypeError):
    """A dtype that an operation does not take; PyTorch raises now the one, now the other."""


class DeviceError(DlgradError, RuntimeError):
    """A device that is unknown, absent, or not the one expected."""


class OutOfScopeError(DlgradError, NotImplementedError, AttributeError):
    """A name of PyTorch that dlgrad leaves out on purpose: complex numbers, sparse tensors.

    It is an AttributeError, too, so that `hasattr` answers False.
    """


class CompilerNotFoundError(DeviceError):
    """No compiler was found; the message says where it was looked for and how to get one."""


class CompileError(DlgradError, RuntimeError):
    """The compiler refused a kernel; the message holds the command and its output."""


class NoCompileError(DlgradError, RuntimeError):
    """A kernel would have been compiled while DLGRAD_NO_COMPILE is set."""


class AutogradError(DlgradError, RuntimeError):
    """A gradient was asked for that cannot be given, or would be wrong."""


class VmapError(DlgradError, RuntimeError):
    """A function under `vmap` did something that cannot be done to all rows at once."""


class CaptureError(DlgradError, RuntimeError):
    """A `jit` function did something that a replay cannot repeat."""


class VerifyError(DlgradError, AssertionError):
    """An internal check of the graph or the loop IR failed: a bug in dlgrad."""


class DownloadError(DlgradError, OSError):
    """A file could not be fetched, or its checksum was wrong."""


class FileFormatError(DlgradError, ValueError):
    """A file that is damaged, hostile, or not of the format it claims."""


class LinAlgError(DlgradError, RuntimeError):
    """A matrix that is singular, not positive definite, or not finite where it must not be."""
