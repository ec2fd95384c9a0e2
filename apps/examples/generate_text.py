#!/usr/bin/env python3
"""Text in, text out: `xst generate` between the two halves of a Hugging Face tokenizer.

generate_text.py large.xst tokenizer.json "Once upon a time" --temperature 0.8 --stop 0
"""

import argparse
import contextlib
import subprocess
import sys

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0],
                                     epilog="What is not listed goes to `xst generate`: --temperature, --stop, …")
    parser.add_argument("model", help="model file (.xst)")
    parser.add_argument("tokenizer", help="tokenizer.json of the checkpoint")
    parser.add_argument("text", help="what to go on from")
    parser.add_argument("--max-tokens", type=int, default=200, metavar="N")
    parser.add_argument("--xst", default="xst", help="the program, if it is not on the path")
    args, options = parser.parse_known_args()

    tokenizer = Tokenizer.from_file(args.tokenizer)
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
