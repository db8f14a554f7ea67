"""An example of a rule of a federation's own: the sign of the majority, times a step.

signSGD with majority vote (Bernstein et al. 2019): every client moves a coordinate up or down by
one vote, whatever the size of its update, and the model moves by `step` where the votes differ.
"""

import numpy as np


def combine(tile, out, weights, parameters):
    """Write the sign of each coordinate's votes, times `step`.

    Args:
        tile: [K, n], a row for each client in the order of their names; may be destroyed.
        out: [n], float64: the combined update.
        weights: K positive integers; not used: a client has one vote.
        parameters: `step`, from the manifest's [aggregation.parameters].
    """
    del weights
    np.sign(tile, out=tile)
    np.sum(tile, axis=0, dtype=np.float64, out=out)
    np.sign(out, out=out)
    np.multiply(out, parameters["step"], out=out)
