"""Texts with placeholders, which stand for the parameters of a simulation: strict, whatever language the text is in.

Input files are full of braces (OpenFOAM, JSON, shells, TeX), so only what looks like `{name}` or `{name:format}` is a
placeholder, where the name is one word and no `$` stands in front; everything else is left as it is. What looks like
one must be one: an unknown name is refused, because it may be a misspelt parameter. `{{name}}` is `{name}` in the
result. A language in which that is too often is given other delimiters: `@name@`, `<<name>>`.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from melissa_like.errors import ConfigurationError, SolverError
from melissa_like.plugins import nearest

__all__ = ["Delimiters", "Placeholder", "Template", "Value", "unused", "written"]

Value: TypeAlias = float | int | str

_WHOLE = "bcdoxX"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delimiters:
    """What stands around the name of a placeholder."""

    before: str
    after: str

    @classmethod
    def of(cls, example: str) -> "Delimiters":
        """From an example, `solver.placeholder`: the word `name` with something around it.

        Raises:
            ConfigurationError: it is no such example.
        """
        before, found, after = example.partition("name")
        signs = before.strip() and after.strip() and not any(c.isalnum() or c in "_:" for c in before + after)
        if not found or not signs:
            raise ConfigurationError(
                f"solver.placeholder is {example!r}: write how the placeholder of a parameter 'name' looks, with signs "
                "on both sides of it, as '{name}', '@name@' or '<<name>>'"
            )
        return cls(before=before, after=after)

    def around(self, text: str) -> str:
        """A placeholder of that text."""
        return f"{self.before}{text}{self.after}"

    @property
    def pattern(self) -> re.Pattern[str]:
        """Placeholders, and such that are meant literally: groups `literal`, `name` and `format`."""
        before, after = re.escape(self.before), re.escape(self.after)
        inside = rf"[A-Za-z_]\w*(?::(?:(?!{before}|{after})[^\n])*)?"
        guard = r"(?<!\$)" if self.before == "{" else ""
        return re.compile(
            rf"{before}{before}(?P<literal>{inside}){after}{after}"
            rf"|{guard}{before}(?P<name>[A-Za-z_]\w*)(?::(?P<format>(?:(?!{before}|{after})[^\n])*))?{after}",
            re.ASCII,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Placeholder:
    """One place of a template.

    Attributes:
        format: as behind the colon of Python's format strings; empty: all digits that the number has.
        text: as it stands there.
        line: of the text, from 1.
    """

    name: str
    format: str
    text: str
    line: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A text in pieces.

    Attributes:
        where: it comes from, for messages: a file, or the key of the configuration.
        pieces: text and placeholders, in order.
    """

    where: str
    pieces: tuple[str | Placeholder, ...]

    @classmethod
    def of(cls, text: str, where: str, delimiters: Delimiters) -> "Template":
        """Find the placeholders of a text; whether anybody knows them is another question."""
        pieces: list[str | Placeholder] = []
        end = 0
        for found in delimiters.pattern.finditer(text):
            pieces.append(text[end : found.start()])
            end = found.end()
            if found["literal"] is not None:
                pieces.append(delimiters.around(found["literal"]))
                continue
            line = text.count("\n", 0, found.start()) + 1
            pieces.append(Placeholder(name=found["name"], format=found["format"] or "", text=found[0], line=line))
        pieces.append(text[end:])
        return cls(where=where, pieces=tuple(piece for piece in pieces if piece != ""))

    @property
    def placeholders(self) -> tuple[Placeholder, ...]:
        """All of them, in order."""
        return tuple(piece for piece in self.pieces if isinstance(piece, Placeholder))

    def require_known(self, examples: Mapping[str, Value], delimiters: Delimiters) -> None:
        """Refuse a placeholder that nothing is known for, or a format that does not fit.

        Args:
            examples: of the values, by name.
            delimiters: of the text, for the advice.

        Raises:
            ConfigurationError: with its line, what there is, and how to write the text that it may be.
        """
        for place in self.placeholders:
            if place.name not in examples:
                known = ", ".join(delimiters.around(name) for name in examples)
                other = "'@name@'" if delimiters.before != "@" else "'<<name>>'"
                raise ConfigurationError(
                    f"{self.where}, line {place.line}: {place.text} stands for nothing"
                    f"{nearest(place.name, examples)}: there are {known}. If it is meant literally, write "
                    f"{delimiters.around(place.text)}, or let placeholders look otherwise (solver.placeholder={other})"
                )
            try:
                written(examples[place.name], place.format)
            except ValueError as error:
                raise ConfigurationError(
                    f"{self.where}, line {place.line}: {place.text} cannot be written ({error}): write a format of "
                    f"numbers, as {delimiters.around(place.name + ':.6f')}, {delimiters.around(place.name + ':12.4e')} "
                    f"or, of a whole number, {delimiters.around(place.name + ':05d')}"
                ) from None

    def rendered(self, values: Mapping[str, Value]) -> str:
        """The text with these values.

        Raises:
            SolverError: a value that the format cannot write, as a fraction where whole numbers are written.
        """
        return "".join(piece if isinstance(piece, str) else self._written(piece, values) for piece in self.pieces)

    def _written(self, place: Placeholder, values: Mapping[str, Value]) -> str:
        try:
            return written(values[place.name], place.format)
        except ValueError as error:
            raise SolverError(
                f"{self.where}, line {place.line}: {place.text} cannot be written ({error}): change its format, or "
                "give the parameter a distribution of such values (solver.parameters)"
            ) from None


def written(value: Value, form: str) -> str:
    """A value as text: a number without a format with the fewest digits that it is read back from.

    Raises:
        ValueError: the format does not fit.
    """
    if not form:
        return value if isinstance(value, str) else repr(value)
    if isinstance(value, float) and form[-1] in _WHOLE:
        if not value.is_integer():
            raise ValueError(f"{value!r} is no whole number")
        return format(int(value), form)
    return format(value, form)


def unused(names: Sequence[str], templates: Sequence[Template]) -> list[str]:
    """Those of the names that stand in none of the templates."""
    used = {place.name for template in templates for place in template.placeholders}
    return [name for name in names if name not in used]
