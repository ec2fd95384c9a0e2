#!/usr/bin/env python3
"""Makes ecg.csv (the recording) and beats.csv (its beat labels).

The labels are what two independent offline detectors agree on; where they differ, decisions.csv
says what a reader of the trace decided. A disagreement without a decision is an error.

    prepare.py                 write ecg.csv and beats.csv
    prepare.py --plots DIR     draw each disagreement instead, one PNG each
"""

import argparse
import csv
import pathlib
import sys

import numpy as np
from scipy import signal

HERE = pathlib.Path(__file__).resolve().parent
RATE_HZ = 360
AGREE_S = 0.075  # two refined detections closer than this are one beat


def recording():
    """The 5-minute excerpt of MIT-BIH record 208, lead MLII, in mV, float64 [108000]."""
    try:
        from scipy.datasets import electrocardiogram  # SciPy >= 1.10, downloads once

        return electrocardiogram()
    except Exception:
        from scipy.misc import electrocardiogram  # SciPy < 1.12 ships the file

        return electrocardiogram()


def band_pass(x, low_hz, high_hz, order=2):
    """Zero-phase Butterworth band-pass."""
    sos = signal.butter(order, [low_hz, high_hz], "bandpass", fs=RATE_HZ, output="sos")
    return signal.sosfiltfilt(sos, x)


def pan_tompkins(x):
    """Pan & Tompkins 1985 (IEEE Trans Biomed Eng 32:230) with centred instead of causal filters."""
    slope = np.gradient(band_pass(x, 5, 15)) * RATE_HZ
    width = round(0.150 * RATE_HZ)
    energy = np.convolve(slope**2, np.ones(width) / width, "same")
    peaks, _ = signal.find_peaks(energy, distance=round(0.200 * RATE_HZ))

    steepness = [np.abs(slope[max(0, p - 27) : p + 28]).max() for p in peaks]
    start = energy[: 2 * RATE_HZ]
    signal_level, noise_level = 0.5 * start.max(), 0.5 * start.mean()
    beats, last_steepness, intervals = [], 0.0, []
    for k, p in enumerate(peaks):
        threshold = noise_level + 0.25 * (signal_level - noise_level)
        since = (p - beats[-1]) / RATE_HZ if beats else np.inf
        if since > 1.66 * (np.mean(intervals[-8:]) if intervals else np.inf):
            # search back: the strongest peak since the last beat that passes half the threshold
            missed = [
                j
                for j in range(k)
                if beats[-1] + 0.2 * RATE_HZ < peaks[j] < p - 0.2 * RATE_HZ
                and energy[peaks[j]] > threshold / 2
            ]
            if missed:
                j = max(missed, key=lambda j: energy[peaks[j]])
                signal_level = 0.25 * energy[peaks[j]] + 0.75 * signal_level
                intervals.append((peaks[j] - beats[-1]) / RATE_HZ)
                beats.append(peaks[j])
                last_steepness = steepness[j]
                since = (p - beats[-1]) / RATE_HZ
        is_t_wave = since < 0.360 and steepness[k] < 0.5 * last_steepness
        if energy[p] > threshold and not is_t_wave:
            signal_level = 0.125 * energy[p] + 0.875 * signal_level
            if beats:
                intervals.append(since)
            beats.append(p)
            last_steepness = steepness[k]
        else:
            noise_level = 0.125 * energy[p] + 0.875 * noise_level
    return np.array(beats)


