"""The operators that are compared with PyTorch's database of samples, and how to call them.

A name is that of an `OpInfo` in `op_db`; it stands for all its variants.  Most are called in
dlgrad by the same name: `nn.functional.relu` is `dlgrad.nn.functional.relu`, and what is no
function of the package is a method of the tensor.  `CALLS` lists the others.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import dlgrad

FAMILIES = {
    "dtypes": "to bool byte char short int long half bfloat16 float double",
    "arithmetic": (
        "add sub rsub mul div true_divide floor_divide remainder fmod neg positive abs sign sgn "
        "reciprocal square sqrt rsqrt pow float_power lerp addcmul addcdiv clamp clamp_min "
        "clamp_max maximum minimum max min fmax fmin copysign signbit nan_to_num heaviside hypot "
        "gcd lcm ldexp frexp where __radd__ __rsub__ __rmul__ __rdiv__ __rmod__ __rpow__"
    ),
    "comparison": (
        "eq ne lt le gt ge isclose allclose equal isnan isinf isfinite isposinf isneginf isreal "
        "isin logical_and logical_or logical_xor logical_not"
    ),
    "bits": (
        "bitwise_and bitwise_or bitwise_xor bitwise_not bitwise_left_shift bitwise_right_shift "
        "__rand__ __ror__ __rxor__"
    ),
    "functions": (
        "exp exp2 expm1 log log2 log10 log1p logaddexp logaddexp2 xlogy sin cos tan asin acos "
        "atan atan2 sinh cosh tanh asinh acosh atanh sinc deg2rad rad2deg sigmoid logit erf erfc "
        "erfinv lgamma digamma i0 angle special.entr special.erfcx special.i0e special.i1 "
        "special.i1e special.log_ndtr special.ndtr special.ndtri special.xlog1py "
        "special.polygamma special.zeta polygamma mvlgamma"
    ),
    "rounding": "floor ceil trunc round frac",
    "reductions": (
        "sum mean prod amax amin aminmax argmax argmin any all var std var_mean std_mean "
        "logsumexp nansum nanmean count_nonzero dist norm linalg.norm linalg.vector_norm "
        "linalg.matrix_norm median nanmedian mode quantile nanquantile histc bincount unique "
        "unique_consecutive trapezoid trapz renorm cov corrcoef"
    ),
    "scans": "cumsum cumprod cummax cummin logcumsumexp diff cumulative_trapezoid",
    "movement": (
        "view view_as reshape reshape_as flatten unflatten ravel squeeze unsqueeze permute "
        "transpose t T mT movedim expand expand_as broadcast_to broadcast_tensors "
        "broadcast_shapes narrow select slice diagonal linalg.diagonal as_strided unfold flip "
        "fliplr flipud roll rot90 repeat tile repeat_interleave cat stack hstack vstack dstack "
        "column_stack split split_with_sizes unsafe_split chunk unsafe_chunk tensor_split hsplit "
        "vsplit dsplit unbind nn.functional.pad constant_pad_nd tril triu diag diagflat "
        "diag_embed tril_indices triu_indices meshgrid contiguous clone atleast_1d atleast_2d "
        "atleast_3d block_diag cartesian_prod combinations sum_to_size resize_ resize_as_ "
        "select_scatter slice_scatter diagonal_scatter as_strided_scatter trace"
    ),
    "indexing": (
        "__getitem__ index_put gather scatter scatter_add scatter_reduce index_select index_add "
        "index_copy index_fill index_reduce take put take_along_dim masked_fill masked_select "
        "masked_scatter nonzero nonzero_static argwhere unravel_index fill zero_"
    ),
    "sorting": "sort argsort msort topk kthvalue searchsorted bucketize",
    "matrix": (
        "matmul __rmatmul__ mm bmm mv dot vdot inner outer addmm addmv addbmm baddbmm addr "
        "einsum tensordot kron cross linalg.cross linalg.multi_dot linalg.vecdot cdist "
        "linalg.matrix_power linalg.vander"
    ),
    "linalg": (
        "linalg.inv linalg.inv_ex linalg.solve linalg.solve_ex linalg.solve_triangular "
        "linalg.tensorinv linalg.tensorsolve linalg.det linalg.slogdet logdet linalg.cholesky "
        "linalg.cholesky_ex cholesky cholesky_solve cholesky_inverse linalg.qr qr linalg.lu "
        "linalg.lu_factor linalg.lu_factor_ex linalg.lu_solve lu_solve lu_unpack linalg.svd svd "
        "linalg.svdvals linalg.eigh linalg.eigvalsh linalg.lstsq linalg.pinv pinverse "
        "linalg.matrix_rank linalg.cond linalg.householder_product"
    ),
    "creation": (
        "arange linspace logspace eye zeros ones full empty zeros_like ones_like full_like "
        "empty_like new_zeros new_ones new_full new_empty scalar_tensor item"
    ),
    "random": (
        "randn randn_like rand_like randint randint_like bernoulli multinomial normal uniform "
        "exponential log_normal cauchy geometric"
    ),
    "activations": (
        "nn.functional.relu nn.functional.relu6 nn.functional.elu nn.functional.celu "
        "nn.functional.selu nn.functional.gelu nn.functional.silu nn.functional.mish "
        "nn.functional.hardswish nn.functional.hardsigmoid nn.functional.hardtanh "
        "nn.functional.hardshrink nn.functional.softshrink nn.functional.tanhshrink "
        "nn.functional.softplus nn.functional.softsign nn.functional.logsigmoid "
        "nn.functional.leaky_relu nn.functional.prelu nn.functional.rrelu "
        "nn.functional.threshold nn.functional.glu softmax log_softmax nn.functional.softmin"
    ),
    "losses": (
        "nn.functional.cross_entropy nn.functional.nll_loss nn.functional.mse_loss "
        "nn.functional.l1_loss nn.functional.smooth_l1_loss nn.functional.huber_loss "
        "nn.functional.binary_cross_entropy nn.functional.binary_cross_entropy_with_logits "
        "nn.functional.kl_div nn.functional.poisson_nll_loss nn.functional.gaussian_nll_loss "
        "nn.functional.hinge_embedding_loss nn.functional.margin_ranking_loss "
        "nn.functional.soft_margin_loss nn.functional.multi_margin_loss "
        "nn.functional.multilabel_margin_loss nn.functional.multilabel_soft_margin_loss "
        "nn.functional.cosine_embedding_loss nn.functional.triplet_margin_loss "
        "nn.functional.triplet_margin_with_distance_loss nn.functional.ctc_loss"
    ),
    "layers": (
        "nn.functional.linear nn.functional.bilinear nn.functional.embedding "
        "nn.functional.embedding_bag nn.functional.one_hot nn.functional.layer_norm "
        "nn.functional.batch_norm nn.functional.group_norm nn.functional.instance_norm "
        "nn.functional.rms_norm nn.functional.local_response_norm nn.functional.normalize "
        "nn.functional.cosine_similarity nn.functional.pairwise_distance nn.functional.pdist "
        "nn.functional.dropout nn.functional.dropout2d nn.functional.dropout3d "
        "nn.functional.alpha_dropout nn.functional.feature_alpha_dropout "
        "nn.functional.scaled_dot_product_attention nn.functional.multi_head_attention_forward"
    ),
    "images": (
        "nn.functional.conv1d nn.functional.conv2d nn.functional.conv3d "
        "nn.functional.conv_transpose1d nn.functional.conv_transpose2d "
        "nn.functional.conv_transpose3d nn.functional.avg_pool1d nn.functional.avg_pool2d "
        "nn.functional.avg_pool3d nn.functional.max_pool1d nn.functional.max_pool2d "
        "nn.functional.max_pool3d nn.functional.adaptive_avg_pool1d "
        "nn.functional.adaptive_avg_pool2d nn.functional.adaptive_avg_pool3d "
        "nn.functional.adaptive_max_pool1d nn.functional.adaptive_max_pool2d "
        "nn.functional.adaptive_max_pool3d nn.functional.max_unpool1d "
        "nn.functional.max_unpool2d nn.functional.max_unpool3d "
        "nn.functional.fractional_max_pool2d nn.functional.fractional_max_pool3d "
        "nn.functional.interpolate nn.functional.upsample_nearest "
        "nn.functional.upsample_bilinear nn.functional.grid_sample nn.functional.pixel_shuffle "
        "nn.functional.pixel_unshuffle nn.functional.channel_shuffle nn.functional.unfold"
    ),
}


def method(name: str) -> Callable[..., Any]:
    """The method `name` of the first argument."""
    return lambda x, *args, **kwargs: getattr(x, name)(*args, **kwargs)


def attribute(name: str) -> Callable[..., Any]:
    """The property `name` of the only argument."""
    return lambda x: getattr(x, name)


def _reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(x: Any, other: Any) -> Any:
        if not isinstance(x, dlgrad.Tensor):
            raise TypeError("the method of a tensor needs a tensor")
        return function(other, x)

    return call


def _embedded(name: str) -> Callable[..., Any]:
    return lambda weight, index, **kwargs: getattr(dlgrad.nn.functional, name)(
        index, weight, **kwargs
    )


def _with_default_distance(*args: Any, distance_function: Any = None, **kwargs: Any) -> Any:
    """The database gives PyTorch's own distance layer, which is the default."""
    return dlgrad.nn.functional.triplet_margin_with_distance_loss(*args, **kwargs)


