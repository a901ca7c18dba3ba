"""What was typed and cannot be meant, in words of our own: one line that says what is expected.

The parser's errors name Python's types, or those of the library that checks them. What is expected
is taken from the annotation of the command's function instead.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from enum import Enum
from typing import Any, Final, get_args

import typer

from dispatcher.cli.errors import BadUsage
from dispatcher.cli.signatures import signature_of

EXIT_CODE: Final = 2
PARSER_ERROR: Final[type[Exception]] = next(
    kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException"
)
"""What the parser raises. Which library it is of depends on typer's version."""


def unknown_command(
    path: str, word: str, names: Sequence[str], elsewhere: Sequence[str] = ()
) -> BadUsage:
    """Return the error about a command that is none.

    Args:
        path: what stands before it: `dispatcher dead`.
        word: what was typed.
        names: the commands there are.
        elsewhere: whole commands that end with this word.
    """
    near = [f"{path} {name}" for name in get_close_matches(word, names, n=2)]
    return BadUsage(
        f"{path} has no command {word!r}.{_did_you_mean(elsewhere or near)} "
        f"`{path} --help` lists those there are."
    )


def told(error: Exception) -> BadUsage | None:
    """Return an error of the parser in our words; None for one that is help, not a mistake."""
    found: Any = error
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":
        return None
    context = found.ctx
    path = context.command_path if context is not None else "dispatcher"
    return BadUsage(f"{_sentence(found, kind)} `{path} --help` says more.")


def _sentence(error: Any, kind: str) -> str:
    match kind:
        case "NoSuchOption":
            options = _options(error.ctx)
            near = get_close_matches(error.option_name, options, n=2)
            if (
                not near
                and hasattr(error.ctx, "command")
                and hasattr(error.ctx.command, "commands")
            ):
                return (
                    f"There is no option {error.option_name} before a command: options of "
                    "commands stand behind them."
                )
            return f"There is no option {error.option_name}.{_did_you_mean(near)}"
        case "MissingParameter":
            return _missing(error.param)
        case "UsageError" if "extra argument" in error.message:
            return f"Not expected here: {error.message.rpartition('(')[2].rstrip(')')}."
        case "BadOptionUsage":
            return f"{error.option_name} needs a value{_of(_option_called(error))}."
        case "BadParameter" if error.param is not None and error.ctx is not None:
            return _bad_value(error)
        case _:
            return f"{error.format_message().rstrip('.')}."


def _did_you_mean(names: Iterable[str]) -> str:
    found = " or ".join(f"`{name}`" for name in names)
    return f" Did you mean {found}?" if found else ""


def _options(context: Any) -> list[str]:
    return [] if context is None else [name for one in _params(context) for name in one.opts]


def _params(context: Any) -> Iterator[Any]:
    yield from context.command.get_params(context)


def _option_called(error: Any) -> Any:
    if error.ctx is None:
        return None
    return next((one for one in _params(error.ctx) if error.option_name in one.opts), None)


def _of(param: Any) -> str:
    """The form of an option's value, in brackets."""
    metavar = getattr(param, "metavar", None)
    return f" ({metavar})" if metavar else ""


def _missing(param: Any) -> str:
    if param is None:
        return "Something is missing."
    if param.param_type_name == "option":
        return f"{_name(param)} is missing{_of(param)}."
    help_text = f": {param.help.rstrip('.')}" if getattr(param, "help", None) else ""
    return f"{_name(param)} is missing{help_text}."


def _name(param: Any) -> str:
    if param.param_type_name == "option":
        return str(max(param.opts, key=len))
    return str(param.metavar or param.name.upper()).removesuffix("...")


def _bad_value(error: Any) -> str:
    expected = _expected(_annotation(error.ctx, error.param))
    said = f"expected {expected}" if expected else error.message.rstrip(".")
    return f"{_name(error.param)}: {said}."


def _annotation(context: Any, param: Any) -> Any:
    """That of the parameter as the parser was told of it, by whatever decorates the command."""
    found = signature_of(context.command.callback).parameters.get(param.name)
    return None if found is None else found.annotation


def _expected(annotation: Any) -> str | None:
    """What a value of an annotated parameter looks like; None where every text is one."""
    kinds = list(_kinds(annotation))
    enums = [kind for kind in kinds if issubclass(kind, Enum)]
    if enums:
        return _one_of([str(one.value) for one in enums[0]])
    if int in kinds:
        return f"a whole number{_range(annotation)}"
    return f"a number{_range(annotation)}" if float in kinds else None


def _kinds(annotation: Any) -> Iterator[type]:
    """The classes that an annotation is made of."""
    if isinstance(annotation, type):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)


def _range(annotation: Any) -> str:
    for info in get_args(annotation):
        least, most = getattr(info, "min", None), getattr(info, "max", None)
        match least, most:
            case None, None:
                continue
            case _, None:
                return f", {least} or more"
            case None, _:
                return f", {most} or less"
            case _:
                return f" from {least} to {most}"
    return ""


def _one_of(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