def wavelet(x):
    """Modulus maxima of the quadratic spline wavelet (Li et al. 1995, IEEE Trans Biomed Eng 42:21):
    a QRS complex is a positive maximum next to a negative one at scale 2^4; R is the zero between.
    """
    smooth = x - np.median(x)
    detail = None
    for level in range(4):
        hole = 2**level
        low, high = np.zeros(3 * hole + 1), np.zeros(hole + 1)
        low[::hole] = np.array([1, 3, 3, 1]) / 8
        high[::hole] = [2, -2]
        # each filter is shifted by its own centre, so that the scales stay aligned
        detail = np.convolve(smooth, high, "full")[hole // 2 :][: len(x)]
        smooth = np.convolve(smooth, low, "full")[3 * hole // 2 :][: len(x)]
    window = 4 * RATE_HZ
    power = signal.convolve(detail**2, np.ones(window) / window, "same")
    # the quieter of now and of the whole recording, so that a burst of noise hides no beat
    level = np.sqrt(np.minimum(power, 2 * np.median(power)))
    up, _ = signal.find_peaks(detail)
    down, _ = signal.find_peaks(-detail)
    up, down = up[detail[up] > 1.1 * level[up]], down[-detail[down] > 1.1 * level[down]]

    found = []  # (sample, strength)
    for u in up:
        near = down[np.abs(down - u) < 0.160 * RATE_HZ]
        if len(near):
            d = min(near, key=lambda d: (abs(d - u), d))
            a, b = sorted((u, d))
            crossing = a + int(np.argmin(np.abs(detail[a : b + 1])))
            found.append((crossing, abs(detail[u]) + abs(detail[d])))
    beats = []
    for sample, strength in sorted(found):
        if beats and sample - beats[-1][0] < 0.200 * RATE_HZ:
            if strength > beats[-1][1]:
                beats[-1] = (sample, strength)
        else:
            beats.append((sample, strength))
    return np.array([sample for sample, _ in beats])


def refine(x, beats):
    """Moves each detection to the extremum of the 1-20 Hz band within 100 ms: the R time."""
    magnitude = np.abs(band_pass(x, 1, 20))
    reach = round(0.100 * RATE_HZ)
    out = []
    for b in beats:
        a = max(0, b - reach)
        r = a + int(np.argmax(magnitude[a : b + reach + 1]))
        if not out or r - out[-1] > AGREE_S * RATE_HZ:
            out.append(r)
    return np.array(out)


def compare(first, second):
    """(agreed, only_first, only_second): samples; agreed ones are the mean of the two."""
    agreed, only_first, used = [], [], set()
    for f in first:
        j = int(np.argmin(np.abs(second - f)))
        if abs(second[j] - f) <= AGREE_S * RATE_HZ and j not in used:
            used.add(j)
            agreed.append((f + second[j]) // 2)
        else:
            only_first.append(f)
    return agreed, only_first, [s for j, s in enumerate(second) if j not in used]


def read_decisions(path):
    """{sample: is_beat}"""
    with open(path, newline="") as f:
        return {round(float(r["t"]) * RATE_HZ): int(r["beat"]) for r in csv.DictReader(f)}


def plot(x, sample, name, agreed, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    a, b = max(0, sample - 3 * RATE_HZ), min(len(x), sample + 3 * RATE_HZ)
    t = np.arange(a, b) / RATE_HZ
    fig, axes = plt.subplots(2, 1, figsize=(13, 7), sharex=True)
    axes[0].plot(t, x[a:b], lw=0.9)
    axes[1].plot(t, band_pass(x, 1, 20)[a:b], lw=0.9)
    for ax in axes:
        ax.axvline(sample / RATE_HZ, color="red", lw=1)
        for g in agreed:
            if a <= g < b:
                ax.axvline(g / RATE_HZ, color="green", lw=0.7, ls=":")
        ax.grid(alpha=0.3)
    axes[0].set_title(
        f"{sample / RATE_HZ:.3f} s, found by {name} only (green: agreed; below: 1-20 Hz)"
    )
    fig.tight_layout()
    fig.savefig(path, dpi=60)
    plt.close(fig)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--plots", type=pathlib.Path, help="draw the disagreements into this folder"
    )
    args = parser.parse_args()

    x = recording()
    agreed, first, second = compare(refine(x, pan_tompkins(x)), refine(x, wavelet(x)))
    open_cases = sorted([(s, "pan_tompkins") for s in first] + [(s, "wavelet") for s in second])
    print(f"{len(agreed)} agreed, {len(first)} by pan_tompkins only, {len(second)} by wavelet only")
    if args.plots:
        args.plots.mkdir(parents=True, exist_ok=True)
        for sample, name in open_cases:
            plot(x, sample, name, agreed, args.plots / f"{sample / RATE_HZ:07.3f}_{name}.png")
        return

    decisions = read_decisions(HERE / "decisions.csv")
    missing = [f"{s / RATE_HZ:.3f}" for s, _ in open_cases if s not in decisions]
    if missing:
        sys.exit(
            f"decisions.csv: expected a decision for each disagreement, none at {' '.join(missing)} s"
        )
    beats = [(s, "both") for s in agreed]
    beats += [(s, name) for s, name in open_cases if decisions[s]]
    with open(HERE / "ecg.csv", "w") as f:
        f.write("t,ecg\n")
        f.writelines(f"{n / RATE_HZ:.6f},{v:.3f}\n" for n, v in enumerate(x))
    with open(HERE / "beats.csv", "w") as f:
        f.write("t,found_by\n")
        f.writelines(f"{s / RATE_HZ:.6f},{name}\n" for s, name in sorted(beats))
    print(
        f"{len(beats)} beats, {sum(s >= 240 * RATE_HZ for s, _ in beats)} of them in the last minute"
    )


if __name__ == "__main__":
    main()
