"""The recipe's weights and nothing else."""

from ontogeny.core.weightings import Weighting


class Fixed(Weighting):
    """The recipe's weights as they stand: numbers, or schedules over training.

    A tuned fixed sum is the baseline that the other weightings have to beat (Xin et al. 2022, "Do current multi-task
    optimization methods in deep learning even help?").
    """
