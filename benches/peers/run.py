#!/usr/bin/env python3
"""Times tril's training step beside PyTorch, candle and Burn, one after another, and prints a Markdown table.

Tried on Linux. A program that isn't there, fails or takes too long is named in the table.
"""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
PRESETS = ["xs", "s", "gpt2"]
PROGRAMS = ["tril", "pytorch", "burn-wgpu", "burn-flex", "candle"]
NAMES = {
    "tril": "tril",
    "pytorch": "PyTorch, CPU",
    "burn-wgpu": "Burn, wgpu",
    "burn-flex": "Burn, CPU (flex)",
    "candle": "candle, CPU",
}


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS)
    parser.add_argument("--programs", nargs="+", choices=PROGRAMS, default=PROGRAMS)
    parser.add_argument("--rounds", type=int, default=2, help="how often each is run; the best round is shown")
    parser.add_argument("--seconds", type=float, default=10.0, help="measured in each run, three steps at least")
    parser.add_argument("--limit", type=float, default=600.0, help="seconds after which a run is stopped")
    parser.add_argument("--build", action="store_true", help="build tril and the Rust peers first")
    parser.add_argument("--python", default=sys.executable, help="the Python that has PyTorch")
    parser.add_argument("--target-dir", type=Path, default=ROOT / "target" / "peers", help="where the Rust peers are built")
    parser.add_argument("--tril", type=Path, default=ROOT / "target" / "release" / "tril")
    parser.add_argument("--out", type=Path, help="all figures of all runs as JSON")
    return parser.parse_args()


def build(args):
    """Builds what was asked for; a peer that can't be built is missing later, and said so."""
    if "tril" in args.programs:
        subprocess.run(["cargo", "build", "--release"], cwd=ROOT, check=True)
    for peer in ["burn", "candle"]:
        if any(program.startswith(peer) for program in args.programs):
            # the lock file says which versions; in the peer's folder, so that its .cargo/config.toml counts
            command = ["cargo", "build", "--release", "--locked", "--target-dir", str(args.target_dir.resolve())]
            if subprocess.run(command, cwd=HERE / peer).returncode:
                print(f"{peer} could not be built", file=sys.stderr)


def command(args, program, preset):
    timing = ["--seconds", str(args.seconds)]
    if program == "tril":
        return [str(args.tril), "bench", "--presets", preset, *timing, "--json"]
    if program == "pytorch":
        return [args.python, str(HERE / "pytorch" / "step.py"), "--preset", preset, *timing]
    peer, _, backend = program.partition("-")
    flags = ["--backend", backend] if backend else []
    return [str(args.target_dir / "release" / f"peer-{peer}"), "--preset", preset, *flags, *timing]


def missing(args, program):
    """What a program lacks, or None."""
    if program == "pytorch":
        check = [args.python, "-c", "import torch"]
        try:
            found = subprocess.run(check, capture_output=True).returncode == 0
        except OSError:
            found = False
        return None if found else "not installed: pip install torch, or name its Python with --python"
    path = Path(command(args, program, "xs")[0])
    return None if path.exists() else "not built: run again with --build"


def run(args, program, preset):
    """One run's figures, or a dictionary that says under `failed` what happened."""
    try:
        done = subprocess.run(command(args, program, preset), capture_output=True, text=True, timeout=args.limit)
    except subprocess.TimeoutExpired as stopped:
        text = (stopped.stderr or b"").decode(errors="replace")
        steps = [float(s) for s in re.findall(r"^step \d+: ([\d.]+) s$", text, re.M)]
        if not steps:
            return {"failed": f"first step > {args.limit:.0f} s"}
        return {"failed": f"stopped after {args.limit:.0f} s, {len(steps)} steps done, the shortest {min(steps):.1f} s"}
    if done.returncode:
        return {"failed": f"failed: {reason(done.stderr) or done.returncode}"}
    if program != "tril":
        return json.loads(done.stdout.splitlines()[-1])
    report = json.loads(done.stdout)
    result = report["results"][0]
    device = f"{report['adapter']}, {report['driver']}, {report['backend']}"
    return {**result, "peer": "tril", "version": report["tril"], "backend": "wgpu", "device": device}


