"""Derives the polynomial of src/kernels/isa/math.h: e^r = 1 + r + r^2 q(r) for |r| <= ln(2) / 2, q of degree 4.

A weighted least-squares fit at Chebyshev nodes, repeated with weights that follow the error (Lawson's algorithm), which
tends to the smallest maximal relative error. Coefficients are then rounded to float32, highest first. Needs numpy.
"""

import numpy as np

half = np.log(2) / 2 * 1.0001
r = half * np.cos(np.pi * (np.arange(4000) + 0.5) / 4000)
target = (np.expm1(r) - r) / r**2
weight = np.ones_like(r)
for _ in range(200):
    scale = np.sqrt(weight) * r**2 / np.exp(r)
    coefficients = np.linalg.lstsq(np.vander(r, 5) * scale[:, None], target * scale, rcond=None)[0]
    error = np.abs(1 + r + r**2 * np.polyval(coefficients, r) - np.exp(r)) / np.exp(r)
    weight *= error / error.mean()
    weight /= weight.mean()

rounded = coefficients.astype(np.float32)
for c in rounded:
    print(float(c).hex(), c)
final = np.abs(1 + r + r**2 * np.polyval(rounded.astype(np.float64), r) - np.exp(r)) / np.exp(r)
print("largest relative error", final.max(), "=", final.max() / 2**-24, "half units in the last place of 1")
