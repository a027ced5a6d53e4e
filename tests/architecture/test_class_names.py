"""A class name stands for one thing in the whole package."""

import ast
from collections import defaultdict

from tests.architecture.sources import Sources, package_sources, parsed


def names_given_twice(sources: Sources) -> dict[str, list[str]]:
    """Names of classes that are defined more than once, private and nested ones, too, with the files that do."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path, source in sources.items():
        for node in ast.walk(parsed(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(path)
    return {name: files for name, files in sorted(places.items()) if len(files) > 1}


def test_no_class_name_is_given_twice() -> None:
    assert names_given_twice(package_sources()) == {}


def test_names_given_twice_are_found() -> None:
    planted = {
        "a/x.py": "class Pair: pass\nclass _Look:\n    class Part: pass\n",
        "b/y.py": "class Pair: pass\ndef f():\n    class _Look: pass\n",
        "c/z.py": "class Part(Pair): pass\nPair = 1\nclass Alone: pass\n",
    }
    assert names_given_twice(planted) == {
        "Pair": ["a/x.py", "b/y.py"],
        "Part": ["a/x.py", "c/z.py"],
        "_Look": ["a/x.py", "b/y.py"],
    }
