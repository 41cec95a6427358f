"""Makes the table of README.md beside this file.

    python3 table.py MANIFEST.json STATISTICS.txt

MANIFEST.json is that of `tril kernels --emit`. STATISTICS.txt has a line a device and shader, as a compiler's statistics
were read: `amd-rdna3 KERNEL.VARIANT.CHECKSUM.wgsl regs=120 occupancy=8 spills=0 fma=0.84`.
"""

import json
import os
import sys


def main() -> None:
    with open(sys.argv[1]) as file:
        kernels = {k["file"]: k for k in json.load(file)["kernels"]}
    devices: list[str] = []
    rows: dict[str, dict[str, dict[str, str]]] = {}
    with open(sys.argv[2]) as lines:
        for line in lines:
            device, path, *figures = line.split()
            name = os.path.basename(path).removesuffix(".wgsl")
            if device not in devices:
                devices.append(device)
            rows.setdefault(name, {})[device] = dict(f.split("=", 1) for f in figures if "=" in f)
    print("| kernel/variant, modes | workgroup memory |", " | ".join(devices), "|")
    print("|---|---|" + "---|" * len(devices))
    for name in sorted(rows):
        kernel = kernels[name]
        chosen = [(m, value) for m, value in sorted(kernel["modes"].items()) if value != "false"]
        modes = " ".join(m if value == "true" else f"{m}={value}" for m, value in chosen)
        cells = []
        for device in devices:
            f = rows[name].get(device, {})
            if "regs" not in f:
                cells.append("not compiled")
                continue
            cell = f"{f['regs']} / {f['occupancy']}"
            if int(f["spills"]):
                cell += f", **{f['spills']} spills**"
            if "fma" in f and float(f["fma"]) > 0:
                cell += f", FMA {f['fma']}"
            cells.append(cell)
        what = f"`{kernel['kernel']}/{kernel['variant']}` {modes}".strip()
        print(f"| {what} | {kernel['workgroup_bytes']} B |", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
