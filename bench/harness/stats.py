"""Medians, and how far apart the runs were."""
import statistics


class Spread:
    def __init__(self, values):
        self.values = list(values)
        self.median, self.low, self.high = statistics.median(self.values), min(self.values), max(self.values)

    def __format__(self, form):
        """The median, with least and most behind it."""
        form = form or ".2f"
        return f"{self.median:{form}} ({self.low:{form}} to {self.high:{form}})"

    def json(self):
        return {"median": self.median, "min": self.low, "max": self.high, "runs": self.values}
