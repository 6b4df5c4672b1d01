"""Names of receivers and schedules in paths: any text, also with / and line breaks."""

from starlette.convertors import Convertor, register_url_convertor


class _Name(Convertor[str]):
    """Starlette's own `path` ends at a line break, and the rest would be found nowhere."""

    regex = r"[\s\S]+"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("name", _Name())


def any_name(parameter: str) -> str:
    """Return the part of a route's path that stands for a name, which the handler is given as *parameter*."""
    return f"{{{parameter}:name}}"
