"""Imports point inward: core ← pure ← edge ← road ← doors, and the inner rings touch no clock,
socket, environment or coroutine."""

import ast
from pathlib import Path

SRC = Path(__file__).parent.parent / "src" / "tollway"

CORE = {"canon", "conversation", "money", "errors"}
PURE = {
    "dialects",
    "plugins",
    "presets",
    "routing",
    "receipt",
    "ledger.entries",
    "ledger.rules",
    "ledger.rates",
    "caching",
    "ledger.rows",
    "ledger.windows",
    "catalogue.entries",
    "catalogue.listing",
    "catalogue.rows",
    "catalogue.routers",
    "catalogue.filters",
    "catalogue.views",
    "catalogue.feed",
    "catalogue.check",
    "catalogue.families",
    "catalogue.regions",
    "dev.fault_grammar",
    "dev.fault_plan",
}
EDGE = {
    "caching.flights",
    "upstream",
    "store",
    "ledger",
    "accounts",
    "catalogue",
    "settings",
    "metrics",
}
ROAD = {"gateway", "calling", "hedging", "flow"}
DOORS = {
    "http",
    "cli",
    "cli_presets",
    "cli_workspace",
    "terminal",
    "doctor",
    "wiring",
    "__main__",
    "dev",
}
RINGS = (CORE, PURE, EDGE, ROAD, DOORS)

IMPURE = {"asyncio", "os", "socket", "time", "random", "threading", "subprocess", "pathlib", "apsw"}
PURE_USES = {"random": {"Random"}, "time": set()}
"""Types may be named in a signature: routing takes a `Random` as an argument."""


def ring(module: str) -> int:
    """The ring of a dotted name below `tollway`; the longest listed prefix decides."""
    parts = module.split(".")
    for length in range(len(parts), 0, -1):
        name = ".".join(parts[:length])
        for n, names in enumerate(RINGS):
            if name in names:
                return n
    raise AssertionError(f"{module} belongs to no ring; give it one in test_architecture.py")


def modules() -> dict[str, ast.Module]:
    found = {}
    for path in sorted(SRC.rglob("*.py")):
        name = ".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__")
        if name != "__init__":
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(module: str, tree: ast.Module) -> list[str]:
    """Modules of ours that `module` imports at run time, as dotted names below `tollway`."""
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    is_package = (SRC / Path(*module.split(".")) / "__init__.py").exists()
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or not node.level or id(node) in typing_only:
            continue
        base = module.split(".")
        base = base[: len(base) - node.level + (1 if is_package else 0)]
        if node.module:
            found.append(".".join([*base, node.module]))
        else:
            found += [
                ".".join([*base, a.name])
                for a in node.names
                if a.name != "__version__" and (base or a.name)
            ]
    return found


def test_imports_point_inward() -> None:
    wrong = []
    for module, tree in modules().items():
        for target in imports(module, tree):
            if ring(target) > ring(module):
                wrong.append(f"{module} imports {target}")
    assert wrong == []


def test_the_inner_rings_are_pure() -> None:
    wrong = []
    for module, tree in modules().items():
        if ring(module) > 1:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.AsyncFunctionDef | ast.Await | ast.AsyncFor | ast.AsyncWith):
                wrong.append(f"{module}:{node.lineno} is asynchronous")
            if isinstance(node, ast.Import):
                wrong += [
                    f"{module} imports {a.name}"
                    for a in node.names
                    if a.name.split(".")[0] in IMPURE
                ]
            if isinstance(node, ast.ImportFrom) and not node.level and node.module:
                top = node.module.split(".")[0]
                allowed = PURE_USES.get(top, set())
                if top in IMPURE and not {a.name for a in node.names} <= allowed:
                    wrong.append(f"{module} imports from {node.module}")
    assert wrong == []


def test_the_check_itself_sees_a_wrong_import() -> None:
    tree = ast.parse("from ..flow import serve\n")
    assert imports("dialects.sse", tree) == ["flow"]
    assert ring("flow") > ring("dialects.sse")
