"""Two models on the same pictures: is one better, or was it luck?"""

import math

__all__ = ["mcnemar_p_value"]


def mcnemar_p_value(only_first: int, only_second: int) -> float:
    """The p-value of McNemar's exact test (Q. McNemar, Psychometrika 12, 1947; exact as in the binomial sign test).

    If both models were equally good, a picture that only one of them gets right would be either one's with probability
    1/2. The value is the probability, under that hypothesis, of counts at least as uneven as these, on either side.

    Args:
        only_first, only_second: pictures that only one of the models got right, >= 0.
    """
    n, few = only_first + only_second, min(only_first, only_second)
    if only_first == only_second:
        return 1.0
    # in logarithms, because 2**n and the coefficients are beyond a float from n = 1,024 on
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) - n * math.log(2) for k in range(few + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))
