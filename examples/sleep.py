"""Write a table of people who sleep too little, simulated with a known truth, and three new people to predict.

    python examples/sleep.py FOLDER

A person is a task. Reaction times start at 250 ms, with a deviation of 25 between people, and grow by 10 ms a day, with a
deviation of 6. A measurement has a noise of 25 ms. The numbers are like those of Belenky et al. (2003). Into FOLDER go

    known.csv  ten days of 40 people: subject, day, reaction in ms
    new.csv    three days of three other people; the reaction of the other seven days is empty, to be predicted
    later.csv  what these seven days were
    further.csv  ten days of 20 further people, to check or to widen the intervals
    days.csv   days on which another measurement could be made
"""

import csv
import random
import sys
from pathlib import Path

Row = tuple[int, int, float]


def people(count: int) -> list[list[Row]]:
    """Return ten rows for each of `count` people."""
    chance, found = random.Random(0), []
    for subject in range(1, count + 1):
        start, slope = chance.gauss(250, 25), chance.gauss(10, 6)
        found.append([(subject, day, round(start + slope * day + chance.gauss(0, 25), 1)) for day in range(10)])
    return found


def main(folder: Path) -> None:
    everybody = people(63)
    known, (a, b, c), further = everybody[:40], everybody[40:43], everybody[43:]
    tables = {
        "known": [row for rows in known for row in rows],
        "further": [row for rows in further for row in rows],
        "new": [row for rows in (a, b, c) for row in [*rows[:3], *((subject, day, "") for subject, day, _ in rows[3:])]],
        "later": [row for rows in (a, b, c) for row in rows[3:]],
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("subject", "day", "reaction"), *rows])
    (folder / "days.csv").write_text("day\n" + "".join(f"{day}\n" for day in range(3, 10)))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "sleep"))
