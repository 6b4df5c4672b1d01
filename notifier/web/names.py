"""Names of receivers and schedules in paths: any text, also with / and line breaks."""

from starlette.convertors import PathConvertor, register_url_convertor


class _Name(PathConvertor):
    """Starlette's own `path`, which ends at a line break, so that a route is not found."""

    regex = r"[\s\S]+"


register_url_convertor("name", _Name())


def any_name(parameter: str) -> str:
    """Return the part of a route's path for a name, which the handler gets as *parameter*."""
    return f"{{{parameter}:name}}"