def reason(stderr):
    """What a program said when it ended: a Rust panic's message without its place, or else the last line."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    panic = next((i for i, line in enumerate(lines) if " panicked at " in line), None)
    if panic is None:
        return lines[-1][:160] if lines else ""
    end = next((i for i in range(panic, len(lines)) if lines[i].startswith(("stack backtrace", "note:"))), len(lines))
    return " ".join(lines[panic + 1 : end])[:240]


def processor():
    try:
        text = Path("/proc/cpuinfo").read_text()
        return re.search(r"^model name\s*: (.*)$", text, re.M).group(1)
    except (OSError, AttributeError):
        return platform.processor() or platform.machine()


def seconds(s):
    return f"{s * 1e3:.0f} ms" if s < 1 else f"{s:.2f} s" if s < 10 else f"{s:.1f} s"


def row(preset, program, runs, base):
    good = [r for r in runs if "failed" not in r]
    if not good:
        return f"| {preset} | {NAMES[program]} | {runs[-1]['failed']} | | | | | |"
    best = min(good, key=lambda r: r["ms_per_step"])
    step = best["ms_per_step"] / 1e3
    ratio = f"{step / base:.2f}" if base else ""
    first = seconds(min(r["first_step_s"] for r in good))
    memory = f"{best['peak_memory_mib']:,.0f} MiB" if best.get("peak_memory_mib") else ""
    losses = ""
    if best.get("first_loss") is not None:
        losses = f"{best['first_loss']:.3f}, {best['last_loss']:.3f} after {best['steps_done']}"
    name = f"{NAMES[program]} {best['version']}"
    return f"| {preset} | {name} | {seconds(step)} | {ratio} | {first} | {memory} | {best['n_param']:,} | {losses} |"


def main():
    args = parse_args()
    if args.build:
        build(args)
    absent = {program: missing(args, program) for program in args.programs}
    runs = {}
    for preset in args.presets:
        # alternately, so that a busy minute of the machine meets all of them
        for number in range(args.rounds):
            for program in args.programs:
                if absent[program]:
                    continue
                before = runs.setdefault((preset, program), [])
                # once is enough for what doesn't end
                if any("failed" in r for r in before):
                    continue
                load = os.getloadavg()[0]
                result = run(args, program, preset)
                before.append({**result, "load_before": load, "round": number})
                said = result.get("failed") or seconds(result["ms_per_step"] / 1e3)
                print(f"{preset} {program} round {number + 1}: {said} (load {load:.1f} before)", file=sys.stderr)
    # one, if tril and Burn found the same
    on_wgpu = [r for (_, program), rs in runs.items() if program in ("tril", "burn-wgpu") for r in rs]
    devices = sorted({r["device"] for r in on_wgpu if "device" in r})
    today = datetime.date.today().isoformat()
    print(f"{today}, {os.cpu_count()} cores of {processor()}. Vulkan: {'; '.join(devices) or 'unknown'}.\n")
    print("| preset | program | step | of PyTorch's | first step | peak memory | parameters | loss: first, last |")
    print("|---|---|---|---|---|---|---|---|")
    for preset in args.presets:
        torch = [r["ms_per_step"] / 1e3 for r in runs.get((preset, "pytorch"), []) if "failed" not in r]
        base = min(torch) if torch else None
        for program in args.programs:
            if absent[program]:
                print(f"| {preset} | {NAMES[program]} | {absent[program]} | | | | | |")
            else:
                print(row(preset, program, runs[preset, program], base))
    if args.out:
        every = [{"program": program, **r} for (_, program), rs in runs.items() for r in rs]
        args.out.write_text(json.dumps(every, indent=1) + "\n")


if __name__ == "__main__":
    main()
