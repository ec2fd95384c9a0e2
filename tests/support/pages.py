"""The commands and files on a page of Markdown, for the tests that follow it word for word."""

import re


def sections(text):
    """{heading: text below it} of the level-two headings, in order."""
    parts = re.split(r"^## (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def blocks(text):
    """[(language, body)] of the fenced blocks."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.M | re.S)


def file_name(body):
    """Of a block that is a file: its first line names it in a comment."""
    return re.match(r"# (\S+)\n", body)[1]


def script(text):
    """One shell script: the commands, and at their places the files."""
    lines = []
    for language, body in blocks(text):
        lines.append(body if language == "sh" else f"cat > {file_name(body)} << 'END OF FILE'\n{body}END OF FILE\n")
    return "".join(lines)
