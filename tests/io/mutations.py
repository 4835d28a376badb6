"""Open thousands of damaged copies of the example files of all layouts, and count what happens.

    python tests/io/mutations.py --files 3000

Every copy is opened and read in a child process of its own. The result is one line per layout and a
total: copies that were refused, that were read with the true values, that gave other values
(in files with and without checksums), that took longer than 20 seconds, that ended the child, and
that raised anything but a ``DataError``. Of the copies that were not refused, and of those that
ended the child, some are then given to the commands ``inspect`` and ``validate``, which must
end with a status and without a traceback. The status is 1 if a count is not 0 that should be.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

from layouts import all_examples  # noqa: E402

from fields.io import DataError, open_dataset  # noqa: E402

KINDS = ("cut", "deleted", "zeroed", "flipped", "inserted", "random", "swapped")

LIMIT = 20  # seconds

# Text without a checksum: the index of a shelf, the scenario of APEBench.
TEXT_SUFFIXES = (".dir", ".json")


def damaged(raw, kind, rng):
    """The bytes after one random change."""
    place = int(rng.integers(len(raw)))
    length = int(rng.integers(1, 65))
    out = bytearray(raw)
    if kind == "cut":
        del out[place:]
    elif kind == "deleted":
        del out[place : place + length]
    elif kind == "zeroed":
        out[place : place + 16] = bytes(len(out[place : place + 16]))
    elif kind == "flipped":
        out[place] ^= 1 << int(rng.integers(8))
    elif kind == "inserted":
        out[place:place] = rng.bytes(length)
    elif kind == "random":
        out[place : place + length] = rng.bytes(len(out[place : place + length]))
    else:
        other = int(rng.integers(len(raw)))
        out[place : place + 8], out[other : other + 8] = (
            out[other : other + 8],
            out[place : place + 8],
        )
    return out


def read(path, options):
    """All values with their axes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with open_dataset(path, **options) as ds:
            return {str(name): (v.dims, v.values) for name, v in ds.variables.items()}


def outcome(path, options, truth):
    """What a child process that opens the file makes of it."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        with contextlib.suppress(BaseException):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            found = read(path, options)
            answer = "true values" if same(found, truth) else "other values"
        except DataError:
            answer = "refused"
        except MemoryError:
            answer = "raised MemoryError"
        except BaseException as error:
            answer = f"raised {type(error).__name__}"
        os.write(sink, answer.encode())
        os._exit(0)
    os.close(sink)
    begin = time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        if time.monotonic() - begin > LIMIT:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(source)
            return "hung"
        time.sleep(0.002)
    answer = os.read(source, 1000).decode()
    os.close(source)
    if os.WIFSIGNALED(status):
        return f"crashed ({signal.Signals(os.WTERMSIG(status)).name})"
    return answer


def same(found, truth):
    """Whether all variables were read, with the true values."""
    if found.keys() != truth.keys():
        return False
    return all(
        found[name][0] == dims and np.array_equal(found[name][1], values, equal_nan=_floats(values))
        for name, (dims, values) in truth.items()
    )


def _floats(values):
    return values.dtype.kind in "fc"


def run(files, seed, keep):
    """Damage copies of all layouts in turn; returns counts by layout and the copies kept."""
    examples = all_examples()
    counts = {name: Counter() for name in examples}
    kept = []
    share = -(-files // len(examples))
    for name, example in examples.items():
        rng = np.random.default_rng([seed, *hashlib.sha256(name.encode()).digest()[:4]])
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder) / "whole"
            whole.mkdir()
            path = example.write(whole)
            truth = read(path, example.options)
            place = path.relative_to(whole)
            originals = sorted(f.relative_to(whole) for f in whole.rglob("*") if f.is_file())
            for case in range(share):
                victim = originals[int(rng.integers(len(originals)))]
                copy = Path(folder) / "copy"
                shutil.rmtree(copy, ignore_errors=True)
                shutil.copytree(whole, copy)
                kind = KINDS[case % len(KINDS)]
                content = damaged((whole / victim).read_bytes(), kind, rng)
                (copy / victim).write_bytes(content)
                unchanged = bytes(content) == (whole / victim).read_bytes()
                result = outcome(copy / place, example.options, truth)
                if result == "other values":
                    checked = example.checked and victim.suffix not in TEXT_SUFFIXES
                    result = "SILENT" if checked else "other values (no checksum)"
                counts[name]["unchanged" if unchanged else result] += 1
                odd = result.startswith(("crashed", "hung", "raised", "SILENT"))
                if (odd or case % 40 == 0) and not example.options:
                    target = keep / f"{name}-{case}-{kind}"
                    shutil.rmtree(target, ignore_errors=True)
                    shutil.copytree(copy, target)
                    kept.append((target / place, result))
        print(f"{name:28} {dict(counts[name])}", flush=True)
    return counts, kept


def command_line(kept):
    """Give the copies to the commands; returns what is wrong with their answers."""
    wrong = Counter()
    for path, _ in kept:
        for command in ("inspect", "validate"):
            begin = time.monotonic()
            done = subprocess.run(
                [sys.executable, "-m", "fields", command, str(path)],
                capture_output=True,
                text=True,
                timeout=10 * LIMIT,
                cwd=Path(__file__).parents[2],
                check=False,
            )
            said = done.stdout + done.stderr
            faults = {
                "traceback": "Traceback" in said,
                "signal": done.returncode < 0,
                "no words": done.returncode != 0 and not said.strip(),
                "slow": time.monotonic() - begin > 2 * LIMIT,
            }
            for fault, happened in faults.items():
                if happened:
                    wrong[fault] += 1
                    print(f"{command} {path}: {fault}\n{said[-500:]}")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=3000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--commands", type=int, default=60, help="copies given to the commands")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "mutations")
    given = parser.parse_args()
    given.keep.mkdir(parents=True, exist_ok=True)
    counts, kept = run(given.files, given.seed, given.keep)
    total = sum(counts.values(), Counter())
    odd = [k for k in kept if k[1].startswith(("crashed", "hung", "raised", "SILENT"))]
    ordinary = [k for k in kept if k not in odd]
    chosen = (odd + ordinary)[: given.commands]
    wrong = command_line(chosen)
    print(f"files {total.total()}: {dict(total)}")
    print(f"command line, {2 * len(chosen)} calls: {dict(wrong) or 'no faults'}")
    (given.keep / "kept.pickle").write_bytes(pickle.dumps(kept))
    bad = [key for key in total if key.startswith(("crashed", "hung", "raised", "SILENT"))]
    return int(bool(bad or wrong))


if __name__ == "__main__":
    raise SystemExit(main())
