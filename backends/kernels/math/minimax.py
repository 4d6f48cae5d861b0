#!/usr/bin/env python3
"""Derives the polynomial coefficients quoted in math/*.wgsl.

Remez exchange (weighted minimax) in 60-digit arithmetic. Coefficients are then rounded to f32 one at a time,
lowest degree first, with the remaining ones refitted after each rounding, so that the rounding error of the
large coefficients is absorbed by the small ones. Needs mpmath. Run: minimax.py [fit-name ...]
"""
import struct
import sys

import mpmath as mp

mp.mp.dps = 60


def f32(x):
    return mp.mpf(struct.unpack("f", struct.pack("f", float(x)))[0])


def remez(target, weight, powers, lo, hi, rounds=12, grid=1500):
    """c that minimise max |weight(x) * (target(x) - sum c_i x^powers_i)| on [lo, hi], and that maximum."""
    n = len(powers)
    mid, half = (lo + hi) / 2, (hi - lo) / 2
    nodes = [mid - half * mp.cos(mp.pi * (i + mp.mpf("0.5")) / (n + 1)) for i in range(n + 1)]
    xs = [mid - half * mp.cos(mp.pi * i / grid) for i in range(grid + 1)]
    table = [(x, target(x), weight(x)) for x in xs]
    coeffs, worst = None, None
    for _ in range(rounds):
        a = mp.matrix(n + 1, n + 1)
        b = mp.matrix(n + 1, 1)
        for i, x in enumerate(nodes):
            w = weight(x)
            for j, p in enumerate(powers):
                a[i, j] = w * x ** p
            a[i, n] = (-1) ** i
            b[i] = w * target(x)
        coeffs = list(mp.lu_solve(a, b))[:n]
        err = [w * (t - sum(c * x ** p for c, p in zip(coeffs, powers))) for x, t, w in table]
        worst = max(abs(e) for e in err)
        # One extremum for each run of equal sign, then the n + 1 neighbours that hold the largest errors.
        runs = []
        for i, e in enumerate(err):
            if runs and (err[runs[-1]] > 0) == (e > 0):
                if abs(e) > abs(err[runs[-1]]):
                    runs[-1] = i
            else:
                runs.append(i)
        while len(runs) > n + 1:
            runs.pop(0 if abs(err[runs[0]]) < abs(err[runs[-1]]) else -1)
        if len(runs) < n + 1:
            break
        nodes = [xs[i] for i in runs]
        if worst / min(abs(err[i]) for i in runs) < mp.mpf("1.001"):
            break
    return coeffs, worst


def fit(name, target, weight, powers, lo, hi):
    lo, hi = mp.mpf(lo), mp.mpf(hi)
    fixed, rest = [], list(powers)
    _, ideal = remez(target, weight, rest, lo, hi)
    while rest:
        done = list(fixed)
        coeffs, _ = remez(lambda x: target(x) - sum(c * x ** p for c, p in done), weight, rest, lo, hi)
        fixed.append((f32(coeffs[0]), rest.pop(0)))
    xs = [lo + (hi - lo) * i / 3000 for i in range(3001)]
    worst = max(abs(weight(x) * (target(x) - sum(c * x ** p for c, p in fixed))) for x in xs)
    print(f"{name}: on [{mp.nstr(lo, 8)}, {mp.nstr(hi, 8)}] minimax {mp.nstr(ideal, 4)}, "
          f"in f32 coefficients {mp.nstr(worst, 4)}")
    for c, p in fixed:
        print(f"  x^{p}: {float(c):.9g}")


TINY = mp.mpf("1e-9")  # stands for 0 where the target has a removable singularity


def away(x):
    return x if abs(x) > TINY else TINY


def erfc_log(a):
    return -mp.log(mp.erfc(a))


FITS = {
    # expm1(r) = r + r^2 q(r), relative error of expm1
    "exp": lambda: fit("exp q", lambda r: (mp.expm1(away(r)) - away(r)) / away(r) ** 2,
                       lambda r: away(r) ** 2 / abs(mp.expm1(away(r))), range(5), "-0.34668", "0.34668"),
    # log1p(f) = f - f^2/2 + f^3 p(f), relative error of log1p
    "log": lambda: fit("log p", lambda f: (mp.log1p(away(f)) - away(f) + away(f) ** 2 / 2) / away(f) ** 3,
                       lambda f: abs(away(f) ** 3 / mp.log1p(away(f))), range(9), "-0.29290", "0.41422"),
    # erf(a) = a + a p(a^2), relative error of erf, s = a^2
    "erf": lambda: fit("erf p", lambda s: mp.erf(mp.sqrt(away(s))) / mp.sqrt(away(s)) - 1,
                       lambda s: mp.sqrt(away(s)) / mp.erf(mp.sqrt(away(s))), range(6), "1e-9", "0.8556"),
    # -log erfc(a) = a + a q(a), error of the resulting erfc relative to max(erfc, 2^-12)
    "erfc": lambda: fit("erfc q", lambda a: erfc_log(a) / a - 1,
                        lambda a: a * mp.erfc(a) / max(mp.erfc(a), mp.mpf(2) ** -6), range(8), "0.92", "4.0"),
    "erfc_all": lambda: fit("erfc q", lambda a: erfc_log(away(a)) / away(a) - 1,
                            lambda a: a * mp.erfc(a) / max(mp.erfc(a), mp.mpf(2) ** -6), range(9), "0", "4.0"),
    # sin(r) = r + r^3 p(r^2), cos(r) = 1 - r^2/2 + r^4 q(r^2), s = r^2
    "sin": lambda: fit("sin p", lambda s: (mp.sin(mp.sqrt(away(s))) / mp.sqrt(away(s)) - 1) / away(s),
                       lambda s: away(s) * mp.sqrt(away(s)) / mp.sin(mp.sqrt(away(s))), range(3),
                       "1e-9", "0.61701"),
    "cos": lambda: fit("cos q", lambda s: (mp.cos(mp.sqrt(away(s))) - 1 + away(s) / 2) / away(s) ** 2,
                       lambda s: away(s) ** 2 / mp.cos(mp.sqrt(away(s))), range(3), "1e-9", "0.61701"),
}

if __name__ == "__main__":
    for key in sys.argv[1:] or FITS:
        FITS[key]()
