"""
The units of a program, which are compiled at the same time.

Brian2 writes a function for each object of a network. In a deep network, most of them
differ in the names of their arrays only: those call one function, with their arrays.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cnn2snn_brian.brian import BRIAN_FUNCTIONS

#: Sources that run once a program or once an image, and GCC's level for them: they are
#: long in large networks, where half of the compiler's time went into them.
QUICKLY = {"main.cpp": "O1", "objects.cpp": "O0", "run.cpp": "O0"}
#: Those that include our headers, in a unit of their own.
OURS = "main.cpp", "run.cpp"
#: Functions of objects.cpp that set arrays by name, write them to files and free them.
UNUSED = re.compile(
    r"^(void (?:set_variable_by_name|_write_arrays|_dealloc_arrays)\([^)]*\)\s*)"
    r"\{\n.*?^\}",
    re.MULTILINE | re.DOTALL,
)
#: Source of an object: what is in front of its function, name, code, and what follows.
OBJECT = re.compile(r"(.*)^void (\w+)\(\)\n\{\n(.*)^\} // end$(.*)", re.M | re.S)
#: An array that it uses: type, name in the code, global name.
ARRAY = re.compile(r"^ *(\w+\*(?: __restrict)?) +(_ptr\w+) = (\w+);\n", re.M)
#: A number; many are not used.
NUMBER = re.compile(r"^ *const \w+ (\w+) = [-\w. ]+;\n", re.M)
WORD = re.compile(r"\w+")
#: Characters of code that are worth another unit, which reads all headers once more.
UNIT_SIZE = 400_000


def _with_arguments(code: str) -> tuple[str, str, str]:
    """Let code take its arrays as arguments: code, arguments, and what they are."""
    # Dynamic arrays move; their addresses are found in the code.
    arrays = [] if "_dynamic_array" in code else ARRAY.findall(code)
    code = ARRAY.sub("", code) if arrays else code
    used = Counter(WORD.findall(code))
    code = NUMBER.sub(lambda line: line[0] if used[line[1]] > 1 else "", code)
    arrays = [array for array in arrays if array[1] in used]
    names = {name: f"_array{k}" for k, (_, name, _) in enumerate(arrays)}
    code = WORD.sub(lambda word: names.get(word[0], word[0]), code)
    arguments = ", ".join(f"{kind} {names[name]}" for kind, name, _ in arrays)
    return code, arguments, ", ".join(array for _, _, array in arrays)


def _included(path: Path, directory: Path) -> str:
    """Include a source, compiled with less effort if it has no loops that are hot."""
    line = f'#include "{path.relative_to(directory)}"\n'
    if (level := QUICKLY.get(path.name)) is None:
        return line
    return (
        f'#pragma GCC push_options\n#pragma GCC optimize("{level}")\n'
        f"{line}#pragma GCC pop_options\n"
    )


class _Part(NamedTuple):
    """A piece of a unit: what has to be in front of it once, C++, and its length."""

    head: str
    text: str
    size: int


def _functions(sources: list[tuple[str, ...]]) -> Iterator[_Part]:
    """Write functions of objects; of equal ones, those that follow call the first."""
    alike = defaultdict(list)
    for head, name, code, rest in sources:
        code, arguments, arrays = _with_arguments(code)
        alike[head, code, arguments].append((name, arrays, rest))
    for (head, code, arguments), calls in alike.items():
        loops = f"{calls[0][0]}_loops"
        text = f"static __attribute__((noinline)) void {loops}({arguments})\n"
        text += f"{{\n{code}}}\n"
        for name, arrays, rest in calls:
            called = f"using namespace brian; {loops}({arrays});"
            text += f"void {name}() {{ {called} }}{rest}\n"
        yield _Part(head, text, len(text))


def write_units(directory: Path) -> None:
    """Put the sources of a project into units, ``program*.cpp``."""
    (directory / "brian_functions.h").write_text(BRIAN_FUNCTIONS)
    objects = directory / "objects.cpp"
    objects.write_text(UNUSED.sub(r"\1{}", objects.read_text()))
    sources, others = [], []
    for path in sorted(directory.rglob("*.cpp")):
        text = path.read_text()
        if found := OBJECT.fullmatch(text):
            sources.append(found.groups())
            path.unlink()
        elif path.name not in OURS:
            others.append(_Part("", _included(path, directory), len(text)))
    functions = sorted(_functions(sources), key=lambda part: -part.size)
    n_units = 1 + sum(part.size for part in (*functions, *others)) // UNIT_SIZE
    units: list[dict[str, None]] = [{} for _ in range(n_units)]
    sizes = [0] * n_units
    # Others come last: headers have the level of the first source that includes them.
    for part in (*functions, *others):
        smallest = sizes.index(min(sizes))
        units[smallest] |= {part.head: None, part.text: None}
        sizes[smallest] += part.size
    for index, unit in enumerate(units):
        (directory / f"program_{index}.cpp").write_text("".join(unit))
    ours = (_included(directory / name, directory) for name in OURS)
    (directory / "program.cpp").write_text("".join(ours))
