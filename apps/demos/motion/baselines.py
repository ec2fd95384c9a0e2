"""Simple classifiers for comparison, trained on the same training cases. NumPy only."""

import numpy as np


def features(x):
    """Mean and standard deviation of every channel: [N, n, 6] -> [N, 12]."""
    return np.concatenate([x.mean(1), x.std(1)], 1)


class Logistic:
    """Multinomial logistic regression on standardised features, weights penalised by ½|W|² in all."""

    def __init__(self, x, y, classes):
        self.mean, self.std = x.mean(0), x.std(0) + 1e-9
        a = self.columns(x)
        target = np.eye(classes)[y]
        self.weight = np.zeros((a.shape[1], classes))
        penalised = np.ones((a.shape[1], 1))
        penalised[-1] = 0  # the bias
        # Gradient steps below 1 / the largest curvature, so that they converge.
        rate = 1 / (0.5 * np.linalg.eigvalsh(a.T @ a)[-1] + 1)
        for _ in range(20000):
            gradient = a.T @ (self.probability(a) - target) + penalised * self.weight
            self.weight -= rate * gradient
            if np.abs(gradient).max() < 1e-3:
                break

    def columns(self, x):
        return np.concatenate([(x - self.mean) / self.std, np.ones((len(x), 1))], 1)

    def probability(self, a):
        logits = a @ self.weight
        p = np.exp(logits - logits.max(1, keepdims=True))
        return p / p.sum(1, keepdims=True)

    def __call__(self, x):
        return (self.columns(x) @ self.weight).argmax(1)


def euclid(a, b):
    """Squared distances of all pairs: a [N, n, c], b [M, n, c] -> [N, M]."""
    return ((a[:, None] - b[None]) ** 2).sum((2, 3))


def warp(a, b):
    """Squared dynamic-time-warping distances of all pairs, all channels warped together (DTW_D)."""
    best = np.full((a.shape[1] + 1, b.shape[1] + 1, len(a), len(b)), np.inf, np.float32)
    best[0, 0] = 0
    for i in range(a.shape[1]):
        for j in range(b.shape[1]):
            cost = ((a[:, None, i] - b[None, :, j]) ** 2).sum(-1)
            best[i + 1, j + 1] = cost + np.minimum(np.minimum(best[i, j + 1], best[i + 1, j]), best[i, j])
    return best[-1, -1]


def warp_alone(a, b):
    """The same, every channel warped on its own (DTW_I)."""
    return sum(warp(a[:, :, c : c + 1], b[:, :, c : c + 1]) for c in range(a.shape[2]))


def nearest(distance, train_x, train_y, x):
    """The class of the nearest training case."""
    return train_y[distance(x, train_x).argmin(1)]


def all_answers(train_x, train_y, x, classes):
    """{name: classes [N]}, each from all samples of x [N, n, 6] and the first n of the training cases."""
    train_x = train_x[:, : x.shape[1]]
    return {
        "logistic regression on mean and std": Logistic(features(train_x), train_y, classes)(features(x)),
        "1-NN, Euclid": nearest(euclid, train_x, train_y, x),
        "1-NN, DTW_D": nearest(warp, train_x, train_y, x),
        "1-NN, DTW_I": nearest(warp_alone, train_x, train_y, x),
    }
