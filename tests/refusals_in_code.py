"""Every refusal that the source constructs, with its reason, status and error_code.

The walk follows imports, so it finds a constructor wherever it is defined. A constructor is `Refusal` or a function
that passes one of its own parameters on as the reason or the status: `invalid(reason, message)`.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("keys", "proxy", "portal")
FIELDS = ("status", "error_code", "reason")
PASSED_ON = None  # a status or error_code that is computed: MLflow's own, or from the table by status

Scope = ast.Module | ast.FunctionDef | ast.AsyncFunctionDef
Value = str | int | None


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """The value comes from the enclosing function's parameter. `position`: None for a keyword-only one."""

    name: str
    position: int | None
    default: Value


@dataclass(frozen=True, kw_only=True)
class Made:
    """One call of a constructor."""

    where: str
    status: Value | Parameter
    error_code: Value | Parameter
    reason: Value | Parameter


@dataclass(frozen=True, kw_only=True)
class Module:
    name: str
    tree: ast.Module
    imports: dict[str, str]  # local name: dotted name


def modules() -> dict[str, Module]:
    found = {}
    for package in PACKAGES:
        for file in sorted((ROOT / package).rglob("*.py")):
            parts = file.relative_to(ROOT).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            tree = ast.parse(file.read_text(encoding="utf-8"))
            found[name] = Module(name=name, tree=tree, imports=imports_of(tree))
    return found


def imports_of(tree: ast.Module) -> dict[str, str]:
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return found


def resolve(function: ast.expr, module: Module, known: dict[str, Module]) -> str:
    """The dotted name of what is called, through re-exports; "" for a method or a computed function."""
    match function:
        case ast.Name(id=name):
            dotted = module.imports.get(name, f"{module.name}.{name}")
        case ast.Attribute(value=ast.Name(id=name), attr=attribute) if name in module.imports:
            dotted = f"{module.imports[name]}.{attribute}"
        case _:
            return ""
    owner, _, name = dotted.rpartition(".")
    while owner in known and name in known[owner].imports:
        owner, _, name = known[owner].imports[name].rpartition(".")
    return f"{owner}.{name}"


def calls(scope: ast.AST, function: Scope | None = None) -> Iterator[tuple[ast.Call, Scope | None]]:
    """Every call below `scope`, with the innermost function around it."""
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.Call):
            yield node, function
        inner = node if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) else function
        yield from calls(node, inner)


def value_of(node: ast.expr | None, function: Scope | None) -> Value | Parameter:
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int):
        return node.value
    if isinstance(node, ast.Name) and function is not None and not isinstance(function, ast.Module):
        return parameters_of(function.args).get(node.id, PASSED_ON)
    return PASSED_ON


def parameters_of(arguments: ast.arguments) -> dict[str, Parameter]:
    positional = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    found = [
        (each.arg, at, default) for at, (each, default) in enumerate(zip(positional, defaults, strict=True))
    ]
    found += [
        (each.arg, None, default)
        for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]
    return {
        name: Parameter(name=name, position=at, default=getattr(default, "value", None))
        for name, at, default in found
    }


def argument(call: ast.Call, parameter: Parameter, function: Scope | None) -> Value | Parameter:
    for keyword in call.keywords:
        if keyword.arg == parameter.name:
            return value_of(keyword.value, function)
    if parameter.position is not None and parameter.position < len(call.args):
        return value_of(call.args[parameter.position], function)
    return parameter.default


def made() -> list[Made]:
    """Every construction of a refusal with a reason of its own."""
    known = modules()
    constructors: dict[str, Made] = {}
    while True:
        found = list(constructions(known, constructors))
        new = {name: each for name, each in found if takes_parameters(each)}
        if new == constructors:
            return [each for _, each in found if not takes_parameters(each)]
        constructors = new


def takes_parameters(each: Made) -> bool:
    return any(isinstance(getattr(each, field), Parameter) for field in FIELDS)


def constructions(known: dict[str, Module], constructors: dict[str, Made]) -> Iterator[tuple[str, Made]]:
    """Each with the dotted name of the function around it."""
    for module in known.values():
        for call, function in calls(module.tree):
            name = resolve(call.func, module, known)
            where = f"{module.name}:{call.lineno}"
            around = f"{module.name}.{getattr(function, 'name', '')}"
            if name.endswith(".refusals.Refusal"):
                values = {keyword.arg: keyword.value for keyword in call.keywords}
                fields = {field: value_of(values.get(field), function) for field in FIELDS}
                yield around, Made(where=where, **fields)
            elif maker := constructors.get(name):
                passed = {
                    field: argument(call, parameter, function)
                    for field in FIELDS
                    if isinstance(parameter := getattr(maker, field), Parameter)
                }
                yield around, replace(maker, where=where, **passed)
