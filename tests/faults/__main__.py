"""The fault bench: `make faults`, or `python tests/faults saves` for one part. It prints what was tried and what survived."""

import argparse
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import runs
import saves

PARTS = {
    "saves": (saves.killed, saves.full, saves.unwritable),
    "system-calls": (saves.traced,),
    "short": (saves.short,),
    **{job.name: (partial(runs.killed, job),) for job in runs.JOBS},
    "two-writers": (runs.together,),
    "devices": (runs.devices,),
    "processes": (runs.lost,),
}


def attempts(name: str, part, place: Path) -> Iterator[tuple[str, bool]]:
    """What a part of the bench tries. An attempt that fails ends the part, because its trace says what to mend."""
    try:
        yield from part(place)
    except Exception:
        traceback.print_exc()
        yield f"the rest of {name}", False


def main() -> int:
    """Run the parts that are named, or all, and print the counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], default=[])
    chosen = parser.parse_args().parts or [name for name in PARTS if name != "short"]
    tried, met, failed = Counter(), Counter(), Counter()
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen:
            for part in PARTS[name]:
                for what, fault in attempts(name, part, Path(folder) / "place"):
                    tried[what] += 1
                    met[what] += fault
                    failed[what] += what.startswith("the rest of")
                    print(f"{sum(tried.values())}: {what}", file=sys.stderr, flush=True)
    width = max(map(len, tried))
    print(f"{'fault':{width}}  tried  met  survived")
    for what, count in tried.items():
        print(f"{what:{width}}  {count:5}  {met[what]:3}  {count - failed[what]:8}")
    total = sum(tried.values())
    print(f"{'all':{width}}  {total:5}  {sum(met.values()):3}  {total - sum(failed.values()):8}")
    return int(any(failed.values()))


if __name__ == "__main__":
    raise SystemExit(main())
