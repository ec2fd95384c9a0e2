#!/usr/bin/env python3
"""Text in, text out: `xst generate` between the two halves of a Hugging Face tokenizer.

pip install tokenizers
apps/examples/generate_text.py large.xst tokenizer.json "Once upon a time" --temperature 0.8 --stop 0
"""

import argparse
import contextlib
import pathlib
import shutil
import subprocess
import sys

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


BUILT = pathlib.Path(__file__).resolve().parents[2] / "build/release/bin/xst"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="What follows and is not listed goes to `xst generate`: --temperature 0.8, --stop 0, …")
    parser.add_argument("model", help="model file (.xst)")
    parser.add_argument("tokenizer", help="tokenizer.json of the checkpoint")
    parser.add_argument("text", help="what to go on from")
    parser.add_argument("--max-tokens", type=int, default=200, metavar="N")
    parser.add_argument("--xst", default=shutil.which("xst") or str(BUILT), help="the program (default: on the path, or %(default)s)")
    args, options = parser.parse_known_args()

    if not shutil.which(args.xst):
        sys.exit(f"{args.xst}: expected the program xst, got nothing there (--xst)")
    try:
        tokenizer = Tokenizer.from_file(args.tokenizer)
    except Exception as error:  # the library raises nothing narrower
        sys.exit(f"{args.tokenizer}: expected a tokenizer.json, got: {error}")
    prompt = tokenizer.encode(args.text).ids
    decode = DecodeStream(ids=prompt, skip_special_tokens=True)
    command = [args.xst, "generate", args.model, "--prompt", "-", "--max-tokens", str(args.max_tokens), *options]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as xst:
        with contextlib.suppress(BrokenPipeError):  # it says itself why it ended
            xst.stdin.write(",".join(map(str, prompt)))
            xst.stdin.close()
        for line in xst.stdout:
            # Nothing while a character is incomplete.
            print(decode.step(tokenizer, int(line)) or "", end="", flush=True)
    print()
    return xst.returncode


if __name__ == "__main__":
    sys.exit(main())