def _on_a_copy(name: str) -> Callable[..., Any]:
    return lambda x, *args, **kwargs: getattr(x.clone(), name)(*args, **kwargs)


def _slice(x: Any, dim: int = 0, start: Any = None, end: Any = None, step: int = 1) -> Any:
    return x[(slice(None),) * (dim % x.ndim) + (slice(start, end, step),)]


CALLS: dict[str, Callable[..., Any]] = {
    **{name: method(name) for name in FAMILIES["dtypes"].split()},
    **{
        name: method(name)
        for name in (
            "item", "contiguous", "expand", "expand_as", "reshape_as", "view", "view_as",
            "sum_to_size", "new_zeros", "new_ones", "new_full", "new_empty", "unfold", "repeat",
        )
    },
    **{name: _on_a_copy(name) for name in ("resize_", "resize_as_", "zero_")},
    **{
        name: method(f"{name}_")
        for name in ("uniform", "exponential", "log_normal", "cauchy", "geometric")
    },
    "T": attribute("T"),
    "mT": attribute("mT"),
    "fill": _on_a_copy("fill_"),
    "__getitem__": lambda x, index: x[index],
    "__radd__": _reflected(operator.add),
    "__rsub__": _reflected(operator.sub),
    "__rmul__": _reflected(operator.mul),
    "__rdiv__": _reflected(operator.truediv),
    "__rmod__": _reflected(operator.mod),
    "__rpow__": _reflected(operator.pow),
    "__rand__": _reflected(operator.and_),
    "__ror__": _reflected(operator.or_),
    "__rxor__": _reflected(operator.xor),
    "__rmatmul__": _reflected(operator.matmul),
    "normal|in_place": method("normal_"),
    "normal|number_mean": lambda std, mean, *args, **kwargs: dlgrad.normal(
        mean, std, *args, **kwargs
    ),
    "where": lambda x, condition, other: dlgrad.where(condition, x, other),
    "einsum": lambda tensors, equation: dlgrad.einsum(equation, tensors),
    "slice": _slice,
    "polygamma": lambda x, n: dlgrad.polygamma(n, x),
    "special.polygamma": lambda x, n: dlgrad.special.polygamma(n, x),
    "nn.functional.triplet_margin_with_distance_loss": _with_default_distance,
    "nn.functional.embedding": _embedded("embedding"),
    "nn.functional.embedding_bag": _embedded("embedding_bag"),
    "linalg.lstsq|grad_oriented": lambda a, b, driver: dlgrad.linalg.lstsq(a, b, driver=driver)[:2],
    "linalg.pinv|singular": lambda a, b: dlgrad.linalg.pinv(a @ b.mT),
}

