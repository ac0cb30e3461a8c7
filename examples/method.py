"""Post-hoc methods of your own, beside ours in one table.

pipeline compare c10.h5 --plugin examples/method.py
"""

import numpy as np
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier


def even_shares(logits, labels, *, class_counts):
    """Shifts with which every class is predicted alike, where every class comes alike."""
    num_classes = len(class_counts)
    weight = 1 / np.bincount(labels)[labels]
    shift = np.zeros(num_classes)
    for _ in range(100):
        share = weight @ softmax(logits + shift, axis=1) / weight.sum()
        shift -= np.log(num_classes * share)
    return {"shift": shift, "log_prior": np.zeros(num_classes)}


def neighbours(logits, labels, *, features, prior_counts):
    """Any function: logit adjustment, and the votes of the nearest features."""
    votes = KNeighborsClassifier(10, weights="distance").fit(features, labels)
    adjustment = np.log(np.maximum(prior_counts, 0.5) / prior_counts.sum())

    def rectified(logits, features):
        shares = np.full(logits.shape, 0.01)
        shares[:, votes.classes_] += votes.predict_proba(features)
        return logits - adjustment + np.log(shares)

    return rectified


METHODS = {"even-shares": even_shares, "neighbours": neighbours}
