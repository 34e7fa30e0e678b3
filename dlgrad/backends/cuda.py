"""What a program may ask about CUDA beside `dlgrad.cuda`.

Floor 7.  Products of float32 are never rounded to TF32.
"""


class _Products:
    """`matmul.allow_tf32` and the like: kept as set, without effect."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = False
    allow_bf16_reduced_precision_reduction = False


matmul = _Products()


def is_built() -> bool:
    """True: the kernels for it are written here, whatever the machine."""
    return True