# Results that are random, or the contents of fresh memory: only shape and dtype are compared.
UNPREDICTABLE = {
    *FAMILIES["random"].split(), "empty", "empty_like", "new_empty", "resize_", "resize_as_",
    "nn.functional.dropout", "nn.functional.dropout2d", "nn.functional.dropout3d",
    "nn.functional.alpha_dropout", "nn.functional.feature_alpha_dropout", "nn.functional.rrelu",
    "nn.functional.fractional_max_pool2d", "nn.functional.fractional_max_pool3d",
}  # fmt: skip

# Functions that name the places of elements: of equal ones PyTorch may name any.
TIES = {"argsort", "kthvalue", "median", "mode", "nanmedian", "sort", "topk"}

# Functions with poles, where dlgrad gives an infinity and PyTorch a number above 1e10.
POLES = {"polygamma", "special.polygamma"}

# Sources (by number) whose gradient PyTorch gets wrong, so that it is not compared.  That of the
# input of as_strided_scatter is ones where the other tensor overwrites it and zeros elsewhere:
# finite differences in double precision, and so `torch.autograd.gradcheck`, give the opposite.
WRONG_GRADIENTS = {"as_strided_scatter": {0}}

# (relative, absolute) tolerance in float32 where sums of many products round in another order.
TOLERANCES = {
    "nn.functional.conv3d": (1e-4, 1e-4),
    "nn.functional.conv_transpose3d": (1e-4, 1e-4),
    "nn.functional.multi_head_attention_forward": (1e-4, 1e-4),
    "nn.functional.scaled_dot_product_attention": (1e-4, 1e-4),
    "linalg.pinv": (1e-4, 1e-4),
    "cdist": (1e-4, 1e-4),
}


def find(name: str, variant: str = "") -> Callable[..., Any] | None:
    """What dlgrad calls the operator `name` (None where it has none)."""
    for key in (f"{name}|{variant}", name):
        if key in CALLS:
            return CALLS[key]
    found: Any = dlgrad
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            found = None
            break
    if callable(found):
        return found  # type: ignore[no-any-return]
    return method(name) if hasattr(dlgrad.Tensor, name) else None


def all_names() -> list[str]:
    """Every operator of the table, in its order."""
    return [name for names in FAMILIES.values() for name in names.split()]
