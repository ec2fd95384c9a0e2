"""Simple detectors for comparison: scores [N, T] of recordings x [N, T], of every sample from it and what came before.
NumPy only.
"""

import numpy as np

import data


class Autoregression:
    """Least-squares AR(order) that forecasts some samples ahead; the score is |error| / its standard deviation."""

    def __init__(self, x, order, horizon):
        self.order, self.horizon = order, horizon
        self.mean, self.std = x.mean(), x.std()
        past, target = self.past(x[None])[0], (x - self.mean) / self.std
        a, b = past[order - 1 : len(x) - horizon], target[order - 1 + horizon :]
        # A little ridge: neighbouring samples of a smooth signal are nearly the same.
        self.weight = np.linalg.solve(a.T @ a + 1e-6 * len(a) * np.eye(a.shape[1]), a.T @ b)
        self.sigma = (b - a @ self.weight).std()

    def past(self, x):
        """[N, T] -> [N, T, order + 1]: the last samples and a one."""
        z = (x - self.mean) / self.std
        padded = np.pad(z, ((0, 0), (self.order - 1, 0)), mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.order, axis=1)
        return np.concatenate([windows, np.ones((*z.shape, 1))], 2)

    def forecast(self, x):
        """Of x `horizon` samples ahead."""
        return self.past(x) @ self.weight * self.std + self.mean

    def __call__(self, x):
        score = np.zeros(x.shape)
        error = x[:, self.horizon :] - self.forecast(x)[:, : -self.horizon]
        score[:, self.horizon :] = np.abs(error) / (self.sigma * self.std)
        return score


def z_score(x):
    """Of the value among those of the last beat."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (data.BEAT, 0)), mode="edge"), data.BEAT, 1)
    past = windows[:, :-1]
    return np.abs(x - past.mean(2)) / np.maximum(past.std(2), 1e-6)


def moving_range(x):
    """The largest difference of neighbours among the last five samples."""
    step = np.abs(np.diff(x, axis=1, prepend=x[:, :1]))
    return np.lib.stride_tricks.sliding_window_view(np.pad(step, ((0, 0), (4, 0))), 5, 1).max(2)


class Discord:
    """Distance of the last `length` samples from the nearest such window of the training part."""

    def __init__(self, x, length):
        self.length = length
        self.known = np.lib.stride_tricks.sliding_window_view(x, length).astype(np.float32)

    def __call__(self, x):
        score = np.zeros(x.shape)
        squares = (self.known**2).sum(1)
        for n, row in enumerate(x):
            windows = np.lib.stride_tricks.sliding_window_view(row, self.length).astype(np.float32)
            distance = (windows**2).sum(1)[:, None] + squares - 2 * windows @ self.known.T
            score[n, self.length - 1 :] = np.sqrt(np.maximum(distance.min(1), 0))
        return score


def all_detectors(x):
    """{name: the scores that raise an alarm, each at a threshold of its own}, fitted to the training part x."""
    return {
        "AR(16), 1 and 25 samples ahead": [Autoregression(x, 16, 1), Autoregression(x, 16, 25)],
        "AR(64), 1 and 25 samples ahead": [Autoregression(x, 64, 1), Autoregression(x, 64, 25)],
        "z-score in the last beat": [z_score],
        "moving range": [moving_range],
        "nearest window, 46 samples": [Discord(x, 46)],
        "nearest window, 183 samples": [Discord(x, data.BEAT)],
    }
