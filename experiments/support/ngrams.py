"""Counted n-grams of characters with the smoothing of Witten and Bell 1991 (method C, doi:10.1109/18.87000)."""

from collections import Counter
from math import log


class NGrams:
    """Counts of all n-grams of a text, for n from 1 to `longest`, which predict another text."""

    def __init__(self, text: str, longest: int):
        self.size = len(set(text))
        self.counts = [Counter(text[i : i + n] for i in range(len(text) - n + 1)) for n in range(1, longest + 1)]
        self.followers = [Counter(gram[:-1] for gram in counted) for counted in self.counts]  # distinct ones
        self.seen = [Counter(gram[:-1] for gram in counted.elements()) for counted in self.counts]  # of a history

    def probabilities(self, history: str, character: str) -> list[float]:
        """The probability of the character given the last 0, 1, 2, ... characters of the history.

        The more distinct followers a history has, the more weight the shorter history gets.
        """
        found, probability = [], 1 / self.size
        for length in range(len(history) + 1):
            shorter = history[len(history) - length :]
            if seen := self.seen[length][shorter]:
                kinds = self.followers[length][shorter]
                count = self.counts[length][shorter + character]
                probability = (count + kinds * probability) / (seen + kinds)
            found.append(probability)
        return found

    def nats(self, text: str) -> list[float]:
        """Mean nats per character of the text after its first, for n = 1, 2, 3, ..."""
        sums = [0.0] * len(self.counts)
        for i in range(1, len(text)):
            found = self.probabilities(text[max(0, i - len(sums) + 1) : i], text[i])
            found += found[-1:] * (len(sums) - len(found))  # the history is shorter at the start
            sums = [total - log(probability) for total, probability in zip(sums, found, strict=True)]
        return [total / (len(text) - 1) for total in sums]
