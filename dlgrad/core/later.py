"""Functions and methods whose modules are imported when they are first used.

Floor 6.  `import dlgrad` has to be quick, so only what nearly every program needs is imported
with it.  The rest is listed here by module; the package finds functions through `FUNCTIONS`,
and `later` stands for a method in its class until it is first asked for.
"""

from __future__ import annotations

import importlib
from typing import Any

from dlgrad.core.arguments import checked_method

FUNCTIONS: dict[str, str] = {
    name: module
    for module, names in {
        "neural.activations": "celu hardshrink prelu rrelu threshold",
        "neural.adaptive_pooling": "adaptive_avg_pool1d adaptive_max_pool1d",
        "operators.advanced": "index_put",
        "neural.affine": "bilinear",
        "operators.arrangements": "combinations repeat_interleave",
        "core.autocasting": "autocast get_autocast_dtype is_autocast_enabled",
        "operators.choices": "multinomial randperm",
        "matrix.contractions": "einsum tensordot",
        "neural.convolution": "conv1d conv2d conv3d",
        "operators.counts": "binomial poisson",
        "core.dlpack": "from_dlpack",
        "matrix.distances": "cdist cosine_similarity pairwise_distance pdist",
        "neural.dropping": "alpha_dropout dropout feature_alpha_dropout",
        "matrix.factorizations": "cholesky cholesky_inverse cholesky_solve lu_unpack",
        "func": "vmap",
        "operators.gathers": (
            "gather index_add index_copy index_fill index_reduce index_select masked_fill put "
            "scatter scatter_add scatter_reduce take take_along_dim"
        ),
        "operators.masks": "argwhere masked_scatter masked_select nonzero nonzero_static",
        "nn.summary": "summary",
        "neural.normalization": "batch_norm group_norm layer_norm rms_norm",
        "operators.order_statistics": (
            "bincount histc median mode nanmedian nanquantile quantile unravel_index"
        ),
        "operators.padding": "constant_pad_nd",
        "neural.pooling": "avg_pool1d max_pool1d max_pool2d max_pool3d",
        "operators.scans": (
            "cummax cummin cumprod cumsum cumulative_trapezoid diff logcumsumexp trapezoid trapz"
        ),
        "operators.sampling": "bernoulli normal",
        "files.serialization": "load save",
        "neural.shuffling": "channel_shuffle pixel_shuffle pixel_unshuffle",
        "matrix.matrix_functions": "matrix_exp orgqr",
        "matrix.older_matrices": "inverse lu_solve pinverse qr svd",
        "matrix.solving": "det logdet slogdet",
        "operators.sorting": (
            "argsort bucketize kthvalue msort searchsorted sort topk unique "
            "unique_consecutive"
        ),
        "operators.striding": (
            "as_strided as_strided_scatter diagonal_scatter select_scatter slice_scatter"
        ),
        "neural.transposed": "conv_transpose1d conv_transpose2d conv_transpose3d",
        "operators.triangles": "diag diag_embed diagflat trace tril tril_indices triu triu_indices",
        "operators.trigonometry": (
            "acos acosh arccos arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan "
            "atan2 atanh cosh sinc sinh tan"
        ),
        "operators.arithmetic": (
            "angle copysign deg2rad float_power fmax fmin frexp gcd heaviside hypot lcm ldexp "
            "nan_to_num positive rad2deg sgn"
        ),
        "operators.error_functions": "erfc erfinv",
        "operators.gamma_functions": "digamma lgamma mvlgamma polygamma",
        "operators.bessel": "i0",
        "special": "logit",
        "core.layout": (
            "channels_last channels_last_3d contiguous_format layout memory_format "
            "preserve_format strided"
        ),
        "core.environment": (
            "are_deterministic_algorithms_enabled can_cast compile get_deterministic_debug_mode "
            "get_float32_matmul_precision "
            "get_num_interop_threads get_num_threads is_complex "
            "is_deterministic_algorithms_warn_only_enabled set_deterministic_debug_mode "
            "set_float32_matmul_precision set_flush_denormal set_num_interop_threads "
            "set_num_threads use_deterministic_algorithms"
        ),
        "operators.norms": "dist norm renorm",
        "core.older_types": (
            "BFloat16Tensor BoolTensor ByteTensor CharTensor DoubleTensor FloatTensor HalfTensor "
            "IntTensor LongTensor ShortTensor set_default_tensor_type"
        ),
        "operators.signal_windows": (
            "bartlett_window blackman_window hamming_window hann_window kaiser_window"
        ),
        "core.tensor_functions": (
            "abs_ acos_ acosh_ arccos_ arccosh_ arcsin_ arcsinh_ arctan_ arctanh_ asin_ asinh_ "
            "atan_ atanh_ ceil_ clamp_ clamp_max_ clamp_min_ clip_ conj conj_physical cos_ cosh_ "
            "deg2rad_ detach detach_ erf_ erfc_ exp2_ exp_ expm1_ fill fill_ fix_ floor_ frac_ "
            "gcd_ get_device i0_ is_conj is_inference is_neg is_same_size is_signed lcm_ ldexp_ "
            "log10_ log1p_ log2_ log_ logit_ nan_to_num_ neg_ negative_ rad2deg_ real reciprocal_ "
            "relu_ resolve_conj resolve_neg round_ rsqrt_ sigmoid_ sin_ sinc_ sinh_ sqrt_ square_ "
            "tan_ tanh_ trunc_ typename xlogy_ zero_"
        ),
        "operators.statistics": "corrcoef cov",
    }.items()
    for name in names.split()
}


def find(module: str, name: str) -> Any:
    """The function `name` of a module of dlgrad."""
    return getattr(importlib.import_module(f"dlgrad.{module}"), name)


class later:
    """A method that is `name` of `module` (by default under its own name).

    The first access puts the function in its place.  With `in_place` it is the method that
    writes the function's result into the tensor; its own name ends in an underscore then.
    """

    def __init__(self, module: str, name: str = "", in_place: bool = False) -> None:
        self.module = module
        self.name = name
        self.in_place = in_place

    def __set_name__(self, owner: type, name: str) -> None:
        self.attribute = name
        if not self.name:
            self.name = name.rstrip("_") if self.in_place else name

    def __get__(self, instance: Any, owner: type) -> Any:
        function = find(self.module, self.name)
        if self.in_place:
            from dlgrad.core.inplace import in_place

            function = in_place(function)
        function = checked_method(function)
        holder = next(cls for cls in owner.__mro__ if self.attribute in cls.__dict__)
        setattr(holder, self.attribute, function)
        return function if instance is None else function.__get__(instance, owner)
