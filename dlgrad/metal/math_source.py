"""The float functions that the Metal Shading Language lacks: expm1, log1p and erf.

Floor 4.  The first two correct what rounding took from exp and log: with u = exp(x) rounded,
(u - 1) * x / log(u) has the same relative error in u - 1 and in log(u), and it cancels.
erf is an odd polynomial below 1, and 1 - exp(-p(x)) above, where p interpolates -log(erfc) at
the Chebyshev nodes of [1, 4]; the result is within 3 ulp.  None of them holds with fast
mathematics, which is off.
"""

from __future__ import annotations

MATH_HELPERS = {
    "dg_expm1": """
/* exp(x) - 1 */
static inline float dg_expm1(float x)
{
    const float u = exp(x);
    if (u == 1.0f) return x;
    if (u - 1.0f == -1.0f || isinf(u)) return u - 1.0f;
    return (u - 1.0f) * (x / log(u));
}
""",
    "dg_log1p": """
/* log(1 + x) */
static inline float dg_log1p(float x)
{
    const float u = 1.0f + x;
    if (u == 1.0f) return x;
    if (isinf(u)) return log(u);
    return log(u) * (x / (u - 1.0f));
}
""",
    "dg_erf": """
/* The error function */
static inline float dg_erf(float x)
{
    const float a = fabs(x);
    if (a >= 4.0f) return copysign(1.0f, x);
    if (a < 1.0f) {
        const float z = x * x;
        float p = fma(7.87587487e-05f, z, -8.01686430e-04f);
        p = fma(p, z, 5.18908724e-03f);
        p = fma(p, z, -2.68542115e-02f);
        p = fma(p, z, 1.12835944e-01f);
        p = fma(p, z, -3.76126260e-01f);
        return x * fma(p, z, 1.12837911f);
    }
    float p = fma(1.32723617e-05f, a, -3.16937017e-04f);
    p = fma(p, a, 3.43235140e-03f);
    p = fma(p, a, -2.26047728e-02f);
    p = fma(p, a, 1.03281118e-01f);
    p = fma(p, a, 6.39141262e-01f);
    p = fma(p, a, 1.12589359f);
    p = fma(p, a, 7.65897799e-04f);
    return isnan(x) ? x : copysign(1.0f - exp(-p), x);
}
""",
}
