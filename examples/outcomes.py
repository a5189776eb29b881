"""Write four tables whose outcomes are no plain measurements, simulated with a known truth.

    python examples/outcomes.py FOLDER

Into FOLDER go, with tasks that differ by 0.8 on the scale of log odds or logarithms:

    women.csv     district, age, urban, and whether a woman uses contraception (yes or no)
    seizures.csv  patient, treated, weeks, and how many seizures there were in these weeks
    drug.csv      patient, hours since a dose, and a concentration, of which none below 0.1 can be measured
    seeds.csv     plot, water, how many seeds were sown, and how many of them grew

Each has a file such as women-new.csv with five rows of three other tasks. The outcome of two of them is empty, to be predicted.
"""

import csv
import math
import random
import sys
from pathlib import Path

Cell = str | int | float


def tables(chance: random.Random, name: int, rows: int) -> dict[str, list[list[Cell]]]:
    """Return the rows of one task of each table."""
    own = chance.gauss(0, 0.8)
    found: dict[str, list[list[Cell]]] = {"women": [], "seizures": [], "drug": [], "seeds": []}
    for _ in range(rows):
        age, urban = chance.randint(18, 49), chance.choice(["yes", "no"])
        odds = own - 0.5 + 0.04 * (age - 33) + 0.7 * (urban == "yes")
        found["women"].append([name, age, urban, "yes" if chance.random() < _share(odds) else "no"])
        treated, weeks = chance.choice(["yes", "no"]), chance.randint(1, 8)
        rate = math.exp(own + 0.3 - 0.6 * (treated == "yes") + chance.gauss(0, 0.3))
        found["seizures"].append([name, treated, weeks, _count(chance, weeks * rate)])
        hours = chance.randint(1, 24)
        level = math.exp(own + 1.0 - 0.15 * hours + chance.gauss(0, 0.2))
        found["drug"].append([name, hours, f"{level:.3f}" if level >= 0.1 else "<0.1"])
        water, sown = chance.randint(0, 10), chance.randint(5, 30)
        odds = own - 1 + 0.25 * water + chance.gauss(0, 0.4)
        found["seeds"].append([name, water, sown, sum(chance.random() < _share(odds) for _ in range(sown))])
    return found


def _share(odds: float) -> float:
    return 1 / (1 + math.exp(-odds))


def _count(chance: random.Random, mean: float) -> int:
    """Return a Poisson count."""
    count, left = 0, chance.expovariate(1)
    while left < mean:
        count, left = count + 1, left + chance.expovariate(1)
    return count


HEADERS = {
    "women": ["district", "age", "urban", "uses"],
    "seizures": ["patient", "treated", "weeks", "seizures"],
    "drug": ["patient", "hours", "conc"],
    "seeds": ["plot", "water", "sown", "grew"],
}


def main(folder: Path) -> None:
    chance = random.Random(0)
    known, new = ([tables(chance, name, rows) for name in names] for names, rows in ((range(1, 31), 8), (range(31, 34), 5)))
    folder.mkdir(parents=True, exist_ok=True)
    for name, header in HEADERS.items():
        asked = [[*row[:-1], row[-1] if place < 3 else ""] for task in new for place, row in enumerate(task[name])]
        for file, rows in ((name, [row for task in known for row in task[name]]), (f"{name}-new", asked)):
            with (folder / f"{file}.csv").open("w", newline="") as stream:
                csv.writer(stream).writerows([header, *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "outcomes"))
