#!/usr/bin/env python3
"""Makes pressure.csv from the InternalBleeding16 file that PyPI's aeon ships.

    pip download --no-deps aeon==1.6.0
    prepare.py aeon-1.6.0-py3-none-any.whl
"""

import pathlib
import sys
import zipfile

HERE = pathlib.Path(__file__).resolve().parent
RATE_HZ = 250
FILE = "aeon/datasets/data/KDD-TSAD_135/135_UCR_Anomaly_InternalBleeding16_TEST.csv"


def main():
    lines = zipfile.ZipFile(sys.argv[1]).read(FILE).decode().splitlines()
    rows = ["t,pressure,anomaly"]
    for n, line in enumerate(lines[1:]):
        _, value, anomaly = line.split(",")
        rows.append(f"{n / RATE_HZ:.3f},{value},{int(float(anomaly))}")
    (HERE / "pressure.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
